"""Copies a source at a URL once into a local cache.

The cache is SELFIE_CACHE, else ~/.cache/selfie. The name of a copy changes when the remote files
change; its SHA-256 is checked whenever it is used again.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from selfie_io.console import without_secrets
from selfie_io.convert.storage.locations import is_url, name_of, open_url
from selfie_io.convert.storage.transfer import Pace
from selfie_io.convert.subcommand import CommandError, say
from selfie_io.records.atomic import atomic_folder
from selfie_io.records.plain_files import open_plain, read_json
from selfie_io.user_cache import user_cache

_DIGESTS = "sha256.json"
_CHUNK_BYTES = 1 << 20
_MOST_UNKNOWN_BYTES = 64 << 30  # of a file whose server tells no size
_WAIT_SECONDS = 24 * 3600.0  # for another process that fetches the same


def find_source(source: str) -> str:
    """The local path of a source, fetched first if it is at a URL; the word "digits" is its own
    path.

    Raises CommandError if there is nothing, OSError if it cannot be read.
    """
    check_source(source)
    return str(_local_copy(source)) if is_url(source) else source


def check_source(source: str) -> None:
    """Raise CommandError if `source` is a path and nothing is there."""
    if not is_url(source) and source != "digits" and not Path(source).exists():
        raise CommandError(f"SOURCE must exist, there is none at {source}")


def _local_copy(url: str) -> Path:
    """A local copy of the file or folder at `url`; the same copy while the remote one does not
    change.
    """
    system, path = open_url(url)
    found = system.find(path) if system.isdir(path) else [path] if system.exists(path) else []
    files = sorted(file for file in found if not file.endswith("/"))
    if not files:
        raise CommandError(f"SOURCE must exist, there is none at {without_secrets(url)}")
    state = [(file, system.size(file), str(system.ukey(file))) for file in files]
    key = hashlib.sha256(repr((url, state)).encode()).hexdigest()[:32]
    folder = _cache() / key
    name = name_of(url)
    damaged = folder.exists() and not _is_whole(folder, name)
    if damaged:
        say(f"{folder}: is damaged, {without_secrets(url)} is fetched again")
    if damaged or not folder.exists():
        try:
            _fetch(system, path, files, folder, name, replace=damaged)
        except OSError:
            if damaged or not folder.exists():  # else another process was quicker
                raise
    return folder / "content" / name


def _cache() -> Path:
    return user_cache() / "sources"


def _fetch(system: Any, path: str, files: list[str], folder: Path, name: str, *, replace: bool) -> None:
    with atomic_folder(folder, replace=replace, wait_seconds=_WAIT_SECONDS) as temporary:
        digests = {}
        for file in files:
            relative = file[len(path) :].strip("/")
            if ".." in relative.split("/"):
                raise ValueError(f"{file}: leads out of {path}")
            target = temporary / "content" / name / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            size = system.size(file)
            most = _MOST_UNKNOWN_BYTES if size is None else size
            system.get_file(file, str(target), callback=_paced(Pace(most)))
            digests[relative] = _sha256(target)
        (temporary / _DIGESTS).write_text(json.dumps(digests))


def _paced(pace: Pace) -> Any:
    """What fsspec tells of a transfer, with its bounds of time and size."""
    from fsspec.callbacks import Callback

    class Paced(Callback):  # type: ignore[misc]
        def relative_update(self, inc: int = 1) -> None:
            pace.add(inc)

    return Paced()


def _is_whole(folder: Path, name: str) -> bool:
    """Whether a copy is what was fetched; whatever is wrong with it, it can be fetched again."""
    content = folder / "content" / name
    try:
        digests = read_json(folder / _DIGESTS)
        there = {path.relative_to(content).as_posix() for path in content.rglob("*") if not path.is_dir()}
        if not digests or set(digests) != ({""} if content.is_file() else there):
            return False  # also with a file that was not fetched
        return all(_sha256(content / file) == digest for file, digest in digests.items())
    except (OSError, ValueError, TypeError, AttributeError):
        return False


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open_plain(path) as file:
        while content := file.read(_CHUNK_BYTES):
            digest.update(content)
    return digest.hexdigest()
