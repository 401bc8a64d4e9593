"""Lists and reads the files of a source: a folder, a zip, a tar or one file. Nothing is extracted
to a path.

Names are relative, use "/" and come sorted. Hidden files and the litter of operating systems are
left out. An archive with a path that leads out of it, a link, a device or a name twice is refused,
naming the member.
"""

# ruff: noqa: D102 - Tree documents the methods.

import contextlib
import gzip
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, BinaryIO, TypeVar, cast

MAX_FILE_BYTES = 1 << 28  # of one file that is read whole
_STREWN = {"__MACOSX", "Thumbs.db", "desktop.ini"}
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
            if not name:
                raise ValueError(f"{path}: a member without a name")
            if name in self._sizes:
                raise ValueError(f"{path}: member {name!r} is there twice")
            self._sizes[name] = size
        self.names = sorted(self._sizes)

    def __contains__(self, name: str) -> bool:
        return name in self._sizes

    def under(self, folder: str) -> list[str]:
        """The names in a folder ("" or one that ends in "/") and below it."""
        return self.names[bisect_left(self.names, folder) : self._end(folder)]

    def folders(self, folder: str) -> list[str]:
        """The folders that stand in a folder, each with a "/" at its end, in the order of the
        names.
        """
        found = []
        place, end = bisect_left(self.names, folder), self._end(folder)
        while place < end:
            inner, slash, _ = self.names[place][len(folder) :].partition("/")
            if slash:
                found.append(f"{folder}{inner}/")
                place = self._end(found[-1])
            else:
                place += 1
        return found

    def _end(self, folder: str) -> int:
        """The position behind the last name below a folder."""
        after = folder[:-1] + chr(ord("/") + 1)
        return bisect_left(self.names, after) if folder else len(self.names)

    def size(self, name: str) -> int:
        """Bytes of a file, as the folder or archive says."""
        return self._sizes[name]

    def read(self, name: str) -> bytes:
        """The content of a file of at most MAX_FILE_BYTES."""
        if self._sizes[name] > MAX_FILE_BYTES:
            raise ValueError(
                f"{self.place(name)}: a file must have at most {MAX_FILE_BYTES} bytes, "
                f"got {self._sizes[name]}"
            )
        with self.open(name) as file:
            return file.read(MAX_FILE_BYTES)

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open a file for reading; damage found while reading raises ValueError, naming the file."""
        try:
            with self._open(name) as file:
                yield cast(BinaryIO, file)
        except (
            zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError,
            NotImplementedError,
        ) as error:  # fmt: skip
            raise ValueError(f"{self.place(name)}: {error}") from error

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
    """The files below a folder. Links are followed; a folder met twice is read once."""

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


def _is_strewn(name: str) -> bool:
    return "/." in "/" + name or not _STREWN.isdisjoint(name.split("/"))


def _raise(error: OSError) -> None:
    raise error
