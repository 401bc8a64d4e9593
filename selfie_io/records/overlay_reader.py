"""Reads label overlays: other labels for the training split. The record files never change.

`labels/<name>.npy` holds int32 (N,), `labels/<name>.json` says where they come from
(docs/format.md).
"""

import hashlib
import re
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from selfie_io.records.manifest import FORMAT_MAJOR, FORMAT_VERSION
from selfie_io.records.plain_files import open_plain, read_plain
from selfie_io.records.quick_json import decode_json

OVERLAY_FOLDER = "labels"
MAX_OVERLAY_JSON_BYTES = 1 << 28
MAX_OVERLAY_ROWS = 1 << 17
MAX_OVERLAY_VALUES = 9_000_000  # two transition matrices of 2,000 classes have room

# These have keys of their own in the JSON; "provenance" holds the rest.
PROVENANCE_KEYS = ("kind", "rate", "seed", "transition_matrix")

_READS = 1000  # of an overlay that is replaced again and again meanwhile

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=-]{0,99}", re.ASCII)


class Overlay(msgspec.Struct, frozen=True):
    """What the JSON file of an overlay says; digests are those of `overlay_digest`.

    `provenance` says what made it, beyond the keys before it. `previous` exists only while an
    overlay is being replaced: until the new array is in place, the old entry counts.
    """

    name: str
    records: int
    num_classes: int
    sha256: str
    base_sha256: str
    observed_noise_rate: float
    kind: str | None = None
    rate: float | None = None
    seed: int | None = None
    transition_matrix: list[list[float]] | None = None
    provenance: dict[str, Any] = msgspec.field(default_factory=dict)
    previous: "Overlay | None" = None
    format_version: str = FORMAT_VERSION


class _Entry(msgspec.Struct):
    """The part of an `Overlay` that its labels need; the rest, a matrix above all, is passed over."""

    name: str
    records: int
    num_classes: int
    sha256: str
    base_sha256: str
    provenance: dict[str, msgspec.Raw] = msgspec.field(default_factory=dict)
    previous: "_Entry | None" = None


_Told = TypeVar("_Told", Overlay, _Entry)


def overlay_digest(labels: npt.ArrayLike) -> str:
    """Return the SHA-256, in hex, of the labels as little-endian int32, whatever their own dtype."""
    return hashlib.sha256(np.ascontiguousarray(labels, "<i4").tobytes()).hexdigest()


