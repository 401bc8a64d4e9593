"""Reads and writes locations: local paths, and URLs (s3://, gs://, memory://, ...) by fsspec, the
extra [remote].

A local folder appears in one step. At a URL the files are uploaded one by one, the manifest last;
the manifest of an old folder is removed first. So a folder with a manifest is always whole.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from selfie_io.console import hidden, without_secrets
from selfie_io.convert.subcommand import CommandError
from selfie_io.records.atomic import atomic_folder, atomic_path, scratch_folder
from selfie_io.records.lock import LOCK_NAME
from selfie_io.records.manifest import MANIFEST_NAME, read_manifest
from selfie_io.records.names import names_path
from selfie_io.records.overlay_reader import (
    MAX_OVERLAY_JSON_BYTES,
    OVERLAY_FOLDER,
    is_overlay,
    is_overlay_text,
)
from selfie_io.records.plain_files import read_plain

_RECORD_FILE = re.compile(r"(data_batch_[0-9]+|test_batch)\.(bin|names)", re.ASCII)


def is_url(place: str) -> bool:
    """Whether `place` is a URL."""
    return "://" in place


def open_url(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL and the path in it.

    Raises CommandError if there is no such file system, ModuleNotFoundError if a package is
    missing.
    """
    try:
        import fsspec
    except ImportError as error:
        raise ModuleNotFoundError(
            f"{without_secrets(url)} needs fsspec: pip install 'selfie-io[remote]'"
        ) from error
    try:
        system, path = fsspec.core.url_to_fs(url)
    except Exception as error:  # whatever the file system of this scheme makes of it
        raise CommandError(hidden(f"{url}: {error}", url)) from None
    system.invalidate_cache()  # others may have written since it was last looked at
    return _Remote(system, url), path.rstrip("/")


class _Remote:
    """A file system whose own kinds of errors are OSErrors that name the URL."""

    def __init__(self, system: Any, url: str) -> None:
        self._system = system
        self._url = url

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._system, name)
        return self._guarded(found) if callable(found) else found

    def _guarded(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*arguments: Any, **named: Any) -> Any:
            try:
                return call(*arguments, **named)
            except (MemoryError, NotImplementedError):
                raise
            except OSError as error:
                if hidden(str(error), self._url) == str(error):
                    raise
                known = type(error) if type(error).__module__ == "builtins" else OSError
                raise known(hidden(str(error), self._url)) from None
            except Exception as error:  # of aiohttp, botocore, paramiko, ...
                kind = type(error).__name__
                told = hidden(f"{self._url}: {kind}: {error}", self._url)
                raise OSError(" ".join(told.split())[:500]) from None

        return guarded


def _last_part(path: str) -> str:
    return path.rstrip("/").rsplit("/", 1)[-1]


def name_of(place: str) -> str:
    """The last part of a place, without the secrets of a URL; it names a data set.

    What is not UTF-8 in it is replaced: the name goes into JSON files.
    """
    place = without_secrets(place)
    name = _last_part(place) if is_url(place) else Path(place).resolve().name
    return name.encode("utf-8", "replace").decode()


def beside(place: str, name: str) -> str:
    """The place `name` in the folder in which `place` stands."""
    if not is_url(place):
        return str(Path(place).parent / name)
    return f"{place.rstrip('/').rsplit('/', 1)[0]}/{name}"


def read_file(place: str, most_bytes: int) -> bytes:
    """The content of a small file; raises FileNotFoundError, or ValueError if it is larger."""
    if not is_url(place):
        return read_plain(place, most_bytes)
    system, path = open_url(place)
    with system.open(path, "rb") as file:
        content: bytes = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"{without_secrets(place)}: has more than {most_bytes} bytes")
    return content


def write_file(place: str, content: bytes) -> None:
    """Write a small file, whole or not at all."""
    if not is_url(place):
        with atomic_path(place, needed_bytes=len(content)) as temporary:
            temporary.write_bytes(content)
        return
    system, path = open_url(place)
    system.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
    with system.transaction, system.open(path, "wb") as file:
        file.write(content)


@contextlib.contextmanager
def new_folder(
    place: str, *, last: str, replace: bool = False, needed_bytes: int | None = None
) -> Iterator[Path]:
    """Yield an empty local folder, which takes the place of what is at `place` when the block ends
    well: of nothing, of an empty folder or, with `replace`, of a data set.

    `last` names the file that makes it whole. Raises OSError if `place` cannot be written, Busy if
    another process writes it, FileExistsError if something else came there meanwhile.
    """
    if not is_url(place):
        foreign = foreign_names if last == MANIFEST_NAME else None
        with atomic_folder(place, replace=replace, foreign=foreign, needed_bytes=needed_bytes) as folder:
            yield folder
        return
    with scratch_folder() as folder:
        yield folder
        clear_url(place, first=last)
        system, path = open_url(place)
        for name in sorted(file.name for file in folder.iterdir() if file.name != last):
            system.put_file(str(folder / name), f"{path}/{name}")
        write_file(f"{place}/{last}", (folder / last).read_bytes())


