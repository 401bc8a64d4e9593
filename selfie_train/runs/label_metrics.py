"""How good the labels are that a method learns from; every figure is None where clean labels are unknown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass
class SelectionCounts:
    """Counts over an epoch of what was taken for clean, against what is."""

    selected: int = 0
    correct: int = 0  # the given label is the clean one
    selected_correct: int = 0

    def add(self, selected: NDArray[np.bool_], correct: NDArray[np.bool_]) -> None:
        """Count a batch: bool[b] taken for clean, bool[b] given label equals the clean one."""
        self.selected += int(selected.sum())
        self.correct += int(correct.sum())
        self.selected_correct += int((selected & correct).sum())

    @property
    def label_precision(self) -> float | None:
        """Share of the selected whose given label is clean; None where nothing was selected."""
        return self.selected_correct / self.selected if self.selected else None

    @property
    def label_recall(self) -> float | None:
        """Share of the clean that were selected; None where there are none."""
        return self.selected_correct / self.correct if self.selected and self.correct else None


def mean_known(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are known; None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def refurbished_fraction(refurbished: NDArray[np.int64] | None) -> float | None:
    """Share of N samples with a refurbished label (-1: none); None for a method that refurbishes nothing."""
    return None if refurbished is None else float(np.mean(refurbished >= 0))


def refurbish_accuracy(
    refurbished: NDArray[np.int64] | None, clean: NDArray[np.int64] | None
) -> float | None:
    """Share of the refurbished labels that are the clean ones; None where unknown or none."""
    if refurbished is None or clean is None or not (refurbished >= 0).any():
        return None
    found = refurbished >= 0
    return float(np.mean(refurbished[found] == clean[found]))
