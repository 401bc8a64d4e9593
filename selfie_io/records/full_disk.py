"""Names the file when it cannot be written and, on a full disk, the free and the needed bytes."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class FullDisk(OSError):
    """A file needs more room than there is; the message tells both."""


@contextlib.contextmanager
def named_errors(
    path: Path, temporary: Path | None = None, *, needed_bytes: int | None = None
) -> Iterator[None]:
    """Let an OSError of the block name `path` instead of `temporary`, which is written for it, or of nothing.

    A full disk is told with the bytes that are free and those that `path` needs: `needed_bytes`, or else
    more than were written so far.
    """
    try:
        yield
    except FullDisk as error:  # told already, perhaps with the name of a part of `temporary`
        place = _place(error, path, temporary)
        if place != error.filename:
            raise FullDisk(error.errno, error.strerror, place) from error
        raise
    except OSError as error:
        place = _place(error, path, temporary)
        if error.errno in _FULL:
            reason = _full_disk(error, path, temporary, needed_bytes)
            raise FullDisk(error.errno, reason, place or str(path)) from error
        if error.errno is None or place == error.filename:
            raise
        raise OSError(error.errno, error.strerror, place) from error  # of the same class, by its number


def _place(error: OSError, path: Path, temporary: Path | None) -> str | None:
    """The path that the error should name; None if nothing tells."""
    if error.filename is None:
        # What failed in the making of a folder may have been the reading of something else.
        return None if temporary is not None and temporary.is_dir() else str(path)
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    if temporary is not None and (name == str(temporary) or name.startswith(f"{temporary}{os.sep}")):
        return str(path) + name[len(str(temporary)) :]
    place: str = error.filename
    return place


def _full_disk(error: OSError, path: Path, temporary: Path | None, needed_bytes: int | None) -> str:
    written = 0 if temporary is None else _bytes_of(temporary)
    needed = f"more than {written:,} bytes" if needed_bytes is None else f"{needed_bytes:,} bytes"
    if error.errno == errno.EFBIG:
        return f"{error.strerror}: {needed} are needed, the limit on a file's size (ulimit -f) is lower"
    free = _free_bytes(path)
    known = "" if free is None else f", {free + written:,} are free"
    return f"{error.strerror}: {needed} are needed{known}"


def _free_bytes(path: Path) -> int | None:
    """The bytes that this user may still write where `path` is; None if unknown."""
    for place in (path, *path.parents):
        with contextlib.suppress(OSError):
            state = os.statvfs(place)
            return state.f_bavail * state.f_frsize
    return None


def _bytes_of(path: Path) -> int:
    """The bytes of a file, or of all files in a folder."""
    total = 0
    with contextlib.suppress(OSError):
        if not path.is_dir():
            return path.stat().st_size
        for folder, _, files in os.walk(path):
            total += sum((Path(folder) / name).stat().st_size for name in files)
    return total
