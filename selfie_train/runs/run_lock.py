"""A run's folder belongs to one trainer at a time: by a lock that the system frees when its holder ends.

The lock is `flock` on RUN/.lock, which holds the name of its holder: it works between processes and, on file
systems that share locks, between machines. A holder that dies, however it dies, holds nothing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

LOCK_NAME = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class RunBusy(OSError):
    """Another process trains the run; `holder` names it."""

    def __init__(self, folder: Path, holder: str) -> None:
        super().__init__(f"{folder} is being trained by {holder}: wait for it, or choose another folder")
        self.holder = holder


@contextlib.contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of the run in `folder`, which is made if missing.

    Raises RunBusy if another process holds it. Where the file system has no locks, a line says so.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunBusy(folder, _read_holder(descriptor)) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            print(f"{folder}: no lock here ({error.strerror}): let one process train it", file=sys.stderr)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def lock_holder(folder: Path) -> str | None:
    """The name of the process that trains the run in `folder`; None if nobody does."""
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_holder(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None


def _read_holder(descriptor: int) -> str:
    return os.pread(descriptor, 200, 0).decode(errors="replace") or "another process"
