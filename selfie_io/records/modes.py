"""What replaces a file or folder gets its mode, owner and group: never wider than before, never narrower."""

import os
import stat
from pathlib import Path

from selfie_io.records.lock import LOCK_NAME


def adopt(new: Path, old: Path, *, writable: bool = False) -> None:
    """Give `new` the mode, owner and group of `old`, if that exists; `writable`: and leave it to be written.

    Where the group cannot be given, group bits that others lack are cut.
    """
    try:
        status = old.stat()
    except OSError:
        return
    mode = stat.S_IMODE(status.st_mode)
    if not _give(new, status):
        mode &= ~0o070 | (mode & 0o007) << 3
    rights = stat.S_IRWXU if stat.S_ISDIR(status.st_mode) else stat.S_IRUSR | stat.S_IWUSR
    new.chmod(mode | rights if writable else mode)


def adopt_tree(new: Path, old: Path) -> None:
    """Give a folder and what it holds the modes of the folder that it replaces.

    A file that is new has no bit that no old file had.
    """
    if old.is_symlink() or not old.is_dir():
        return
    widest = 0
    for inner, _, files in os.walk(old):
        for name in set(files) - {LOCK_NAME}:
            widest |= stat.S_IMODE(Path(inner, name).lstat().st_mode)
    for inner, folders, files in os.walk(new):
        for name in (*folders, *files):
            path = Path(inner, name)
            counterpart = old / path.relative_to(new)
            if counterpart.exists() and not counterpart.is_symlink():
                adopt(path, counterpart)
            elif name in files and widest:
                path.chmod(stat.S_IMODE(path.stat().st_mode) & widest)
    adopt(new, old)


def _give(path: Path, status: os.stat_result) -> bool:
    """Give a file its owner and group, or the group alone; whether it has the group in the end."""
    own = path.stat()
    if (own.st_uid, own.st_gid) == (status.st_uid, status.st_gid):
        return True
    for owner in (status.st_uid, -1):
        try:
            os.chown(path, owner, status.st_gid)
            return True
        except OSError:
            continue
    return own.st_gid == status.st_gid
