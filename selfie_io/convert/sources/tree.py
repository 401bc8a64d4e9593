"""The files of a source by name, be it a folder, a zip, a tar or one file; nothing is extracted to a path.

Names are relative, with "/" between parts, and come sorted. Hidden files and what operating systems strew are
left out. What an archive must not hold (a way out of it, links, devices, a name twice) is refused by name.
"""

# ruff: noqa: D102 - Tree documents the methods.

import bz2
import contextlib
import gzip
import io
import lzma
import os
import stat
import tarfile
import tempfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, Any, BinaryIO, TypeVar, cast

MAX_FILE_BYTES = 1 << 28  # of one file that is read whole
# A compressed tar is unpacked into one unnamed temporary file; a bomb is more than both of these.
_TAR_RATIO = 100
_TAR_FREE_BYTES = 1 << 30
_TAR_HEADER_BYTES = 1 << 20  # of one extended header
_STREWN = {"__MACOSX", "Thumbs.db", "desktop.ini"}
_DECOMPRESSORS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}


_Self = TypeVar("_Self", bound="Tree")


class Tree(ABC):
    """Files by name. A context manager; raises ValueError for damaged archives, naming the member."""

    def __init__(self, path: Path, sizes: Iterable[tuple[str, int]]) -> None:
        self.path = path
        self._sizes: dict[str, int] = {}
        for name, size in sizes:
            if _is_strewn(name):
                continue
            try:
                name.encode()
            except UnicodeEncodeError:
                raise ValueError(f"{path}: the name {os.fsencode(name)!r} is not UTF-8") from None
            if name in self._sizes:
                raise ValueError(f"{path}: member {name!r} is there twice")
            self._sizes[name] = size
        self.names = sorted(self._sizes)

    def __contains__(self, name: str) -> bool:
        return name in self._sizes

    def size(self, name: str) -> int:
        """Bytes of a file, as the folder or archive says."""
        return self._sizes[name]

    def read(self, name: str) -> bytes:
        """The content of a file of at most MAX_FILE_BYTES."""
        if self._sizes[name] > MAX_FILE_BYTES:
            raise ValueError(
                f"{self.place(name)}: a file has at most {MAX_FILE_BYTES} bytes, got {self._sizes[name]}"
            )
        with self.open(name) as file:
            return file.read(MAX_FILE_BYTES)

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open a file for reading; damage that shows while reading is a ValueError that names it."""
        try:
            with self._open(name) as file:
                yield cast(BinaryIO, file)
        except (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, EOFError, NotImplementedError) as error:
            raise ValueError(f"{self.place(name)}: {error}") from error
        except Exception as error:
            if type(error).__module__ == "zlib" or isinstance(error, gzip.BadGzipFile):
                raise ValueError(f"{self.place(name)}: {error}") from error
            raise

    def place(self, name: str) -> str:
        """How messages name a file."""
        return f"{self.path}: {name}"

    @abstractmethod
    def _open(self, name: str) -> IO[bytes]: ...

    def close(self) -> None:  # noqa: B027 - a folder has nothing to close
        """Close the archive."""

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class FolderTree(Tree):
    """The files under a folder; links are followed, a folder met twice is not."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, self._walk(path))

    def _walk(self, root: Path) -> Iterator[tuple[str, int]]:
        seen = set()
        for folder, folders, files in os.walk(root, followlinks=True, onerror=_raise):
            status = os.stat(folder)  # noqa: PTH116 - a Path a file costs much
            if (status.st_dev, status.st_ino) in seen:
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            folders[:] = [name for name in folders if not _is_strewn(name)]
            relative = PurePosixPath(Path(folder).relative_to(root).as_posix())
            for name in files:
                status = os.stat(os.path.join(folder, name))  # noqa: PTH116, PTH118
                if stat.S_ISREG(status.st_mode):
                    yield str(relative / name), status.st_size

    def place(self, name: str) -> str:
        return str(self.path / name)

    def _open(self, name: str) -> IO[bytes]:
        return (self.path / name).open("rb")


class FileTree(Tree):
    """One plain file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, [(path.name, path.stat().st_size)])

    def place(self, name: str) -> str:  # noqa: ARG002
        return str(self.path)

    def _open(self, name: str) -> IO[bytes]:  # noqa: ARG002
        return self.path.open("rb")


class ZipTree(Tree):
    """The members of a zip archive."""

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, OverflowError) as error:
            raise ValueError(f"{path}: {error}") from error
        self._members: dict[str, zipfile.ZipInfo] = {}
        try:
            super().__init__(path, self._walk(path))
        except BaseException:
            self._zip.close()
            raise

    def _walk(self, path: Path) -> Iterator[tuple[str, int]]:
        for member in self._zip.infolist():
            name = checked_name(path, member.filename)
            mode = member.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ValueError(f"{path}: member {name!r} is a link or a device")
            if member.flag_bits & 0x1:
                raise ValueError(f"{path}: member {name!r} is encrypted")
            if not member.is_dir():
                self._members[name] = member
                yield name, member.file_size

    def _open(self, name: str) -> IO[bytes]:
        return self._zip.open(self._members[name])

    def close(self) -> None:
        self._zip.close()


class TarTree(Tree):
    """The members of a tar archive; a compressed one is unpacked into an unnamed temporary file first."""

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
                        continue
                    if not member.isreg() or member.issparse():
                        raise ValueError(f"{path}: member {name!r} is a link, a device or sparse")
                    if member.size < 0 or member.offset_data <= last:
                        raise ValueError(f"{path}: member {name!r} lies about its size ({member.size})")
                    last = member.offset_data
                    if member.offset_data + member.size > end:
                        raise ValueError(
                            f"{path}: member {name!r} at byte {member.offset_data} has {member.size} bytes, "
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
    """Open a folder, a zip, a tar (plain, gzip, bzip2, xz) or any other file, told apart by content.

    Raises ValueError for what an archive must not hold, OSError if `path` cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        return FolderTree(path)
    with path.open("rb") as file:
        start = file.read(512)
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return ZipTree(path)
    if start[257:262] == b"ustar" or _holds_tar(path, start):
        return TarTree(path)
    return FileTree(path)


def checked_name(path: Path, name: str) -> str:
    """A member's name without "./" and doubled "/"; raises ValueError if it leads out of the archive."""
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in name:
        raise ValueError(f"{path}: member {name!r} leads out of the archive")
    return "/".join(part for part in parts if part not in ("", "."))


def _holds_tar(path: Path, start: bytes) -> bool:
    for magic, opener in _DECOMPRESSORS.items():
        if start.startswith(magic):
            with contextlib.suppress(EOFError, OSError, lzma.LZMAError), opener(path, "rb") as file:
                return bool(file.read(512)[257:262] == b"ustar")
    return False


def _plain_tar(path: Path) -> BinaryIO:
    """The tar itself, open; decompressed where it is compressed."""
    file = path.open("rb")
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
                plain.write(content)
    except (EOFError, lzma.LZMAError, gzip.BadGzipFile) as error:
        plain.close()
        raise ValueError(f"{path}: {error}") from error
    except BaseException as error:
        plain.close()
        if type(error).__module__ == "zlib" or (isinstance(error, OSError) and error.errno is None):
            raise ValueError(f"{path}: {error}") from error
        raise
    return plain


def _is_strewn(name: str) -> bool:
    return any(part.startswith(".") or part in _STREWN for part in name.split("/"))


def _raise(error: OSError) -> None:
    raise error
