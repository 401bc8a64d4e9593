"""What the report shows beside the log: what was last done with each sample, and the test predictions of the
best and the last epoch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfie_train.methods.method import Choice, Scores
from selfie_train.runs.confusion import MOST_CLASSES, Confusion
from selfie_train.runs.last_choices import CHOICES, KEPT, choice_codes
from selfie_train.training.checkpoint_fit import check_array
from selfie_train.training.distributed import ProcessGroup

_CHOICES, _BEST, _LAST = "report.choices", "report.best", "report.last"  # in a checkpoint


class ReportRecord:
    """Remembers between epochs, and across a resume; nothing of it decides anything."""

    def __init__(self, group: ProcessGroup, num_samples: int, num_classes: int) -> None:
        self.group, self.num_classes = group, num_classes
        self._choices = np.zeros(num_samples, np.uint8)
        self._best: NDArray[np.int64] | None = None
        self._last: NDArray[np.int64] | None = None
        self._least: float | None = None  # test error so far

    @property
    def choices(self) -> NDArray[np.uint8] | None:
        """Codes of `CHOICES`, uint8 (N,); None for a method that does not tell clean from noisy."""
        return self._choices if self._choices.any() else None

    @property
    def confusion(self) -> Confusion:
        """Of the test predictions."""
        return Confusion(self._best, self._last)

    def record(self, scores: Scores | None, choices: list[Choice] | None) -> None:
        """Note what became of a batch; what one of several networks keeps is kept."""
        if scores is None or choices is None:
            return
        codes: NDArray[np.uint8] | None = None
        for choice in choices:
            if choice.clean is None:
                return
            targets = None if choice.mixup is not None else choice.targets
            one = choice_codes(scores.labels, targets, choice.weights, choice.clean)
            codes = one if codes is None else np.where(codes == KEPT, codes, one)
        if codes is not None:
            self._choices[scores.indices] = codes

    def counts(self) -> Tensor | None:
        """Zeros for an evaluation to count in, int64 (k * k,); None for more classes than are counted."""
        if self.num_classes > MOST_CLASSES:
            return None
        return torch.zeros(self.num_classes**2, dtype=torch.int64, device=self.group.device)

    def end_test(self, counts: Tensor | None, error: float) -> None:
        """Keep the counts of an epoch whose test error is `error`; every process must call it."""
        if counts is not None:
            shape = self.num_classes, self.num_classes
            self._last = self.group.sum(counts).cpu().numpy().reshape(shape)
            if self._least is None or error < self._least:
                self._best = self._last
        self._least = error if self._least is None else min(self._least, error)

    def state(self) -> dict[str, NDArray[Any]]:
        """Arrays for a checkpoint, by name."""
        known = {_CHOICES: self.choices, _BEST: self._best, _LAST: self._last}
        return {name: array for name, array in known.items() if array is not None}

    def load_state(self, arrays: dict[str, NDArray[Any]], test_errors: list[float]) -> None:
        """Restore `state` of a checkpoint, whose epochs had these test errors; an older one has none.

        Raises ValueError for arrays that are none of this data.
        """
        if _CHOICES in arrays:
            check_array(_CHOICES, self._choices, arrays)
            if arrays[_CHOICES].max() >= len(CHOICES):
                raise ValueError(f"{_CHOICES} must be below {len(CHOICES)}, got {arrays[_CHOICES].max()}")
            self._choices = np.array(arrays[_CHOICES])
        empty = np.zeros((self.num_classes, self.num_classes), np.int64)
        for name in (_BEST, _LAST):
            if name in arrays:
                check_array(name, empty, arrays)
                if arrays[name].min() < 0:
                    raise ValueError(f"{name} must not be negative, got {arrays[name].min()}")
        self._best, self._last = arrays.get(_BEST), arrays.get(_LAST)
        self._least = min(test_errors, default=None)
