"""Sources and targets behind a URL (s3://, gs://, memory://, ...), by fsspec: the extra [remote].

A source is copied once into a cache (SELFIE_CACHE, else ~/.cache/selfie) under a name that changes when the
remote file does, and its SHA-256 is checked whenever it is used again. A target's manifest is uploaded last.
"""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfie_io.convert.command import CommandError, say
from selfie_io.records.atomic import atomic_folder
from selfie_io.records.manifest import MANIFEST_NAME

_DIGESTS = "SHA256SUMS"
_CHUNK_BYTES = 1 << 20


def is_url(path: str) -> bool:
    """Whether `path` names a place behind a URL."""
    return "://" in path


def local_source(url: str) -> Path:
    """A local copy of the file or folder at `url`; the same copy while the remote one does not change.

    Raises CommandError if there is nothing, OSError if it cannot be read.
    """
    system, path = _open_url(url)
    if not system.exists(path):
        raise CommandError(f"there is no SOURCE {url}")
    files = sorted(system.find(path)) if system.isdir(path) else [path]
    state = [(file, system.size(file), str(system.ukey(file))) for file in files]
    key = hashlib.sha256(repr((url, state)).encode()).hexdigest()[:32]
    folder = _cache() / key
    name = path.rstrip("/").rsplit("/", 1)[-1]
    if folder.exists() and not _is_whole(folder):
        say(f"{folder}: is damaged, {url} is fetched again")
        _fetch(system, path, files, folder, name, replace=True)
    elif not folder.exists():
        _fetch(system, path, files, folder, name, replace=False)
    return folder / "content" / name


@contextlib.contextmanager
def local_target(url: str, *, force: bool) -> Iterator[Path]:
    """Yield a local folder to write; what it holds at the end of the block goes to `url`, the manifest last.

    Raises CommandError if a data set is there and `force` is False, OSError if `url` cannot be written.
    """
    system, path = _open_url(url)
    manifest = f"{path.rstrip('/')}/{MANIFEST_NAME}"
    if system.exists(manifest) and not force:
        raise CommandError(f"OUT ({url}) holds a data set; --force replaces it")
    with tempfile.TemporaryDirectory(prefix="selfie-") as temporary:
        folder = Path(temporary) / (path.rstrip("/").rsplit("/", 1)[-1] or "set")
        yield folder
        system.makedirs(path, exist_ok=True)
        if system.exists(manifest):  # from here on the old set is no longer whole
            system.rm(manifest)
        for old in system.glob(f"{path.rstrip('/')}/*.bin"):
            system.rm(old)
        names = sorted(file.name for file in folder.iterdir() if file.name != MANIFEST_NAME)
        for name in [*names, MANIFEST_NAME]:
            system.put_file(str(folder / name), f"{path.rstrip('/')}/{name}")


def _open_url(url: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError as error:
        raise ModuleNotFoundError(f"{url} needs fsspec: pip install 'selfie[remote]'") from error
    try:
        system, path = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise CommandError(f"{url}: {error}") from error
    return system, path


def _cache() -> Path:
    cache = os.environ.get("SELFIE_CACHE") or Path.home() / ".cache" / "selfie"
    return Path(cache) / "sources"


def _fetch(system: Any, path: str, files: list[str], folder: Path, name: str, *, replace: bool) -> None:
    with atomic_folder(folder, replace=replace) as temporary:
        root = temporary / "content" / name
        sums = []
        for file in files:
            relative = file[len(path) :].strip("/")
            if ".." in relative.split("/"):
                raise ValueError(f"{file}: leads out of {path}")
            target = root / relative if relative else root
            target.parent.mkdir(parents=True, exist_ok=True)
            system.get_file(file, str(target))
            sums.append(f"{_sha256(target)}  {relative}\n")
        (temporary / _DIGESTS).write_text("".join(sums), encoding="utf-8")


def _is_whole(folder: Path) -> bool:
    (root,) = (folder / "content").iterdir()
    for line in (folder / _DIGESTS).read_text(encoding="utf-8").splitlines():
        digest, relative = line.split("  ", 1)
        path = root / relative if relative else root
        if not path.is_file() or _sha256(path) != digest:
            return False
    return True


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while content := file.read(_CHUNK_BYTES):
            digest.update(content)
    return digest.hexdigest()
