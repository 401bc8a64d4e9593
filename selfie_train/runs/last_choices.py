"""What a method did with each training sample when it last saw it: a byte a sample, a word in labels.csv."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfie_io.records.plain_files import open_plain_text

# In order of their codes. Blank: never chosen, or a method that does not tell clean from noisy.
CHOICES = ("", "kept", "refurbished", "dropped", "unlabelled")
UNKNOWN, KEPT, REFURBISHED, DROPPED, UNLABELLED = range(len(CHOICES))


@dataclass(frozen=True)
class SampleLabels:
    """The columns of labels.csv that a report shows, each of N samples; -1: none, or left out.

    choices: uint8, codes of `CHOICES`
    clean: None where unknown
    """

    given: NDArray[np.int64]
    refurbished: NDArray[np.int64]
    choices: NDArray[np.uint8]
    clean: NDArray[np.int64] | None


def choice_codes(
    given: NDArray[np.int64],
    targets: NDArray[np.int64] | NDArray[np.float32] | None,
    weights: NDArray[np.float32],
    clean: NDArray[np.bool_],
) -> NDArray[np.uint8]:
    """The codes of b samples, uint8 (b,).

    kept: learnt with the given label; refurbished: with another; dropped: not learnt. targets: int64 (b,)
    classes or float32 (b, k) shares; None of mixtures: what is not `clean` was learnt without its label.
    """
    if targets is None:
        return np.where(clean, KEPT, UNLABELLED).astype(np.uint8)
    classes = targets if targets.ndim == 1 else targets.argmax(axis=1)
    used = np.where(classes == given, KEPT, REFURBISHED)
    return np.where(weights > 0, used, DROPPED).astype(np.uint8)


def read_sample_labels(folder: Path) -> SampleLabels:
    """Read labels.csv of a finished run; OSError if it is missing, ValueError if it is damaged."""
    columns: dict[str, list[int]] = {
        "given_label": [],
        "refurbished_label": [],
        "clean_label": [],
        "choice": [],
    }
    path = folder / "labels.csv"
    with open_plain_text(path) as file:
        try:
            for row in csv.DictReader(file):
                for name in ("given_label", "refurbished_label", "clean_label"):
                    columns[name].append(int(row[name] or -1))
                columns["choice"].append(CHOICES.index(row.get("choice") or ""))
        except (KeyError, ValueError, TypeError, csv.Error) as error:
            raise ValueError(f"{path}: must be the labels.csv of a run: {error}") from error
    given, refurbished, clean = (
        np.array(columns[name], np.int64) for name in ("given_label", "refurbished_label", "clean_label")
    )
    known = clean if (clean >= 0).any() else None
    return SampleLabels(given, refurbished, np.array(columns["choice"], np.uint8), known)
