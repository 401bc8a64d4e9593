"""Zip and tar archives as trees of files, read in place: nothing is extracted to a path that they
name.
"""

# ruff: noqa: D102 - Tree documents the methods.

import bz2
import contextlib
import gzip
import io
import lzma
import os
import re
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from selfie_io.convert.sources.file_tree import MAX_FILE_BYTES, FileTree, FolderTree, Tree
from selfie_io.records.full_disk import named_errors
from selfie_io.records.plain_files import open_plain

# A compressed tar is unpacked into one unnamed temporary file; a bomb is more than both of these.
_TAR_RATIO = 100
_TAR_FREE_BYTES = 1 << 30
_ZIP_HEADER = struct.Struct("<4s22xHH")  # a member's own header: magic, and the bytes of name and extra field
_ZIP_HEADER_ROOM = 256  # most headers are shorter, name and extra field included: one read for all
_PLAIN_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)*", re.ASCII)
_ZIP_INFLATES = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_TAR_HEADER_BYTES = 1 << 20  # of one extended header
_DAMAGE = (EOFError, lzma.LZMAError, zlib.error)  # and, of a bz2 or gzip file, an OSError without a number
_UNREAD_FORMATS = {
    b"\x28\xb5\x2f\xfd": ("a Zstandard file (.zst)", "tar --zstd -xf FILE"),
    b"7z\xbc\xaf\x27\x1c": ("a 7-Zip archive (.7z)", "7z x FILE"),
    b"Rar!\x1a\x07": ("a RAR archive (.rar)", "unrar x FILE"),
    b"\x04\x22\x4d\x18": ("an LZ4 file (.lz4)", "lz4 -d FILE"),
    b"\x1f\x9d": ("a Unix compress file (.Z)", "uncompress FILE"),
}
_DECOMPRESSORS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}


class ZipTree(Tree):
    """The members of a zip archive."""

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, OverflowError) as error:
            raise ValueError(f"{path}: {error}") from error
        self._file = open_plain(path)
        self._bytes = path.stat().st_size
        self._members: dict[str, zipfile.ZipInfo] = {}
        try:
            super().__init__(path, self._walk(path))
        except BaseException:
            self.close()
            raise

    def _walk(self, path: Path) -> Iterator[tuple[str, int]]:
        for member in self._zip.infolist():
            name = checked_name(path, member.filename)
            mode = member.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ValueError(f"{path}: member {name!r} is a link or a device")
            if member.flag_bits & 0x1:
                raise ValueError(f"{path}: member {name!r} is encrypted")
            if member.filename.endswith(("/", "\\")):
                self._all_folders.add(f"{name}/")
            else:
                self._members[name] = member
                yield name, member.file_size

    def read(self, name: str) -> bytes:
        """As Tree's, several times faster than through zipfile for small members."""
        member = self._members[name]
        if member.compress_type not in _ZIP_INFLATES or member.file_size > MAX_FILE_BYTES:
            return super().read(name)
        descriptor = self._file.fileno()
        if not 0 <= member.header_offset < self._bytes or member.compress_size > self._bytes:
            raise ValueError(
                f"{self.place(name)}: {member.compress_size} bytes at byte {member.header_offset} "
                f"of an archive of {self._bytes}"
            )
        block = os.pread(descriptor, _ZIP_HEADER_ROOM + member.compress_size, member.header_offset)
        if len(block) < _ZIP_HEADER.size or block[:4] != b"PK\x03\x04":
            raise ValueError(
                f"{self.place(name)}: byte {member.header_offset}: Bad magic number for file header"
            )
        start = _ZIP_HEADER.size + sum(_ZIP_HEADER.unpack_from(block)[1:])
        content = block[start : start + member.compress_size]
        if len(content) < member.compress_size:
            content = os.pread(descriptor, member.compress_size, member.header_offset + start)
        if member.compress_type == zipfile.ZIP_DEFLATED:
            try:
                content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, member.file_size + 1)
            except zlib.error as error:
                raise ValueError(f"{self.place(name)}: {error}") from error
        if len(content) != member.file_size or zlib.crc32(content) != member.CRC:
            raise ValueError(f"{self.place(name)}: Bad CRC-32 or size")
        return content

    def _open(self, name: str) -> IO[bytes]:
        return self._zip.open(self._members[name])

    def close(self) -> None:
        self._zip.close()
        self._file.close()


