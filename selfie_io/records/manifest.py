"""dataset.json, the manifest of a folder of record files: its fields and its checks
(docs/format.md).
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from selfie_io.records.atomic import atomic_path
from selfie_io.records.files import file_name
from selfie_io.records.layout import MAX_CLASSES, RecordLayout
from selfie_io.records.plain_files import check_json_size, read_plain
from selfie_io.records.quick_json import decode_json

MANIFEST_NAME = "dataset.json"
FORMAT_MAJOR = 1
FORMAT_VERSION = f"{FORMAT_MAJOR}.1"  # 1.1 added `labels`
BLOCK_BYTES = 1 << 20  # the digests of blocks tell which part of a file is damaged
MAX_MANIFEST_BYTES = 1 << 28
MAX_NAME_LETTERS = 1000

# Kinds of source whose published labels are the reference that noise is measured against.
_CLEAN_KINDS = ("cifar10", "cifar10-bin", "cifar100", "cifar100-bin", "tiny-imagenet", "svhn", "digits")

_SHA256 = re.compile(r"[0-9a-f]{64}")


class NamesEntry(msgspec.Struct, frozen=True):
    """The file of names beside a record file (records/names.py): its size and SHA-256."""

    bytes: int
    sha256: str


class FileEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One record file: its size, its SHA-256 and the SHA-256 of each block of 1 MiB, in lower-case
    hex.
    """

    name: str
    records: int
    bytes: int
    sha256: str
    blocks: list[str]
    names: NamesEntry | None = None


class SplitEntry(msgspec.Struct, frozen=True):
    """One split: its number of records and its files in reading order."""

    records: int
    files: list[FileEntry]


class Manifest(msgspec.Struct, frozen=True):
    """What dataset.json says; `unknown` keeps the keys that a newer minor version added.

    `channel_mean` and `channel_std` are those of the training pixels, with bytes 0..255 taken as
    0..1.
    """

    name: str
    channels: int
    height: int
    width: int
    num_classes: int
    class_names: list[str]
    splits: dict[Literal["train", "test"], SplitEntry]
    channel_mean: list[float]
    channel_std: list[float]
    provenance: dict[str, Any]
    labels: Literal["clean", "unknown"] = "unknown"  # whether the stored labels are known to be right
    format_version: str = FORMAT_VERSION
    unknown: dict[str, Any] = {}

    @property
    def layout(self) -> RecordLayout:
        """The shape of a record."""
        return RecordLayout(self.channels, self.height, self.width)


_KEYS = [name for name in Manifest.__struct_fields__ if name != "unknown"]


def labels_by_provenance(provenance: dict[str, Any]) -> Literal["clean", "unknown"]:
    """What is known of the labels where nobody says: those of a published set are clean."""
    source = provenance.get("source")
    kind = source.get("kind") if isinstance(source, dict) else None
    return "clean" if kind in _CLEAN_KINDS else "unknown"


def read_manifest(folder: str | Path) -> Manifest | None:
    """Read and check the manifest of `folder`; None if it has none.

    The record files are not read (`selfie_io.records.verify` does that). Raises ValueError if the
    manifest contradicts itself, OSError if it cannot be read.
    """
    path = Path(folder) / MANIFEST_NAME
    try:
        content = read_plain(path, MAX_MANIFEST_BYTES)
    except FileNotFoundError:
        return None
    return decode_manifest(content, str(path))


def decode_manifest(content: bytes, place: str) -> Manifest:
    """Check the content of a manifest; raises ValueError, which names `place`, if it contradicts
    itself.
    """
    try:
        check_json_size(content, "a manifest")
        fields = decode_json(content, dict[str, Any])
        _check_version(fields)
        known = {name: fields[name] for name in _KEYS if name in fields}
        if "labels" not in fields and isinstance(fields.get("provenance"), dict):  # of version 1.0
            known["labels"] = labels_by_provenance(fields["provenance"])
        known["unknown"] = {name: value for name, value in fields.items() if name not in known}
        manifest = msgspec.convert(known, Manifest)
        check_manifest(manifest)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ValueError(f"{place}: {error}") from error
    return manifest


