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
from pathlib import Path
from types import TracebackType
from typing import IO, BinaryIO, TypeVar, cast

from selfie_io.convert.sources.split_words import counted, some
from selfie_io.records.plain_files import open_plain

MAX_FILE_BYTES = 1 << 28  # of one file that is read whole
_LITTER = {
    "__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "@eadir", "$recycle.bin",
    "system volume information", "lost+found",
    "_dropped",  # what `apply` writes beside the classes: the images that a review dropped
}  # fmt: skip
_MAX_VISITS = 100  # of one folder by links: a chain of links must not multiply without end
_Self = TypeVar("_Self", bound="Tree")


class Tree(ABC):
    """Files by name. A context manager; raises ValueError for damaged archives, naming the member."""

    def __init__(self, path: Path, sizes: Iterable[tuple[str, int]]) -> None:
        self.path = path
        self._sizes: dict[str, int] = {}
        self._litter: list[str] = []  # hidden files and those of operating systems, left out
        self._all_folders: set[str] = set()  # those that are listed by themselves, empty ones too
        self.unreadable: dict[str, str] = {}  # files that cannot be read, and why
        self.same_folder: dict[str, str] = {}  # a folder met again by a link, and its first name
        for name, size in sizes:
            if _is_litter(name):
                self._litter.append(name)
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

    def empty_folders(self, folder: str) -> list[str]:
        """The folders that stand in a folder and hold no file, each with a "/" at its end."""
        inside = {name for name in self._all_folders if name.startswith(folder) and name != folder}
        inside = {name for name in inside if not _is_litter(name[:-1])}
        direct = {name for name in inside if "/" not in name[len(folder) : -1]}
        return sorted(name for name in direct if not self.under(name))

    def notes(self) -> list[str]:
        """What was left out or met twice while the files were listed."""
        notes = []
        if self._litter:
            notes.append(
                f"{counted(len(self._litter), 'hidden or system file')} left out "
                f"({some(sorted(self._litter))})"
            )
        notes += [
            f"{again} and {first} are the same folder (a link): its files are in both"
            for again, first in sorted(self.same_folder.items())
        ]
        return notes

    def head(self, name: str) -> bytes:
        """The first bytes of a file, at most 64; none if it cannot be read."""
        try:
            with self.open(name) as file:
                return file.read(64)
        except (OSError, ValueError):
            return b""

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
        if name in self.unreadable:
            raise ValueError(f"{self.place(name)}: {self.unreadable[name]}")
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
    """The files below a folder. Links are followed, but not into a folder that they stand in."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, self._walk(path))

    def _walk(self, root: Path) -> Iterator[tuple[str, int]]:
        first_name: dict[tuple[int, int], str] = {}
        visits: dict[tuple[int, int], int] = {}
        waiting = [("", root, frozenset[tuple[int, int]]())]
        while waiting:
            relative, folder, above = waiting.pop()
            status = folder.stat()
            here = (status.st_dev, status.st_ino)
            if here in above:
                continue
            visits[here] = visits.get(here, 0) + 1
            if visits[here] > _MAX_VISITS:
                raise ValueError(f"{folder}: links must not lead to a folder more than {_MAX_VISITS} times")
            if relative and first_name.setdefault(here, relative) != relative:
                self.same_folder[relative] = first_name[here]
            inner = []
            with os.scandir(folder) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    name = relative + entry.name
                    if _is_litter(entry.name):
                        self._litter.append(name)
                    elif entry.is_dir():
                        self._all_folders.add(f"{name}/")
                        inner.append((f"{name}/", folder / entry.name, above | {here}))
                    else:
                        yield name, self._size_of(name, entry)
            waiting += reversed(inner)

    def _size_of(self, name: str, entry: "os.DirEntry[str]") -> int:
        try:
            status = entry.stat()
        except OSError as error:
            dangling = entry.is_symlink() and isinstance(error, FileNotFoundError)
            self.unreadable[name] = "is a link to nothing" if dangling else (error.strerror or str(error))
            return 0
        if not stat.S_ISREG(status.st_mode):
            self.unreadable[name] = "is no plain file"
            return 0
        return status.st_size

    def place(self, name: str) -> str:
        return str(self.path / name)

    def _open(self, name: str) -> IO[bytes]:
        return open_plain(self.path / name)


class FileTree(Tree):
    """One plain file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, [(path.name, path.stat().st_size)])

    def place(self, name: str) -> str:  # noqa: ARG002
        return str(self.path)

    def _open(self, name: str) -> IO[bytes]:  # noqa: ARG002
        return open_plain(self.path)


def _is_litter(name: str) -> bool:
    if "/." in "/" + name:
        return True
    lower = name.lower()
    return not _LITTER.isdisjoint(lower.split("/")) or lower.endswith(":zone.identifier")
