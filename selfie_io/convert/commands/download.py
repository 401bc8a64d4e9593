"""selfie-convert download: fetches the files of a published set, resumes, and checks the published
MD5.
"""

import contextlib
import hashlib
import http.client
import os
import urllib.error
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import tyro

from selfie_io.console import hidden, without_secrets
from selfie_io.convert.sources.published_digests import MD5
from selfie_io.convert.storage.part_file import PartFile, own_part
from selfie_io.convert.storage.transfer import Pace, TooMuch, TransferError, answer_of, content_length
from selfie_io.convert.subcommand import DONE, CommandError, Subcommand, progress, say
from selfie_io.records.atomic import sync
from selfie_io.records.full_disk import FullDisk, named_errors
from selfie_io.records.plain_files import open_plain

_CHUNK_BYTES = 1 << 18
_MAX_BYTES = 1 << 30  # of one file
_ATTEMPTS = 4
_TIMEOUT_SECONDS = 60
_PASSING = {408, 425, 429, *range(500, 600)}  # answers that may be others later


@dataclass(frozen=True)
class Published:
    """Where a set is published, its files with their MD5, and its terms."""

    url: str
    files: dict[str, str]
    terms: str


_FASHION_FILES = [
    f"{split}-{what}-ubyte.gz" for split in ("train", "t10k") for what in ("images-idx3", "labels-idx1")
]
SETS = {
    "cifar10": Published(
        "https://www.cs.toronto.edu/~kriz/",
        {"cifar-10-python.tar.gz": MD5["cifar-10-python.tar.gz"]},
        "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009; cite it",
    ),
    "cifar100": Published(
        "https://www.cs.toronto.edu/~kriz/",
        {"cifar-100-python.tar.gz": MD5["cifar-100-python.tar.gz"]},
        "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009; cite it",
    ),
    "fashion-mnist": Published(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {name: MD5[f"fashion-mnist/{name}"] for name in _FASHION_FILES},
        "Zalando SE, MIT License",
    ),
    "svhn": Published(
        "http://ufldl.stanford.edu/housenumbers/",
        {name: MD5[name] for name in ("train_32x32.mat", "test_32x32.mat")},
        "Y. Netzer et al., 2011; for non-commercial use only",
    ),
}


@dataclass(frozen=True)
class Download(Subcommand):
    """Fetch the published files of NAME into FOLDER, ready for `selfie-convert pack`.

    NAME is cifar10, cifar100, fashion-mnist or svhn. Run it again after a broken download: it
    continues where it stopped. A file appears only when its MD5 is the published one. (ANIMAL-10N
    and Tiny-ImageNet come from their authors, on their terms.)
    """

    EXAMPLES = (
        "selfie-convert download cifar10 downloads",
        "selfie-convert pack downloads data/cifar10",
    )

    name: tyro.conf.Positional[str]
    """The set: cifar10, cifar100, fashion-mnist or svhn."""
    folder: tyro.conf.Positional[Path]
    """The folder for the files."""
    mirror: str | None = None
    """Another URL with the same files; their MD5 must match; by default the
    publisher's."""

    def run(self) -> int:
        """Fetch what is not there yet."""
        if self.name not in SETS:
            raise CommandError(f"NAME must be one of {', '.join(SETS)}, got {self.name!r}")
        published = SETS[self.name]
        say(f"{self.name}: {published.terms}")
        self.folder.mkdir(parents=True, exist_ok=True)
        base = (self.mirror or published.url).rstrip("/")
        if "?" in base or "#" in base:
            raise CommandError(f"--mirror must be a URL that names follow, without a query, got {base}")
        for name, md5 in published.files.items():
            target = self.folder / name
            if target.exists() and _md5(target) == md5:
                print(f"{target}: is there already")
                continue
            if os.path.lexists(target):
                raise CommandError(
                    f"FOLDER must not hold another {name}, {target} has not the published MD5: move it away"
                )
            fetch(f"{base}/{name}", target, md5)
            print(f"{target}: {target.stat().st_size:,} bytes, MD5 as published")
        return DONE


def fetch(url: str, target: Path, md5: str) -> None:
    """Download `url`, continuing what an earlier attempt left beside `target`.

    Raises OSError if the server cannot be reached, ValueError if the content is not the published
    one.
    """
    with own_part(target) as part:
        for attempt in range(_ATTEMPTS):
            try:
                _continue(url, part, target)
                break
            except (OSError, http.client.HTTPException, ValueError) as error:
                if isinstance(error, TooMuch):  # it would be too much again
                    part.file.truncate(0)
                permanent = _is_permanent(error)
                if permanent or isinstance(error, TransferError | FullDisk) or attempt == _ATTEMPTS - 1:
                    told = " ".join(str(error).split())[:300]  # a server's own words
                    advice = "--mirror URL names another place" if permanent else "run it again to go on"
                    raise OSError(hidden(f"{url}: {told}; {advice}", url)) from None
        found = _md5(part.path)
        if found != md5:
            part.path.unlink()
            raise ValueError(f"{without_secrets(url)}: MD5 {found}, published is {md5}: nothing was kept")
        sync(part.path)
        part.path.replace(target)


def _is_permanent(error: Exception) -> bool:
    """Whether another try would end in the same way."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code not in _PASSING
    if isinstance(error, urllib.error.URLError):
        return isinstance(error.reason, str | FileNotFoundError)  # a scheme that is none, no host, no file
    return isinstance(error, TooMuch | ValueError)  # or a redirection to what is no URL


def _continue(url: str, part: PartFile, target: Path) -> None:
    """Fetch what `part` does not have yet; raises OSError if the connection ends early."""
    have = part.file.seek(0, os.SEEK_END)
    headers = {"Range": f"bytes={have}-"} if have else {}
    with contextlib.ExitStack() as stack:
        try:
            answer = stack.enter_context(answer_of(url, headers, _TIMEOUT_SECONDS))
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and have:  # nothing after these bytes: all are there
                return
            raise
        told = answer.headers.get("Content-Range", "")
        goes_on = answer.status == 206 and told.startswith(f"bytes {have}-")
        have = have if goes_on else 0
        length = content_length(answer.headers)
        if have + (length or 0) > _MAX_BYTES:
            raise TooMuch(f"more than {_MAX_BYTES} bytes")
        part.file.truncate(have)
        part.file.seek(have)
        advance = stack.enter_context(progress(target.name, have + (length or 0), "bytes"))
        advance(have)
        came = 0
        needed = have + length if length else None
        for content in answer.chunks(Pace(_MAX_BYTES - have, _TIMEOUT_SECONDS)):
            came += len(content)
            with named_errors(target, part.path, needed_bytes=needed):
                _write_all(part.file, content)
            advance(len(content))
    if came < (length or 0):
        raise OSError(f"the connection ended {(length or 0) - came} bytes early")


def _write_all(file: BinaryIO, content: bytes) -> None:
    """Write to a file without a buffer, which may take a part at a time."""
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with open_plain(path) as file:
        while content := file.read(_CHUNK_BYTES):
            digest.update(content)
    return digest.hexdigest()