def overlay_paths(folder: str | Path, name: str) -> tuple[Path, Path]:
    """Return the paths of the array and the JSON file. Raises ValueError if `name` is no plain file
    name.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"an overlay's name has up to 100 of A-Z a-z 0-9 _ . + = - and starts with none of . + = -; "
            f"got {name!r}"
        )
    labels = Path(folder) / OVERLAY_FOLDER
    return labels / f"{name}.npy", labels / f"{name}.json"


def list_overlays(folder: str | Path) -> list[str]:
    """Name the overlays of the data set in `folder`, sorted."""
    return sorted(
        path.stem for path in (Path(folder) / OVERLAY_FOLDER).glob("*.json") if _NAME.fullmatch(path.stem)
    )


def load_overlay(folder: str | Path, name: str) -> tuple[Overlay, npt.NDArray[np.int64]]:
    """Read an overlay, what is told of it and its labels, and check them against each other.

    Raises FileNotFoundError if there is none of this name, ValueError if it is damaged.
    """
    return _read(folder, name, Overlay)


def _read(folder: str | Path, name: str, kind: type[_Told]) -> tuple[_Told, npt.NDArray[np.int64]]:
    array_path, json_path = overlay_paths(folder, name)
    content = _content(folder, json_path)
    for _ in range(_READS):
        try:
            return _load(json_path, content, array_path, kind)
        except (OSError, ValueError):
            again = _content(folder, json_path)
            if again == content:  # not replaced while it was read: damaged
                raise
            content = again
    return _load(json_path, content, array_path, kind)


def _content(folder: str | Path, json_path: Path) -> bytes:
    try:
        return read_plain(json_path, MAX_OVERLAY_JSON_BYTES)
    except FileNotFoundError:
        known = ", ".join(list_overlays(folder)) or "none"
        raise FileNotFoundError(f"{json_path}: no such overlay; this data set has {known}") from None


def _load(
    json_path: Path, content: bytes, array_path: Path, kind: type[_Told]
) -> tuple[_Told, npt.NDArray[np.int64]]:
    """Read the array of an overlay and check it against the content of the JSON file."""
    entry = _decode(json_path, content, kind)
    with open_plain(array_path) as file:
        labels = _read_array(array_path, file, entry.records)
    digest = overlay_digest(labels)
    if entry.previous is not None and digest == entry.previous.sha256:
        entry = entry.previous
    if digest != entry.sha256:
        raise ValueError(f"{array_path}: its SHA-256 is {digest}, {json_path.name} says {entry.sha256}")
    if labels.min(initial=0) < -1 or labels.max(initial=0) >= entry.num_classes:
        raise ValueError(
            f"{array_path}: labels must be in -1..{entry.num_classes - 1}, got {labels.min()}..{labels.max()}"
        )
    return entry, labels.astype(np.int64)


def is_overlay(json_path: Path) -> bool:
    """Whether a file is the JSON file of an overlay, be its array damaged or missing."""
    try:
        return is_overlay_text(_content(json_path.parent.parent, json_path))
    except (OSError, ValueError):
        return False


def is_overlay_text(content: bytes) -> bool:
    """Whether this is the content of the JSON file of an overlay."""
    try:
        _decode(Path(), content, Overlay)
    except ValueError:
        return False
    return True


def is_array_of(array_path: Path, json_path: Path) -> bool:
    """Whether an array is the one that a JSON file, whatever its own name, tells name and digest of."""
    try:
        entry = _load(json_path, _content(json_path.parent.parent, json_path), array_path, _Entry)[0]
    except (OSError, ValueError):
        return False
    return entry.name == array_path.stem


def read_overlay(
    folder: str | Path, name: str, base_labels: npt.ArrayLike, num_classes: int | None = None
) -> npt.NDArray[np.int64]:
    """Return the labels of an overlay, int64 (N,), in the order of the training split; -1 leaves a
    record out.

    Raises ValueError also if it was made from labels other than `base_labels`, or has one beyond
    `num_classes`.
    """
    entry, labels = _read(folder, name, _Entry)
    if num_classes is not None and labels.max(initial=-1) >= num_classes:
        raise ValueError(
            f"{overlay_paths(folder, name)[0]}: labels must be in -1..{num_classes - 1}, the data set has "
            f"{num_classes} classes; got {labels.max()} at index {labels.argmax()}"
        )
    base = overlay_digest(base_labels)
    if base != entry.base_sha256:
        raise ValueError(
            f"{overlay_paths(folder, name)[0]}: made from other labels (SHA-256 {entry.base_sha256}) than "
            f"those of this data set ({base}); an overlay goes with the record files that it was made for"
        )
    return labels


def read_provenance(folder: str | Path, name: str) -> dict[str, Any]:
    """Return what an overlay says of where it comes from. Raises as `load_overlay`."""
    entry = load_overlay(folder, name)[0]
    told = {key: getattr(entry, key) for key in PROVENANCE_KEYS}
    return {key: value for key, value in told.items() if value is not None} | entry.provenance


def _decode(path: Path, content: bytes, kind: type[_Told]) -> _Told:
    try:
        # A matrix is many short numbers in few rows.
        rows, values = content.count(b"[") + content.count(b"{"), content.count(b",")
        if rows > MAX_OVERLAY_ROWS or values > MAX_OVERLAY_VALUES:
            raise ValueError(
                f"must hold at most {MAX_OVERLAY_VALUES:,} values in {MAX_OVERLAY_ROWS:,} rows or objects, "
                f"got {values:,} in {rows:,}"
            )
        version = msgspec.json.decode(content, type=_Version).format_version
        if version.split(".")[0] != str(FORMAT_MAJOR):
            raise ValueError(
                f"format_version {version} is not {FORMAT_MAJOR}.x, which this version of selfie reads"
            )
        # An _Entry has no floats, and what it has not is passed over.
        return msgspec.json.decode(content, type=kind) if kind is _Entry else decode_json(content, kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from error


class _Version(msgspec.Struct):
    format_version: str


def _read_array(path: Path, file: BinaryIO, records: int) -> npt.NDArray[np.int32]:
    """Read `records` int32; numpy.load would believe a header that promises more than the file has."""
    try:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("must be of .npy version 1.0")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    except Exception as error:  # numpy's parser lets through what its tokenizer raises
        raise ValueError(f"{path}: {error}") from error
    if shape != (records,) or dtype != np.dtype("<i4"):
        raise ValueError(f"{path}: the labels must be int32 ({records},), got {dtype} {shape}")
    there = path.stat().st_size - file.tell()
    if there != 4 * records:
        raise ValueError(f"{path}: {records} labels must have {4 * records} bytes, got {there}")
    return np.frombuffer(file.read(), "<i4")
