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
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from selfie_io.records.full_disk import named_errors
from selfie_io.records.lock import target_lock
from selfie_io.records.modes import adopt, adopt_tree

_MARK = ".partial-"
_TEMPORARY = "[0-9]+-[0-9a-f]{8}"  # the number of the process, and a random one
_AT_FDCWD = -100
_MANY_FILES = 256
_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2


@contextlib.contextmanager
def atomic_path(
    path: str | os.PathLike[str], *, replace: bool = True, needed_bytes: int | None = None
) -> Iterator[Path]:
    """Yield a temporary file beside `path`, which takes its place when the block ends without an
    exception.

    The temporary name keeps the suffix of `path`. Raises OSError if the folder cannot be written; on
    a full disk it names `path`, the free and the needed bytes. Raises FileExistsError if `replace` is
    False and `path` exists, also if it came into being meanwhile.
    """
    target = Path(path)
    if not replace:
        _refuse(target)
    with named_errors(target):
        remove_leftovers(target)
        temporary, lock = _claim(target, folder=False)
    try:
        with named_errors(target, temporary, needed_bytes=needed_bytes):
            adopt(temporary, target, writable=True)
            yield temporary
            adopt(temporary, target)
            sync(temporary)
            if replace:
                temporary.replace(target)
            elif not _rename_to_nothing(temporary, target):
                _link_to_nothing(temporary, target)
            sync(target.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(lock)


@contextlib.contextmanager
def atomic_folder(
    path: str | os.PathLike[str],
    *,
    replace: bool = False,
    foreign: Callable[[Path], list[str]] | None = None,
    wait_seconds: float = 0,
    needed_bytes: int | None = None,
) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, which takes its place when the block ends without an
    exception.

    One process at a time may do so for a path: others get Busy after `wait_seconds`. An empty folder
    is replaced. With `replace` a full one is exchanged in one step where the system can (Linux), and
    is absent for a moment elsewhere; `foreign` names what in it is not this program's: if there is
    anything, it stays as it is. Raises FileExistsError if `path` exists and may not be replaced.
    """
    target = Path(path)
    if not replace:
        _refuse(target)
    with _parents(target), target_lock(target, wait_seconds=wait_seconds):
        with named_errors(target):
            remove_leftovers(target)
            temporary, lock = _claim(target, folder=True)
        try:
            with named_errors(target, temporary, needed_bytes=needed_bytes):
                adopt(temporary, target, writable=True)
                yield temporary
                adopt_tree(temporary, target)
                _sync_tree(temporary, lock)
                _take_place(temporary, target, replace, foreign)
                sync(target.parent)
        finally:
            os.close(lock)
            shutil.rmtree(
                temporary, ignore_errors=True
            )  # the old state after an exchange, or what a failure left


@contextlib.contextmanager
def _parents(path: Path) -> Iterator[None]:
    """Make the folders above `path`; after an exception those that are still empty go again."""
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError):  # others use it by now, or it was not made
                folder.rmdir()
        raise


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a new folder for this process alone in the temporary folder (TMPDIR), removed at the end.

    What a killed process left there goes, too.
    """
    target = Path(tempfile.gettempdir()) / "selfie"
    with named_errors(target):
        remove_leftovers(target)
        temporary, lock = _claim(target, folder=True, mode=0o700)
    try:
        with named_errors(temporary):
            yield temporary
    finally:
        os.close(lock)
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(path: Path) -> None:
    """Remove what writers of `path` that no longer live left beside it."""
    name = re.compile(re.escape(f".{path.stem}{_MARK}") + _TEMPORARY + re.escape(path.suffix), re.ASCII)
    _remove([one for one in path.parent.iterdir() if name.fullmatch(one.name)])


def remove_all_leftovers(folder: Path) -> None:
    """Remove what writers that no longer live left in `folder`, whatever they wrote."""
    _remove(leftovers_in(folder))


def leftovers_in(folder: Path) -> list[Path]:
    """All temporary files and folders in `folder`, whether their writers live or not."""
    name = re.compile(rf"\..+{re.escape(_MARK)}{_TEMPORARY}(\.[^.]*)?", re.ASCII | re.DOTALL)
    return [one for one in folder.iterdir() if name.fullmatch(one.name)]


def _remove(leftovers: list[Path]) -> None:
    for leftover in leftovers:
        with unlocked(leftover) as free:
            if not free:
                continue
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def unlocked(leftover: Path) -> Iterator[bool]:
    """Whether the writer of a temporary file or folder no longer lives; holds its lock meanwhile."""
    try:
        lock = os.open(leftover, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # gone meanwhile, a link, or not ours to open
        yield False
        return
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
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


def _claim(target: Path, *, folder: bool, mode: int = 0o777) -> tuple[Path, int]:
    """Make a temporary file or folder for `target`; returns it and the descriptor that holds its
    lock.
    """
    while True:
        temporary = _temporary_name(target)
        try:
            if folder:
                temporary.mkdir(mode)
            else:
                os.close(os.open(temporary, os.O_CREAT | os.O_EXCL, 0o666))
        except OSError as error:  # name what was asked for
            raise OSError(error.errno, error.strerror, str(target)) from error
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW)
            with contextlib.suppress(OSError):  # no locks here: nobody else removes it then, either
                fcntl.flock(lock, fcntl.LOCK_EX)
            if temporary.exists():
                return temporary, lock
            os.close(lock)
        # Another writer took it for a leftover between its birth and its lock: make a new one.


def _take_place(
    temporary: Path, target: Path, replace: bool, foreign: Callable[[Path], list[str]] | None
) -> None:
    """Rename a finished folder to its place; whatever came into being there since stays."""
    if _rename_to_nothing(temporary, target):
        return
    with contextlib.suppress(OSError):  # not empty, or no folder
        target.rmdir()
    if not os.path.lexists(target):
        temporary.rename(target)  # fails if another folder came into being that is not empty
        return
    if not replace:
        _refuse(target)
    if target.is_symlink() or not target.is_dir():
        raise FileExistsError(errno.EEXIST, "must be a folder", str(target))
    _refuse_foreign(target, target, foreign)
    if _rename_at(temporary, target, _RENAME_EXCHANGE):
        try:
            _refuse_foreign(temporary, target, foreign)  # it came since
        except FileExistsError:
            _rename_at(temporary, target, _RENAME_EXCHANGE)
            raise
        return
    aside = _temporary_name(target)
    target.rename(aside)
    temporary.rename(target)
    shutil.rmtree(aside)


def _refuse(target: Path) -> None:
    """Raise FileExistsError unless nothing, or an empty folder, is at `target`."""
    if not os.path.lexists(target):
        return
    if target.is_dir() and not target.is_symlink() and not any(target.iterdir()):
        return
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))


def _refuse_foreign(folder: Path, target: Path, foreign: Callable[[Path], list[str]] | None) -> None:
    found = [] if foreign is None else foreign(folder)
    if found:
        raise FileExistsError(
            errno.EEXIST, f"also holds {', '.join(found[:5])}, which came meanwhile", str(target)
        )


def _temporary_name(target: Path) -> Path:
    return target.with_name(f".{target.stem}{_MARK}{os.getpid()}-{secrets.token_hex(4)}{target.suffix}")


def _rename_to_nothing(old: Path, new: Path) -> bool:
    """Rename in one step that never replaces; False if something is there, or the system cannot."""
    return _rename_at(old, new, _RENAME_NOREPLACE)


def _link_to_nothing(old: Path, new: Path) -> None:
    """Move a file to a name that must be free, where renaming cannot see to that."""
    try:
        new.hardlink_to(old)  # fails if somebody was faster
    except FileExistsError:
        raise
    except OSError:  # a file system without links: look, then rename
        _refuse(new)
        old.rename(new)
    else:
        old.unlink()


def _rename_at(first: Path, second: Path, flags: int) -> bool:
    """renameat2; False where the system or the file system cannot, or something is in the way."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:  # a C library without it
        return False
    return bool(renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), flags) == 0)
