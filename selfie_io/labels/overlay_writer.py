"""Writes label overlays (records/overlay_reader.py reads them): noise, human or refurbished labels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from selfie_io.labels._vectors import labels_of_classes
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
    dataset: RecordDataset, name: str, labels: npt.ArrayLike, provenance: Mapping[str, Any] | None = None
) -> Overlay:
    """Write `labels` (N,) as an overlay of the training split, in place of one of the same name.

    `provenance` is anything that JSON or NumPy can hold; the usual keys are kind, rate, seed and
    transition_matrix. A killed writer leaves the old overlay or the new one. Returns what was
    written. Raises ValueError if the labels do not fit the data set or `name` is no plain name,
    OSError if the folder cannot be written.
    """
    array_path, json_path = overlay_paths(dataset.path, name)
    base = dataset.train.labels
    values = labels_of_classes("labels", labels, dataset.num_classes, base.size).astype("<i4")
    told = msgspec.to_builtins(dict(provenance or {}), enc_hook=_plain)
    fields = {
        "name": name,
        "records": base.size,
        "num_classes": dataset.num_classes,
        "sha256": overlay_digest(values),
        "base_sha256": overlay_digest(base),
        "observed_noise_rate": observed_noise_rate(base, values),
        **{key: told.pop(key) for key in PROVENANCE_KEYS if key in told},
        "provenance": told,
    }
    try:
        overlay = msgspec.convert(fields, Overlay)
    except msgspec.ValidationError as error:
        raise ValueError(f"overlay {name}: {error}") from error
    array_path.parent.mkdir(exist_ok=True)
    try:
        previous = msgspec.structs.replace(load_overlay(dataset.path, name)[0], previous=None)
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
