"""Writes label overlays (records/overlay_reader.py reads them): noise, human or refurbished labels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from selfie_io.labels._vectors import dropped_or_labels
from selfie_io.labels.transition import observed_noise_rate
from selfie_io.records.atomic import atomic_path
from selfie_io.records.dataset import RecordDataset
from selfie_io.records.overlay_reader import (
    PROVENANCE_KEYS,
    Overlay,
    load_overlay,
    overlay_digest,
    overlay_paths,
)


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
    the old overlay or the new one. The files lie in `labels/` below `folder`, by default the data
    set's. Returns what was written. Raises ValueError if the labels do not fit the data set or `name`
    is no plain name, OSError if the folder cannot be written.
    """
    folder = dataset.path if folder is None else Path(folder)
    array_path, json_path = overlay_paths(folder, name)
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
    array_path.parent.mkdir(exist_ok=True)
    try:
        previous = msgspec.structs.replace(load_overlay(folder, name)[0], previous=None)
    except (OSError, ValueError):  # none, or one that nobody can read
        previous = None
    if previous is not None:
        _write_json(json_path, msgspec.structs.replace(overlay, previous=previous))
    with atomic_path(array_path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array(file, values, version=(1, 0))
    _write_json(json_path, overlay)
    return overlay


def _write_json(path: Path, overlay: Overlay) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(overlay), indent=1) + b"\n")


def _plain(value: Any) -> Any:
    """Turn what NumPy adds to JSON's types into them."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise ValueError(f"a provenance must hold what JSON and NumPy can, got {type(value).__name__}")
