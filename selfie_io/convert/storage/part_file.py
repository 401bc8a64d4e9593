"""The file that a download fills: each process has its own, and goes on with what an ended one left."""

import contextlib
import fcntl
import glob
import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class PartFile:
    """An open file, for reading and writing, that no other process writes."""

    path: Path
    file: BinaryIO


@contextlib.contextmanager
def own_part(target: Path) -> Iterator[PartFile]:
    """Yield the unfinished file for `target`, `.NAME.part-...` beside it; what it holds stays, to go on with.

    A link, a file of another user or one with a second name is never opened for it.
    """
    descriptor = None
    for path in sorted(target.parent.glob(f".{glob.escape(target.name)}.part*")):
        descriptor = _taken(path)
        if descriptor is not None:
            break
    if descriptor is None:
        path = target.with_name(f".{target.name}.part-{os.getpid()}-{secrets.token_hex(4)}")
        descriptor = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o666)
        with contextlib.suppress(OSError):  # no locks here: then others leave it alone by its name
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        try:
            yield PartFile(path, file)
        finally:
            if os.fstat(file.fileno()).st_size == 0:  # nothing to go on with
                path.unlink(missing_ok=True)


def _taken(path: Path) -> int | None:
    """The descriptor of an unfinished file that is now this process's; None if it is not to be had."""
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(descriptor)
        plain = stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid == os.geteuid()
        if plain and os.path.samestat(status, path.lstat()):
            return descriptor
    except OSError:  # its process lives, or it has just been finished
        pass
    os.close(descriptor)
    return None
