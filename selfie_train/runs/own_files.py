"""Which files a command writes into a folder: nothing else there is ever replaced.

A run's folder is its own by its config.json. In the folder of a comparison or an audit,
OUT/.selfie-files.json has the digest of each file that the command wrote; a file that somebody has
changed since is no longer its.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from selfie_io.records.atomic import atomic_path
from selfie_io.records.lock import folder_lock
from selfie_io.records.manifest import MANIFEST_NAME
from selfie_io.records.plain_files import read_json

RUN_FILES = (
    "log.csv",
    "events.jsonl",
    "checkpoints",
    "summary.json",
    "labels.csv",
    "confusion.csv",
    "report.html",
    "evidence",
)
_DATA_SET = (MANIFEST_NAME, "data_batch_1.bin")
LIST_NAME = ".selfie-files.json"
_BEING_WRITTEN = ""
_MOST_LIST_BYTES = 1 << 20
_WAIT_SECONDS = 600.0


def check_new_run(folder: Path) -> None:
    """Raise FileExistsError if a folder holds a run, a data set, or files of others that a run would replace.

    Raises NotADirectoryError if it is no folder.
    """
    _check_folder(folder)
    if any((folder / name).exists() for name in _DATA_SET):
        raise FileExistsError(
            f"a new run needs a folder of its own, but {folder} holds a data set: choose another"
        )
    if (folder / "config.json").exists():
        raise FileExistsError(
            f"a new run needs a new folder, but {folder} holds a run already: resume it, or choose another"
        )
    _refuse(folder, [name for name in RUN_FILES if os.path.lexists(folder / name)])


class OwnFiles:
    """The files that a command writes into `folder`, by the names that are given.

    `is_earlier` tells whether the folder is one that version 0.1 wrote, which kept no list.
    Raises FileExistsError, naming them, if there are others by these names.
    """

    def __init__(
        self, folder: Path, names: Sequence[str], *, is_earlier: Callable[[Path], bool] = lambda _: False
    ) -> None:
        _check_folder(folder)
        self.folder, self.names = folder, names
        listed = _read(folder)
        if listed is None and is_earlier(folder):
            listed = dict.fromkeys(names, _BEING_WRITTEN)
        self._listed = listed or {}
        _refuse(folder, [name for name in names if self._is_foreign(name)])

    def _is_foreign(self, name: str) -> bool:
        path = self.folder / name
        if not os.path.lexists(path):
            return False
        listed = self._listed.get(name)
        return listed is None or listed not in (_BEING_WRITTEN, _digest(path))

    @contextlib.contextmanager
    def being_written(self) -> Iterator[None]:
        """Within the block the files are written: what a killed command leaves of them is replaced later.

        The digests of what is there in the end are noted. Two commands at once take turns.
        """
        with folder_lock(self.folder, wait_seconds=_WAIT_SECONDS):
            self._write({**(_read(self.folder) or {}), **dict.fromkeys(self.names, _BEING_WRITTEN)})
            yield
            there = [name for name in self.names if os.path.lexists(self.folder / name)]
            self._write({**self._listed, **{name: _digest(self.folder / name) for name in there}})

    def _write(self, listed: dict[str, str]) -> None:
        self._listed = listed
        with atomic_path(self.folder / LIST_NAME) as temporary:
            temporary.write_text(json.dumps(listed, indent=1) + "\n")


def _check_folder(folder: Path) -> None:
    if os.path.lexists(folder) and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "--out must be a folder", str(folder))


def _refuse(folder: Path, foreign: list[str]) -> None:
    if foreign:
        raise FileExistsError(
            errno.EEXIST,
            f"only what this command wrote is replaced, and it would overwrite {', '.join(foreign)}: move "
            f"{'it' if len(foreign) == 1 else 'them'} away, or choose another folder",
            str(folder),
        )


def _read(folder: Path) -> dict[str, str] | None:
    try:
        listed = read_json(folder / LIST_NAME, _MOST_LIST_BYTES)
    except (OSError, ValueError):
        return None
    if not isinstance(listed, dict):
        return None
    return {name: digest for name, digest in listed.items() if isinstance(digest, str)}


def _digest(path: Path) -> str:
    """The SHA-256 of a file, or of all files below a folder with their names."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(str(file.relative_to(path)).encode() + b"\0")
            digest.update(file.read_bytes())
    return digest.hexdigest()
