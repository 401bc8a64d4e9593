"""Label overlays, as they are written: noise, labels by people, refurbished labels."""

import csv
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from selfie_io.labels._vectors import Vector, integer_vector, labels_of_classes
from selfie_io.labels.transition import observed_noise_rate
from selfie_io.records import safe_pickle
from selfie_io.records.atomic import atomic_path
from selfie_io.records.dataset import RecordDataset
from selfie_io.records.overlays import PROVENANCE_KEYS, Overlay, load_overlay, overlay_digest, overlay_paths


def save_overlay(
    dataset: RecordDataset,
    name: str,
    labels: npt.ArrayLike,
    provenance: Mapping[str, Any] | None = None,
    *,
    folder: str | Path | None = None,
) -> Overlay:
    """Write `labels` (N,) as an overlay of the training split, in place of one of the same name.

    `provenance` is anything that JSON or NumPy can hold; the usual keys are kind, rate, seed and
    transition_matrix. A killed writer leaves the old overlay or the new one. Returns what was written.
    It lies in `labels/` below `folder`, by default the data set's own.
    Raises ValueError if the labels do not fit the data set or `name` is no plain name, OSError if the folder
    cannot be written.
    """
    folder = dataset.path if folder is None else Path(folder)
    array_path, json_path = overlay_paths(folder, name)
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
        previous = msgspec.structs.replace(load_overlay(folder, name)[0], previous=None)
    except (OSError, ValueError):  # none, or one that nobody can read
        previous = None
    if previous is not None:
        _write_json(json_path, msgspec.structs.replace(overlay, previous=previous))
    with atomic_path(array_path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array(file, values, version=(1, 0))
    _write_json(json_path, overlay)
    return overlay


def import_human_labels(
    dataset: RecordDataset, path: str | Path, key: str, *, name: str | None = None
) -> Overlay:
    """Save the labels that people gave, row `record_id` of a file, as an overlay named `name`, or else `key`.

    The file is a `.pt` of arrays by key (CIFAR-10N and 100N), a CSV with a header, or a `.npy` of one vector.
    Its own clean labels ("clean_label", "clean_coarse_label") are held against the stored ones, if any.
    Raises ValueError if the file is damaged, has no such key or does not belong to the data set, naming the
    first row that differs; OSError if it cannot be read.
    """
    path = Path(path)
    columns = _read_columns(path, key)
    if key not in columns:
        raise ValueError(f"{path}: has labels by the keys {list(columns)}, got {key!r}")
    base = dataset.train.labels
    clean_key = "clean_coarse_label" if "coarse" in key else "clean_label"
    try:
        rows = _rows(dataset)
        human = labels_of_classes(key, columns[key], dataset.num_classes, base.size)[rows]
        if clean_key in columns:
            clean = integer_vector(clean_key, columns[clean_key], base.size)[rows]
            for position in np.flatnonzero(clean != base)[:1]:
                raise ValueError(
                    f"row {rows[position]}: {clean_key} is {clean[position]}, the label of this record is "
                    f"{base[position]}; the file belongs to another data set or to another order of this one"
                )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    provenance = {
        "kind": "human",
        "source": path.name,
        "source_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "key": key,
        "clean_labels_checked": clean_key in columns,
    }
    return save_overlay(dataset, name or key, human, provenance)


def _rows(dataset: RecordDataset) -> Vector:
    """The row of each record: its id where the ids are 0..N-1, else its position."""
    positions = np.arange(len(dataset.train))
    ids = dataset.train.record_ids.astype(np.int64)
    return ids if np.array_equal(np.sort(ids), positions) else positions


def _read_columns(path: Path, key: str) -> dict[Any, Any]:
    if path.suffix == ".npy":
        try:
            return {key: np.load(path, mmap_mode="r", allow_pickle=False)}
        except OSError:
            raise
        except Exception as error:  # numpy's parser of headers lets through what its tokenizer raises
            raise ValueError(f"{path}: {error}") from error
    if path.suffix == ".csv":
        return _read_csv(path)
    columns = safe_pickle.load_torch(path)
    if not isinstance(columns, dict):
        raise ValueError(f"{path}: a file of labels is a dict of arrays, got {type(columns).__name__}")
    return columns


def _read_csv(path: Path) -> dict[Any, Any]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            rows = [[int(field) for field in row] for row in reader if row]
        for line, row in enumerate(rows, 2):
            if len(row) != len(header):
                raise ValueError(f"line {line} has {len(row)} fields, the header {len(header)}")
        return {name: np.array([row[i] for row in rows], np.int64) for i, name in enumerate(header)}
    except (ValueError, OverflowError, csv.Error) as error:
        raise ValueError(f"{path}: {error}") from error


def _write_json(path: Path, overlay: Overlay) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(overlay), indent=1) + b"\n")


def _plain(value: Any) -> Any:
    """Turn what NumPy adds to JSON's types into them."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise ValueError(f"a provenance holds what JSON and NumPy can, got {type(value).__name__}")
