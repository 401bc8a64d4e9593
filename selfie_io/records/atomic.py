"""Writes a file or a folder so that a reader finds the old state or the new one, never half.

The new state is written beside the target under a name that starts with a dot, and renamed when it
is whole. Its writer holds a lock on it. So leftovers of a killed writer, which nobody locks, are
recognised and removed.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from selfie_io.records.modes import adopt, adopt_tree

_MARK = ".partial-"
_AT_FDCWD = -100
_MANY_FILES = 256
_RENAME_EXCHANGE = 2


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary file beside `path`, which takes its place when the block ends without an
    exception.

    The temporary name keeps the suffix of `path`. Raises OSError if the folder cannot be written.
    """
    target = Path(path)
    remove_leftovers(target)
    temporary, lock = _claim(target, folder=False)
    try:
        adopt(temporary, target, writable=True)
        yield temporary
        adopt(temporary, target)
        sync(temporary)
        temporary.replace(target)
        sync(target.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(lock)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str], *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, which takes its place when the block ends without an
    exception.

    With `replace` a folder that stands there is exchanged in one step where the system can (Linux),
    and is absent for a moment elsewhere. Raises FileExistsError if `path` exists and `replace` is
    False.
    """
    target = Path(path)
    if not replace and os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target)
    temporary, lock = _claim(target, folder=True)
    try:
        adopt(temporary, target, writable=True)
        yield temporary
        adopt_tree(temporary, target)
        _sync_tree(temporary, lock)
        if not replace or not os.path.lexists(target):
            temporary.rename(target)
        elif not _exchange(temporary, target):
            aside = _temporary_name(target)
            target.rename(aside)
            temporary.rename(target)
            shutil.rmtree(aside)
        sync(target.parent)
    finally:
        os.close(lock)
        shutil.rmtree(
            temporary, ignore_errors=True
        )  # the old state after an exchange, or what a failure left


def remove_leftovers(path: Path) -> None:
    """Remove what writers of `path` that no longer live left beside it."""
    name = re.compile(
        re.escape(f".{path.stem}{_MARK}") + "[0-9]+-[0-9a-f]{8}" + re.escape(path.suffix), re.ASCII
    )
    for leftover in path.parent.iterdir():
        if not name.fullmatch(leftover.name):
            continue
        try:
            lock = os.open(leftover, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:  # gone meanwhile, a link, or not ours to open
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)
        except OSError:  # its writer lives
            pass
        finally:
            os.close(lock)


def sync(path: Path) -> None:
    """Wait until the content of a file or the names in a folder are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot sync a folder
            raise
    finally:
        os.close(descriptor)


def _sync_tree(folder: Path, descriptor: int) -> None:
    """Wait until all that `folder`, open as `descriptor`, holds is on the disk."""
    paths = [Path(inner, name) for inner, folders, files in os.walk(folder) for name in (*folders, *files)]
    if len(paths) > _MANY_FILES and sys.platform.startswith("linux"):
        # One wait for the whole file system is shorter than one for each of thousands of images.
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
        return
    for path in (*paths, folder):
        sync(path)


def _claim(target: Path, *, folder: bool) -> tuple[Path, int]:
    """Make a temporary file or folder for `target`; returns it and the descriptor that holds its
    lock.
    """
    while True:
        temporary = _temporary_name(target)
        if folder:
            temporary.mkdir()
        else:
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL, 0o666))
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(temporary, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if temporary.exists():
                return temporary, lock
            os.close(lock)
        # Another writer took it for a leftover between its birth and its lock: make a new one.


def _temporary_name(target: Path) -> Path:
    return target.with_name(f".{target.stem}{_MARK}{os.getpid()}-{secrets.token_hex(4)}{target.suffix}")


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step; False where the system or the file system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:  # a C library without it
        return False
    return bool(
        renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0
    )
