"""Label Wave (Yuan, Feng, Liu, ICLR 2024): when to stop, without clean or held-back labels.

The prediction changes of an epoch are the training samples whose predicted class differs from that
of the epoch before. They fall while the network learns what is common, and rise when it begins to
fit wrong labels: the first local minimum of their moving average is the epoch to stop at. A minimum
counts once `patience` epochs brought no smaller average.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfie_io.labels.history import LabelHistory
from selfie_train.methods.remembered import remembered_array, remembered_count


class LabelWave:
    """Counts prediction changes and finds the epoch to stop at; raises ValueError for a size below 1."""

    def __init__(self, num_samples: int, num_classes: int, *, window: int = 3, patience: int = 10) -> None:
        for name, value in (("window", window), ("patience", patience)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.window, self.patience = window, patience
        self._last = LabelHistory(num_samples, num_classes, length=1)
        self._current = 0
        self.prediction_changes: list[
            int
        ] = []  # of each finished epoch; 0 of the first, which has none before

    def record(self, indices: NDArray[np.int64], predicted: NDArray[np.int64]) -> None:
        """Count the samples (b,) whose predicted class (b,) is not that of their visit before."""
        changed = (self._last.majority(indices) != predicted) & (self._last.visits(indices) > 0)
        self._current += int(np.count_nonzero(changed))
        self._last.record(indices, predicted)

    def end_epoch(self) -> None:
        """Close the count of an epoch."""
        self.prediction_changes.append(self._current)
        self._current = 0

    @property
    def best_epoch(self) -> int | None:
        """The epoch (from 0) that ends the window of fewest changes so far; None before the first window."""
        averages = self._averages()
        return None if not len(averages) else int(averages.argmin()) + self.window

    @property
    def should_stop(self) -> bool:
        """Whether `patience` epochs have passed since `best_epoch`."""
        best = self.best_epoch
        return best is not None and len(self.prediction_changes) - 1 - best >= self.patience

    def _averages(self) -> NDArray[np.float64]:
        """Moving averages over whole windows; the first epoch has no changes to count."""
        changes = np.array(self.prediction_changes[1:], dtype=np.float64)
        if len(changes) < self.window:
            return np.empty(0)
        return np.convolve(changes, np.ones(self.window) / self.window, mode="valid")

    def state_dict(self) -> dict[str, Any]:
        """Last predictions and counts, as NumPy arrays and numbers."""
        changes = np.array(self.prediction_changes, dtype=np.int64)
        return {"last": self._last.state_dict(), "current": self._current, "changes": changes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to `state`; ValueError if it belongs to another training set, or is none."""
        self._last.load_state_dict(state["last"])
        self._current = remembered_count(state, "current")
        self.prediction_changes = remembered_array(state, "changes", np.int64, (None,), 0).tolist()