def write_manifest(folder: str | Path, manifest: Manifest) -> None:
    """Check `manifest` and write it into `folder`, whole or not at all.

    Raises ValueError if it contradicts itself, OSError if it cannot be written.
    """
    content = encode_manifest(manifest)
    with atomic_path(Path(folder) / MANIFEST_NAME) as temporary:
        temporary.write_bytes(content)


def encode_manifest(manifest: Manifest) -> bytes:
    """The content of a manifest's file; raises ValueError if the manifest contradicts itself."""
    check_manifest(manifest)
    fields = msgspec.to_builtins(manifest)
    fields.update(fields.pop("unknown"))
    fields = {"format_version": fields.pop("format_version"), **fields}
    return msgspec.json.format(msgspec.json.encode(fields), indent=1) + b"\n"


def check_manifest(manifest: Manifest) -> None:
    """Raise ValueError if the manifest contradicts itself."""
    record_bytes = manifest.layout.record_bytes
    if not 1 <= manifest.num_classes <= MAX_CLASSES:
        raise ValueError(f"num_classes must be in 1..{MAX_CLASSES}, got {manifest.num_classes}")
    if len(manifest.class_names) != manifest.num_classes:
        raise ValueError(
            f"class_names: {manifest.num_classes} classes have {len(manifest.class_names)} names"
        )
    if len(set(manifest.class_names)) != manifest.num_classes:
        raise ValueError("class_names must be distinct, got one of them twice")
    check_name_lengths([manifest.name, *manifest.class_names])
    for key in ("channel_mean", "channel_std"):
        values = getattr(manifest, key)
        if len(values) != manifest.channels or not all(math.isfinite(v) and 0 <= v <= 1 for v in values):
            raise ValueError(f"{key} must have {manifest.channels} numbers from 0 to 1, got {values}")
    if "train" not in manifest.splits:
        raise ValueError(f"splits must hold 'train', got {list(manifest.splits)}")
    for split, entry in manifest.splits.items():
        if entry.records != sum(file.records for file in entry.files):
            raise ValueError(
                f"split {split!r} says {entry.records} records, its files together "
                f"{sum(file.records for file in entry.files)}"
            )
        for position, file in enumerate(entry.files):
            expected = file_name(split, position)
            if file.name != expected:
                raise ValueError(f"file {position} of split {split!r} must be {expected}, got {file.name!r}")
            _check_file(file, record_bytes)


def check_name_lengths(names: Sequence[str]) -> None:
    """Raise ValueError for a name too long to be shown: pages, images and terminals draw each of them."""
    for name in names:
        if len(name) > MAX_NAME_LETTERS:
            raise ValueError(
                f"the name of a class or data set must have at most {MAX_NAME_LETTERS:,} characters, got "
                f"{len(name):,}: {name[:40]!r}..."
            )


def _check_file(file: FileEntry, record_bytes: int) -> None:
    if file.records < 0 or file.bytes != file.records * record_bytes:
        raise ValueError(
            f"{file.name}: {file.records} records of {record_bytes} bytes are not {file.bytes} bytes"
        )
    if len(file.blocks) != -(-file.bytes // BLOCK_BYTES):
        raise ValueError(
            f"{file.name}: {file.bytes} bytes have {-(-file.bytes // BLOCK_BYTES)} blocks, "
            f"the manifest lists {len(file.blocks)}"
        )
    names_digest = [] if file.names is None else [file.names.sha256]
    if file.names is not None and file.names.bytes < 0:
        raise ValueError(f"{file.name}: names must have a size, got {file.names.bytes} bytes")
    for digest in (file.sha256, *file.blocks, *names_digest):
        if not _SHA256.fullmatch(digest):
            raise ValueError(f"{file.name}: a SHA-256 must have 64 hex digits, got {digest!r}")


def _check_version(fields: dict[str, Any]) -> None:
    version = fields.get("format_version")
    match = re.fullmatch(r"([0-9]{1,6})\.([0-9]{1,6})", version) if isinstance(version, str) else None
    if match is None:
        raise ValueError(f'format_version is "major.minor", got {version!r}')
    if int(match[1]) != FORMAT_MAJOR:
        raise ValueError(
            f"format_version {version} is not {FORMAT_MAJOR}.x, which this version of selfie reads; "
            f"a newer selfie may read it"
        )
