"""Imports labels that people gave (CIFAR-10N, CIFAR-100N and others) as an overlay."""

import csv
import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from selfie_io.labels import safe_pickle
from selfie_io.labels._vectors import Vector, integer_vector, labels_of_classes
from selfie_io.labels.overlay_writer import save_overlay
from selfie_io.records.dataset import RecordDataset
from selfie_io.records.overlay_reader import Overlay


def import_human_labels(
    dataset: RecordDataset, path: str | Path, key: str, *, name: str | None = None
) -> Overlay:
    """Save the labels that people gave, row `record_id` of a file, as an overlay named `name`, or
    else `key`.

    The file is a `.pt` of arrays by key (CIFAR-10N and 100N), a CSV with a header, or a `.npy` of
    one vector. Its own clean labels ("clean_label", "clean_coarse_label") are held against the
    stored ones, if any. Raises ValueError if the file is damaged, has no such key or does not
    belong to the data set, naming the first row that differs; OSError if it cannot be read.
    """
    path = Path(path)
    columns = _read_columns(path, key)
    if key not in columns:
        raise ValueError(f"{path}: --key must be one of {list(columns)}, got {key!r}")
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
