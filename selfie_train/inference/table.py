"""Predictions as a file: a CSV with a row for each image, or a .npy of all probabilities."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfie_io.records.atomic import atomic_path
from selfie_io.records.csv_cells import harmless_cell
from selfie_io.records.npy_file import write_npy
from selfie_io.records.split import RecordSplit
from selfie_train.inference.evaluation import Evaluation

_ROWS = 10_000
PREDICTED = ("predicted_label", "predicted_class", "probability")


def check_out(out: Path | None) -> None:
    """Raise ValueError unless predictions can go into a file of that name."""
    if out is not None and out.suffix.lower() not in (".csv", ".npy"):
        raise ValueError(f"--out must end in .csv (a row for each image) or .npy (probabilities), got {out}")


def write_predictions(
    out: Path, shares: NDArray[np.float32], names: Sequence[str], class_names: Sequence[str]
) -> None:
    """Write the predictions of n images with their names; a .npy gets the probabilities float32 (n, k)."""
    if _is_array(out):
        _write_array(out, shares)
        return
    cells = [harmless_cell(name) for name in class_names]
    with atomic_path(out) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["name", *PREDICTED])
        for name, row in zip(names, shares, strict=True):
            label = int(row.argmax())
            writer.writerow([harmless_cell(name), label, cells[label], f"{row[label]:.6f}"])


def write_evaluation(out: Path, found: Evaluation, split: RecordSplit) -> None:
    """Write the predictions of an evaluation: each record, its label, and the probability of the label.

    A .npy gets the probabilities float32 (n, k) of the labelled records alone.
    """
    if _is_array(out):
        _write_array(out, found.probabilities)
        return
    cells = [harmless_cell(name) for name in found.class_names]
    columns = ("record_id", "index", "name", "label", "class", *PREDICTED, "label_probability")
    with atomic_path(out) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for begin in range(0, len(found.indices), _ROWS):
            part = slice(begin, begin + _ROWS)
            indices, labels, shares = found.indices[part], found.labels[part], found.probabilities[part]
            names = split.names(indices)
            predicted = shares.argmax(1)
            for place, (index, name) in enumerate(zip(indices.tolist(), names, strict=True)):
                label, guess = int(labels[place]), int(predicted[place])
                writer.writerow(
                    [
                        int(split.record_ids[index]),
                        index,
                        harmless_cell(name or ""),
                        label,
                        cells[label],
                        guess,
                        cells[guess],
                        f"{shares[place, guess]:.6f}",
                        f"{shares[place, label]:.6f}",
                    ]
                )


def _is_array(out: Path) -> bool:
    return out.suffix.lower() == ".npy"


def _write_array(out: Path, shares: NDArray[np.float32]) -> None:
    with atomic_path(out) as temporary, temporary.open("wb") as file:
        write_npy(file, shares)
