"""Writes label overlays (records/overlay_reader.py reads them): noise, human or refurbished labels."""

import contextlib
import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from selfie_io.labels._vectors import dropped_or_labels
from selfie_io.labels.transition import observed_noise_rate
from selfie_io.records.atomic import atomic_path, leftovers_in, remove_all_leftovers, unlocked
from selfie_io.records.dataset import RecordDataset
from selfie_io.records.lock import folder_lock
from selfie_io.records.npy_file import write_npy
from selfie_io.records.overlay_reader import (
    MAX_OVERLAY_ROWS,
    MAX_OVERLAY_VALUES,
    PROVENANCE_KEYS,
    Overlay,
    is_array_of,
    is_overlay,
    load_overlay,
    overlay_digest,
    overlay_paths,
)

MOST_CLASSES_TOLD = 2000  # of a transition matrix in the JSON file: two have room while one is replaced
WAIT_SECONDS = 30.0  # for another writer of the same data set


def save_overlay(
    dataset: RecordDataset,
    name: str,
    labels: npt.ArrayLike,
    provenance: Mapping[str, Any] | None = None,
    *,
    folder: str | Path | None = None,
) -> Overlay:
    """Write `labels` (N,) as an overlay of the training split of `dataset`, in place of one of the same name.

    -1 leaves a record out, also of the noise rate observed. `provenance` is anything that JSON or
    NumPy can hold; the usual keys are kind, rate, seed and transition_matrix. A killed writer leaves
    the old overlay or the new one, and a reader finds one of them. The files lie in `labels/` below
    `folder`, by default the data set's. Returns what was written. Raises ValueError if the labels do
    not fit the data set or `name` is no plain name, OSError if the folder cannot be written, Busy if
    another process writes the data set, FileExistsError if a file that is no overlay's has the name.
    """
    folder = dataset.path if folder is None else Path(folder)
    labels_folder = overlay_paths(folder, name)[0].parent
    base = dataset.train.labels
    values = dropped_or_labels("labels", labels, dataset.num_classes, base.size).astype("<i4")
    kept = values >= 0
    told = msgspec.to_builtins(dict(provenance or {}), enc_hook=_plain)
    fields = {
        "name": name,
        "records": base.size,
        "num_classes": dataset.num_classes,
        "sha256": overlay_digest(values),
        "base_sha256": overlay_digest(base),
        "observed_noise_rate": observed_noise_rate(base[kept], values[kept]),
        **{key: told.pop(key) for key in PROVENANCE_KEYS if key in told},
        "provenance": told,
    }
    try:
        overlay = msgspec.convert(fields, Overlay)
    except msgspec.ValidationError as error:
        raise ValueError(f"overlay {name}: {error}") from error
    _check_size(name, _encoded(overlay))
    with folder_lock(folder, wait_seconds=WAIT_SECONDS):
        labels_folder.mkdir(exist_ok=True)
        try:
            _remove_killed(labels_folder)
            _replace(folder, name, values, overlay)
        except BaseException:
            with contextlib.suppress(OSError):  # it holds others, or it is this writer's and empty
                labels_folder.rmdir()
            raise
    return overlay


def _check_size(name: str, content: bytes) -> None:
    """Raise ValueError if `content` could not be read, or not beside the entry that replaces it."""
    values, rows = content.count(b","), content.count(b"[") + content.count(b"{")
    if values > MAX_OVERLAY_VALUES // 2 or rows > MAX_OVERLAY_ROWS // 2:
        raise ValueError(
            f"overlay {name}: its provenance must hold at most {MAX_OVERLAY_VALUES // 2:,} values in "
            f"{MAX_OVERLAY_ROWS // 2:,} rows, got {values:,} in {rows:,}: leave out a transition matrix of "
            f"more than {MOST_CLASSES_TOLD:,} classes"
        )


def _replace(folder: Path, name: str, values: npt.NDArray[np.int32], overlay: Overlay) -> None:
    """Put an array and its JSON file in place of those of the same name, so that both fit at any moment.

    Until the new array is in place, the JSON file also holds the old entry. All is written before
    anything is renamed: a full disk changes nothing.
    """
    array_path, json_path = overlay_paths(folder, name)
    previous = _previous(folder, name)
    final = _encoded(overlay)
    with contextlib.ExitStack() as stack:
        needed = values.nbytes + len(final)
        # Renamed from the last to the first.
        finished = stack.enter_context(atomic_path(json_path, needed_bytes=needed))
        finished.write_bytes(final)
        array = stack.enter_context(atomic_path(array_path, needed_bytes=needed))
        with array.open("wb") as file:
            write_npy(file, values)
        if previous is not None:
            both = stack.enter_context(atomic_path(json_path, needed_bytes=needed))
            both.write_bytes(_encoded(msgspec.structs.replace(overlay, previous=previous)))


def _previous(folder: Path, name: str) -> Overlay | None:
    """The entry of the overlay that is to be replaced; None if there is none, or it is damaged.

    Raises FileExistsError if a file of this name is no overlay's.
    """
    array_path, json_path = overlay_paths(folder, name)
    if not os.path.lexists(json_path):
        if os.path.lexists(array_path):
            raise FileExistsError(
                errno.EEXIST,
                f"is not an overlay's array, {json_path.name} is missing: move it away, or use another name",
                str(array_path),
            )
        return None
    try:
        return msgspec.structs.replace(load_overlay(folder, name)[0], previous=None)
    except (OSError, ValueError):
        if is_overlay(json_path):
            return None
        raise FileExistsError(
            errno.EEXIST, "is not an overlay: move it away, or use another name", str(json_path)
        ) from None


def _remove_killed(labels: Path) -> None:
    """Remove what killed writers left, also the array of a first overlay that has no JSON file yet.

    The JSON file is then still there under its temporary name, and tells the array's digest.
    """
    unfinished = [path for path in leftovers_in(labels) if path.suffix == ".json"]
    for array_path in labels.glob("*.npy") if unfinished else ():
        if not os.path.lexists(array_path.with_suffix(".json")):
            for json_path in unfinished:
                with unlocked(json_path) as free:
                    if free and is_array_of(array_path, json_path):
                        array_path.unlink()
                        break
    remove_all_leftovers(labels)


def _encoded(overlay: Overlay) -> bytes:
    return msgspec.json.format(msgspec.json.encode(overlay), indent=1) + b"\n"


def _plain(value: Any) -> Any:
    """Turn what NumPy adds to JSON's types into them."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise ValueError(f"a provenance must hold what JSON and NumPy can, got {type(value).__name__}")
