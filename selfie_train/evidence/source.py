"""What every source of evidence gives: class probabilities, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Evidence:
    """What one source says of N records and k classes.

    name: short, for columns and tables ("features", "neighbours", "folds", "probabilities")
    digest: SHA-256, in hex, of what it was made from
    out_of_sample: whether no record's own label had a part in its probabilities
    probabilities: float32 (N, k); rows sum to 1
    made_from: what a reader needs to make it again
    """

    name: str
    digest: str
    out_of_sample: bool
    probabilities: NDArray[np.float32]
    made_from: dict[str, Any] = field(default_factory=dict)

    def of_given(self, given: NDArray[np.int64]) -> NDArray[np.float32]:
        """The probability of each given label, float32 (N,)."""
        found: NDArray[np.float32] = self.probabilities[np.arange(len(given)), given]
        return found

    def describe(self) -> dict[str, Any]:
        """What audit.json says of it."""
        return {
            "name": self.name,
            "digest": self.digest,
            "out_of_sample": self.out_of_sample,
            "made_from": self.made_from,
        }


def stratified_folds(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Deal the records of each class over `count` folds in turn, int64 (N,); a pure function.

    A class with fewer members than folds is missing from some: its records still get probabilities.
    """
    rng = np.random.default_rng([seed, count])
    order = np.lexsort((rng.random(len(labels)), labels))
    folds = np.empty(len(labels), np.int64)
    folds[order] = np.arange(len(labels)) % count
    return folds
