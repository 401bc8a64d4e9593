"""Predictions as a file: a CSV with a row for each image, or a .npy of all probabilities."""

from __future__ import annotations

import csv
import errno
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfie_io.records.atomic import atomic_path
from selfie_io.records.csv_cells import harmless_cell
from selfie_io.records.npy_file import write_npy
from selfie_io.records.plain_files import check_plain, open_plain
from selfie_io.records.split import RecordSplit
from selfie_train.inference.evaluation import Evaluation

_ROWS = 10_000
PREDICTED = ("predicted_label", "predicted_class", "probability")
# The columns of the two tables, by which they are known again.
_PREDICTIONS = ("name", *PREDICTED)
_EVALUATION = ("record_id", "index", "name", "label", "class", *PREDICTED, "label_probability")


def check_out(out: Path | None) -> None:
    """Raise ValueError unless predictions can go into a file of that name.

    Raises FileExistsError if a file of others is there.
    """
    if out is None:
        return
    if out.suffix.lower() not in (".csv", ".npy"):
        raise ValueError(f"--out must end in .csv (a row for each image) or .npy (probabilities), got {out}")
    if os.path.lexists(out) and not _are_predictions(out):
        told = "only predictions are replaced, and this is another file: move it away, or choose another name"
        raise FileExistsError(errno.EEXIST, told, str(out))


def _are_predictions(path: Path) -> bool:
    """Whether a file looks as those that are written here."""
    try:
        if not _is_array(path):
            with open_plain(path) as file:
                header = file.readline(1000).decode(errors="replace").strip().split(",")
            return tuple(header) in (_PREDICTIONS, _EVALUATION)
        check_plain(path)
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception:  # numpy's parser of headers lets through what its tokenizer raises
        return False
    return isinstance(array, np.ndarray) and array.ndim == 2 and array.dtype == np.float32


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
        writer.writerow(_PREDICTIONS)
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
    with atomic_path(out) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_EVALUATION)
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
