"""Noise with one rate for all pairs of classes, without a matrix.

T is 1 - rate on the diagonal and rate / (k - 1) elsewhere, so a record's likelihood needs the pool's word on
its given label alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_RATE = 1e-4  # where no noise is found, the scores still rank
START_RATE = 0.15


@dataclass(frozen=True)
class GivenWord:
    """What N pooled rows say of their given labels: float64 (N,), the given one's share and all others'."""

    own: NDArray[np.float64]
    others: NDArray[np.float64]
    num_classes: int

    @classmethod
    def of(cls, pooled: NDArray[np.float32], given: NDArray[np.int64]) -> GivenWord:
        """Read from float32 (N, k) rows and labels (N,)."""
        own = pooled[np.arange(len(given)), given].astype(np.float64)
        return cls(own, pooled.sum(axis=1, dtype=np.float64) - own, pooled.shape[1])

    def wrong(self, rate: float) -> NDArray[np.float64]:
        """P(the given label is wrong), float64 (N,)."""
        wrong = self.others * (rate / max(self.num_classes - 1, 1))
        found: NDArray[np.float64] = wrong / np.maximum(wrong + self.own * (1 - rate), 1e-300)
        return found

    def likeliest_rate(
        self, steps: int, start: float = START_RATE, record_weights: NDArray[np.float64] | None = None
    ) -> tuple[float, float]:
        """The rate by expectation-maximisation, and the mean negative log-likelihood before the last step."""
        rate, loss = start, 0.0
        total = len(self.own) if record_weights is None else float(record_weights.sum())
        for _ in range(steps):
            right = self.own * (1 - rate)
            evidence = np.maximum(right + self.others * (rate / max(self.num_classes - 1, 1)), 1e-300)
            logs, kept = np.log(evidence), right / evidence
            if record_weights is None:
                loss, share = -float(logs.sum()), float(kept.sum())
            else:
                loss, share = -float(logs @ record_weights), float(kept @ record_weights)
            rate = max(1 - share / max(total, 1e-300), LEAST_RATE)
        return rate, loss / max(total, 1e-300)


def uniform_matrix(rate: float, num_classes: int) -> NDArray[np.float64]:
    """T of this rate, float64 (k, k)."""
    matrix = np.full((num_classes, num_classes), rate / max(num_classes - 1, 1))
    np.fill_diagonal(matrix, 1 - rate)
    return matrix