class TarTree(Tree):
    """The members of a tar archive; a compressed one is unpacked into an unnamed temporary file
    first.
    """

    def __init__(self, path: Path) -> None:
        self._file = _plain_tar(path)
        self._offsets: dict[str, int] = {}
        try:
            super().__init__(path, self._walk(path))
        except BaseException:
            self._file.close()
            raise

    def _walk(self, path: Path) -> Iterator[tuple[str, int]]:
        end = self._file.seek(0, io.SEEK_END)
        self._file.seek(0)
        last = -1
        try:
            with tarfile.open(fileobj=cast(IO[bytes], _Headers(self._file)), mode="r:") as archive:
                while (member := archive.next()) is not None:
                    name = checked_name(path, member.name)
                    if member.isdir():
                        self._all_folders.add(f"{name}/")
                        continue
                    if not member.isreg() or member.issparse():
                        raise ValueError(f"{path}: member {name!r} is a link, a device or sparse")
                    if member.size < 0 or member.offset_data <= last:
                        raise ValueError(f"{path}: member {name!r} lies about its size ({member.size})")
                    last = member.offset_data
                    if member.offset_data + member.size > end:
                        raise ValueError(
                            f"{path}: member {name!r} at byte {member.offset_data} has "
                            f"{member.size} bytes, "
                            f"the archive ends at {end}"
                        )
                    self._offsets[name] = member.offset_data
                    yield name, member.size
                    archive.members.clear()  # type: ignore[attr-defined]  # the archive would keep them all
        except (tarfile.TarError, RecursionError, OverflowError, EOFError) as error:
            raise ValueError(f"{path}: {error}") from error

    def offset(self, name: str) -> int:
        """Where a file begins in the archive."""
        return self._offsets[name]

    def _open(self, name: str) -> IO[bytes]:
        return io.BufferedReader(_Part(self._file, self._offsets[name], self.size(name)))

    def close(self) -> None:
        self._file.close()


class _Headers:
    """A file of which a tar reader takes headers alone: a long read is a header that lies."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.tell = file.tell
        self.seek = file.seek

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _TAR_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes at byte {self._file.tell()}")
        return self._file.read(size)


class _Part(io.RawIOBase):
    """A stretch of an open file."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file = file
        self._position = start
        self._end = start + size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._file.seek(self._position)
        content = self._file.read(min(len(buffer), self._end - self._position))
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)


def open_tree(path: str | Path) -> Tree:
    """Open a folder, a zip, a tar (plain, gzip, bzip2, xz) or any other file, told apart by
    content.

    Raises ValueError for what an archive must not hold, OSError if `path` cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        return FolderTree(path)
    with open_plain(path) as file:
        start = file.read(512)
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return ZipTree(path)
    for magic, (what, way_out) in _UNREAD_FORMATS.items():
        if start.startswith(magic):
            raise ValueError(
                f"{path}: an archive must be a zip, or a tar that is plain or compressed by gzip, "
                "bzip2 or xz, "
                f"got {what}; unpack it ({way_out}) and pack the folder"
            )
    if start[257:262] == b"ustar" or _holds_tar(path, start):
        return TarTree(path)
    return FileTree(path)


def checked_name(path: Path, name: str) -> str:
    """A member's name without "./" and doubled "/"; raises ValueError if it leads out of the
    archive.
    """
    if _PLAIN_NAME.fullmatch(name):
        return name
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in name:
        raise ValueError(f"{path}: member {name!r} leads out of the archive")
    return "/".join(part for part in parts if part not in ("", "."))


def _holds_tar(path: Path, start: bytes) -> bool:
    for magic, opener in _DECOMPRESSORS.items():
        if start.startswith(magic):
            with contextlib.suppress(*_DAMAGE, OSError), opener(path, "rb") as file:
                return bool(file.read(512)[257:262] == b"ustar")
    return False


def _plain_tar(path: Path) -> BinaryIO:
    """The tar itself, open; decompressed where it is compressed."""
    file = open_plain(path)
    start = file.read(8)
    file.seek(0)
    opener = next((opener for magic, opener in _DECOMPRESSORS.items() if start.startswith(magic)), None)
    if opener is None:
        return file
    file.close()
    limit = max(_TAR_FREE_BYTES, _TAR_RATIO * path.stat().st_size)
    plain = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - the tree owns it
    try:
        with opener(path, "rb") as compressed:
            while content := compressed.read(1 << 20):
                if plain.tell() + len(content) > limit:
                    raise ValueError(f"{path}: grows beyond {limit} bytes when it is decompressed")
                with named_errors(Path(tempfile.gettempdir())):
                    plain.write(content)
    except BaseException as error:
        plain.close()
        if isinstance(error, _DAMAGE) or (isinstance(error, OSError) and error.errno is None):
            raise ValueError(f"{path}: {error}") from error
        raise
    return plain
