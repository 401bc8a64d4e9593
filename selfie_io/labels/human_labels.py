"""Imports labels that people gave (CIFAR-10N, CIFAR-100N, a review) as an overlay."""

from pathlib import Path
from typing import Any

import numpy as np

from selfie_io.labels import safe_pickle
from selfie_io.labels._vectors import Vector, dropped_or_labels, integer_vector
from selfie_io.labels.decisions import DECISION_COLUMN, DECISIONS, read_decisions
from selfie_io.labels.overlay_writer import save_overlay
from selfie_io.labels.tables import (
    ID_COLUMNS,
    NO_LABEL_GIVEN,
    LabelTable,
    match_records,
    read_table,
    training_records,
)
from selfie_io.records.dataset import RecordDataset
from selfie_io.records.names import sha256_of
from selfie_io.records.overlay_reader import Overlay
from selfie_io.records.plain_files import check_plain


def import_human_labels(
    dataset: RecordDataset,
    path: str | Path,
    key: str | None = None,
    *,
    name: str | None = None,
    base: str | None = None,
    unsure: str = "keep",
) -> Overlay:
    """Save labels that people gave as an overlay of `dataset` named `name`, or else `key`.

    The file at `path` is a `.pt` of arrays by key (CIFAR-10N and 100N), a CSV with a header, or a
    `.npy` of one vector. A CSV with a column record_id, index or name is matched by it, and may name
    some records only: the others, and those with an empty cell, keep their labels in the overlay
    `base`, or else the stored ones. In every other file, row `record_id` belongs to a record. -1
    leaves a record out.
    A CSV without `key` and with a column "decision" holds the decisions of a review; `unsure` says
    what becomes of the records that the reviewer was unsure about ("keep" or "drop").
    The clean labels of a file ("clean_label", "clean_coarse_label") are held against the stored ones.
    Raises ValueError if the file is damaged, has no such key or does not belong to the data set,
    naming row and column; OSError if it cannot be read.
    """
    path = Path(path)
    stored = dataset.train.labels
    before = stored if base is None else dataset.train.labels_from(base)
    told: dict[str, Any] = {
        "source": path.name,
        "source_sha256": sha256_of(path),
    }
    if base is not None:
        told["base"] = base
    if path.suffix.lower() == ".csv":
        table = read_table(path, (*ID_COLUMNS, key or DECISION_COLUMN), records=len(stored))
        if key is None and table.has(DECISION_COLUMN):
            decided = read_decisions(table, training_records(dataset), before, unsure=unsure)
            labels = before.copy()
            labels[decided.indices] = decided.labels
            counts = {word: decided.count(word) for word in DECISIONS}
            told |= {"kind": "review", "matched_by": decided.matched_by, "decisions": counts}
            return save_overlay(dataset, name or "decisions", labels, told)
        if key is None or not table.has(key):
            raise ValueError(f"{path}: --key must be one of {table.header}, got {key!r}")
        labels, more = _from_table(table, key, dataset, before)
        return save_overlay(dataset, name or key, labels, {"kind": "human", **told, "key": key, **more})
    if key is None and path.suffix.lower() != ".npy":
        raise ValueError(f"{path}: --key is needed: which labels are to be imported?")
    columns = _read_columns(path, key)
    if key not in columns:
        raise ValueError(f"{path}: --key must be one of {list(columns)}, got {key!r}")
    clean_key = _clean_key(key)
    try:
        rows = _rows(dataset)
        human = dropped_or_labels(key or "labels", columns[key], dataset.num_classes, stored.size)[rows]
        if clean_key in columns:
            clean = integer_vector(clean_key, columns[clean_key], stored.size)[rows]
            for position in np.flatnonzero(clean != stored)[:1]:
                raise ValueError(
                    f"row {rows[position]}: {_other_data(clean_key, clean[position], stored[position])}"
                )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    told |= {"kind": "human", "key": key or path.stem, "clean_labels_checked": clean_key in columns}
    return save_overlay(dataset, name or key or path.stem, human, told)


def _from_table(
    table: LabelTable, key: str, dataset: RecordDataset, before: Vector
) -> tuple[Vector, dict[str, Any]]:
    """The labels of all records after a column of a CSV, and how it was matched."""
    indices, matched_by = match_records(table, training_records(dataset))
    values = table.labels(key, dataset.class_names)
    if matched_by is None:
        if len(values) != len(before):
            raise ValueError(
                f"{table.path}: without a column record_id, index or name it must have one row for each of "
                f"{len(before)} records, got {len(values)} rows"
            )
        rows = _rows(dataset)
        indices = np.empty(len(rows), np.int64)
        indices[rows] = np.arange(len(rows))
    empty = values == NO_LABEL_GIVEN
    if matched_by is None:
        for row in np.flatnonzero(empty)[:1].tolist():
            raise table.bad_cell(row, key, "a label is missing")
    clean_key = _clean_key(key)
    checked = False
    if table.has(clean_key):
        clean, stored = table.labels(clean_key, dataset.class_names), dataset.train.labels[indices]
        checked = bool((clean != NO_LABEL_GIVEN).all())
        for row in np.flatnonzero((clean != stored) & (clean != NO_LABEL_GIVEN))[:1].tolist():
            raise table.bad_cell(row, clean_key, _other_data(clean_key, clean[row], stored[row]))
    labels = before.copy()
    labels[indices[~empty]] = values[~empty]
    more: dict[str, Any] = {
        "matched_by": matched_by or "row",
        "rows": len(values),
        "empty_cells": int(empty.sum()),
    }
    return labels, more | {"clean_labels_checked": checked}


def _clean_key(key: str | None) -> str:
    return "clean_coarse_label" if key and "coarse" in key else "clean_label"


def _other_data(clean_key: str, got: int, stored: int) -> str:
    return (
        f"{clean_key} is {got}, the label of this record is {stored}; "
        "the file belongs to another data set or to another order of this one"
    )


def _rows(dataset: RecordDataset) -> Vector:
    """The row of each record: its id where the ids are 0..N-1, else its position."""
    positions = np.arange(len(dataset.train))
    ids = dataset.train.record_ids.astype(np.int64)
    return ids if np.array_equal(np.sort(ids), positions) else positions


def _read_columns(path: Path, key: str | None) -> dict[Any, Any]:
    if path.suffix.lower() == ".npy":
        try:
            check_plain(path)
            return {key: np.load(path, mmap_mode="r", allow_pickle=False)}
        except OSError:
            raise
        except Exception as error:  # numpy's parser of headers lets through what its tokenizer raises
            raise ValueError(f"{path}: {error}") from error
    columns = safe_pickle.load_torch(path)
    if not isinstance(columns, dict):
        raise ValueError(f"{path}: a file of labels is a dict of arrays, got {type(columns).__name__}")
    return columns
