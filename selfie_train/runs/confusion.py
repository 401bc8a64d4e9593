"""The confusion matrices of a run's test predictions, and the file that holds them: RUN/confusion.csv."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfie_io.records.atomic import atomic_path
from selfie_io.records.csv_cells import harmless_cell
from selfie_io.records.plain_files import open_plain_text

MOST_CLASSES = 1000  # beyond it no matrix is kept: it would be larger than the network
CONFUSION_NAME = "confusion.csv"
WEIGHTS = ("best", "last")


@dataclass(frozen=True)
class Confusion:
    """Test images by label (rows) and predicted class (columns), int64 (k, k); None where unknown.

    Two networks predict each image twice.
    """

    best: NDArray[np.int64] | None  # after the epoch with the least test error
    last: NDArray[np.int64] | None


def write_confusion(folder: Path, confusion: Confusion, class_names: list[str]) -> None:
    """Write RUN/confusion.csv, a row for each pair that occurs."""
    with atomic_path(folder / CONFUSION_NAME) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["weights", "label", "class", "predicted_label", "predicted_class", "predictions"])
        for weights in WEIGHTS:
            counts = getattr(confusion, weights)
            if counts is None:
                continue
            for label, predicted in np.argwhere(counts).tolist():
                names = harmless_cell(class_names[label]), harmless_cell(class_names[predicted])
                count = int(counts[label, predicted])
                writer.writerow([weights, label, names[0], predicted, names[1], count])


def read_confusion(folder: Path, num_classes: int) -> Confusion:
    """Read RUN/confusion.csv; no matrix where a run has none. Raises ValueError if it is damaged."""
    found: dict[str, NDArray[np.int64]] = {}
    path = folder / CONFUSION_NAME
    if not path.exists():
        return Confusion(None, None)
    with open_plain_text(path) as file:
        try:
            for row in csv.DictReader(file):
                place = int(row["label"]), int(row["predicted_label"])
                if not all(0 <= label < num_classes for label in place) or row["weights"] not in WEIGHTS:
                    raise ValueError(f"no weights {row['weights']} or classes {place}")
                counts = found.setdefault(row["weights"], np.zeros((num_classes, num_classes), np.int64))
                counts[place] += int(row["predictions"])
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise ValueError(f"{path}: must be the confusion.csv of a run: {error}") from error
    return Confusion(found.get("best"), found.get("last"))