def clear_url(url: str, *, first: str) -> None:
    """Make the folder at `url` if need be; remove its file `first`, then record files and overlays."""
    system, path = open_url(url)
    system.makedirs(path, exist_ok=True)
    if system.exists(f"{path}/{first}"):
        system.rm(f"{path}/{first}")
    for name in _names_in(system, path):
        if _RECORD_FILE.fullmatch(name):
            system.rm(f"{path}/{name}")
    overlays = f"{path}/{OVERLAY_FOLDER}"
    names = set(_names_in(system, overlays))
    for name in sorted(names):
        place = f"{url.rstrip('/')}/{OVERLAY_FOLDER}/{name}"
        if name.endswith(".json") and is_overlay_text(read_file(place, MAX_OVERLAY_JSON_BYTES)):
            for own in {name, f"{name.removesuffix('.json')}.npy"} & names:
                system.rm(f"{overlays}/{own}")
    if names and not _names_in(system, overlays) and system.isdir(overlays):
        system.rmdir(overlays)


def _names_in(system: Any, folder: str) -> list[str]:
    try:
        return [_last_part(path) for path in system.ls(folder, detail=False)]
    except (FileNotFoundError, NotADirectoryError):  # in some, a folder is only a beginning of names
        return []


def remove_folder(place: str) -> None:
    """Remove a folder of this program's own with all that it holds, if it is there."""
    if not is_url(place):
        shutil.rmtree(place, ignore_errors=True)
        return
    system, path = open_url(place)
    if system.exists(path):
        system.rm(path, recursive=True)


def check_target(out: str, source: str, *, force: bool) -> None:
    """Raise CommandError unless `out` can be written: it is absent, empty, or a data set to be replaced.

    A local folder is replaced as a whole, so one that holds anything but a data set is refused. At a
    URL only the files of a data set are removed.
    """
    foreign: list[str] = []
    if is_url(out):
        if is_url(source):
            _refuse_nested(out, source, f"{out.rstrip('/')}/", f"{source.rstrip('/')}/")
        system, path = open_url(out)
        there = system.exists(path)
        folder = system.isdir(path)
        files = system.ls(path, detail=False) if folder else []
        names = {_last_part(name) for name in files}
    else:
        here = Path(out)
        if here.name in ("", ".."):
            raise CommandError(f"OUT must end in the name of a folder, got {out!r}")
        if Path(source).exists():
            _refuse_nested(out, source, f"{here.resolve()}/", f"{Path(source).resolve()}/")
        there = os.path.lexists(here)
        folder = here.is_dir() and not here.is_symlink()
        names = {path.name for path in here.iterdir()} if folder else set()
        foreign = foreign_names(here) if folder else []
    if there and not folder:
        raise CommandError(f"OUT must be a folder, got {out}")
    if names and not names & {MANIFEST_NAME, "data_batch_1.bin"}:
        raise CommandError(f"OUT must be absent, empty or a data set, got {out}")
    if names and not force:
        raise CommandError(f"OUT must be absent or empty, {out} holds a data set; --force replaces it")
    if foreign:
        raise CommandError(
            f"OUT must hold a data set alone to be replaced, {out} also holds {', '.join(foreign[:5])}"
            f"{', ...' if len(foreign) > 5 else ''}; move {'it' if len(foreign) == 1 else 'them'} away"
        )


def _refuse_nested(out: str, source: str, out_path: str, source_path: str) -> None:
    """Raise CommandError if one of two places, which end in "/", is inside the other."""
    if source_path.startswith(out_path):
        raise CommandError(
            f"OUT must not hold SOURCE, which it would replace; got OUT {out}, SOURCE {source}"
        )
    if out_path.startswith(source_path):
        raise CommandError(f"OUT must not be inside SOURCE; got OUT {out}, SOURCE {source}")


def foreign_names(folder: Path) -> list[str]:
    """What a folder holds that is no part of a data set: neither in its manifest nor an overlay."""
    try:
        manifest = read_manifest(folder)
    except (OSError, ValueError):  # a damaged one: the names of record files tell
        manifest = None
    own = {MANIFEST_NAME, LOCK_NAME}
    if manifest is None:
        own |= {path.name for path in folder.iterdir() if _RECORD_FILE.fullmatch(path.name)}
    else:
        for file in (file for entry in manifest.splits.values() for file in entry.files):
            own |= {file.name, *([names_path(Path(file.name)).name] if file.names else [])}
    foreign = [path.name for path in folder.iterdir() if path.name not in own | {OVERLAY_FOLDER}]
    overlays = folder / OVERLAY_FOLDER
    if overlays.is_dir() and not overlays.is_symlink():
        stems = {path.stem for path in overlays.glob("*.json") if is_overlay(path)}
        foreign += [
            f"{OVERLAY_FOLDER}/{path.name}"
            for path in overlays.iterdir()
            if path.suffix not in (".npy", ".json") or path.stem not in stems
        ]
    elif overlays.exists() or overlays.is_symlink():
        foreign.append(OVERLAY_FOLDER)
    return sorted(foreign)
