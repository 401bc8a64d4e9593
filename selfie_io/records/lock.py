"""One writer at a time: a lock that the system frees when its holder ends.

The lock is `flock` on a file that names its holder. It works between processes and, on file systems
that share locks, between machines. A holder that dies, however it dies, holds nothing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

LOCK_NAME = ".lock"  # of a folder that is written to: a data set, a run
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF)
_NO_WRITING = (errno.EACCES, errno.EPERM, errno.EROFS)
_RETRY_SECONDS = 0.02
_TOLD_AFTER_SECONDS = 0.5


class Busy(OSError):
    """Another process writes `place`; `holder` names it."""

    def __init__(self, place: Path, holder: str, *, verb: str = "written") -> None:
        super().__init__(f"{place} is being {verb} by {holder}: wait for it, or choose another folder")
        self.place = place
        self.holder = holder


@contextlib.contextmanager
def folder_lock(folder: Path, *, wait_seconds: float = 0, verb: str = "written") -> Iterator[None]:
    """Hold the lock of what is written inside `folder`: FOLDER/.lock.

    Raises Busy if another process holds it for longer than `wait_seconds`. Where there can be no lock, a line
    says so.
    """
    with _held(folder / LOCK_NAME, folder, wait_seconds, verb):
        yield


@contextlib.contextmanager
def target_lock(path: Path, *, wait_seconds: float = 0) -> Iterator[None]:
    """Hold the lock of a path that is to be made or replaced as a whole: .NAME.lock beside it.

    A folder that is there is locked itself too, against those who write inside it. Raises as `folder_lock`.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_held(path.with_name(f".{path.name}.lock"), path, wait_seconds, "written"))
        if path.is_dir() and not path.is_symlink() and any(path.iterdir()):
            stack.enter_context(folder_lock(path, wait_seconds=wait_seconds))
        yield


def lock_holder(folder: Path) -> str | None:
    """The name of the process that holds the lock of `folder`; None if nobody does."""
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
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


@contextlib.contextmanager
def _held(lock: Path, place: Path, wait_seconds: float, verb: str) -> Iterator[None]:
    descriptor = _take(lock, place, wait_seconds, verb)
    if descriptor is None:
        yield
        return
    try:
        with contextlib.suppress(OSError):  # a full disk, or a file that others made: the lock holds without
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, _own_name().encode(), 0)
        yield
    finally:
        if _is_at(lock, descriptor):
            with contextlib.suppress(OSError):
                lock.unlink()  # before the lock is free: who waits finds that it holds a removed file
        os.close(descriptor)


def _take(lock: Path, place: Path, wait_seconds: float, verb: str) -> int | None:
    """The descriptor that holds the lock; None where there can be none."""
    begin = time.monotonic()
    told = False
    while True:
        try:
            descriptor = _open(lock)
        except OSError as error:
            if error.errno not in _NO_WRITING:
                raise
            _say_unlocked(place, error)
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(lock, descriptor):
                return descriptor
            os.close(descriptor)  # its last holder has removed it
            continue
        except BlockingIOError:
            holder = _read_holder(descriptor)
            os.close(descriptor)
        except OSError as error:
            os.close(descriptor)
            if error.errno not in _NO_LOCKS:
                raise
            _say_unlocked(place, error)
            return None
        waited = time.monotonic() - begin
        if waited >= wait_seconds:
            raise Busy(place, holder, verb=verb)
        if waited > _TOLD_AFTER_SECONDS and not told:
            print(f"{place} is being {verb} by {holder}: waiting for it", file=sys.stderr)
            told = True
        time.sleep(_RETRY_SECONDS)


def _open(lock: Path) -> int:
    """Open a lock file, made if missing; one that another user made can be locked without writing to it."""
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(lock, os.O_RDWR | os.O_CREAT | flags, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "a lock must be a plain file, this is a link", str(lock)) from error
        if error.errno not in _NO_WRITING:
            raise
        try:
            return os.open(lock, os.O_RDONLY | flags)
        except FileNotFoundError:
            raise error from None


def _is_at(lock: Path, descriptor: int) -> bool:
    """Whether the open file still has its name."""
    try:
        there = lock.lstat()
    except OSError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))


def _say_unlocked(place: Path, error: OSError) -> None:
    print(f"{place}: no lock here ({error.strerror}): let one process write it", file=sys.stderr)


def _own_name() -> str:
    """This process, its machine and its command, without arguments: they may hold passwords."""
    words = [Path(sys.argv[0] if sys.argv else "").name, *sys.argv[1:2]]
    command = " ".join(word for word in words if re.fullmatch(r"[\w.-]{1,40}", word))
    return f"process {os.getpid()} on {socket.gethostname()}" + (f" ({command})" if command else "")


def _read_holder(descriptor: int) -> str:
    text = os.pread(descriptor, 200, 0).decode(errors="replace")
    return "".join(letter for letter in text if letter.isprintable()) or "another process"
