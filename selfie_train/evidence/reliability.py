"""Whether the evidence keeps its word, seen on the given labels: no truth is needed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BINS = 10
_ROWS = 65_536


def label_reliability(
    pooled: NDArray[np.float32], matrix: NDArray[np.float64], given: NDArray[np.int64]
) -> dict[str, list[float]]:
    """Predicted and observed shares of the given labels, in bins of the predicted one; no bin is empty.

    The predicted share of label j for record x is sum_i f(i | x) T[i, j]; each record and class counts once.
    """
    counts, predicted, observed = np.zeros((3, BINS))
    for begin in range(0, len(given), _ROWS):
        shares = pooled[begin : begin + _ROWS] @ matrix
        labels = given[begin : begin + _ROWS]
        place = np.minimum((shares * BINS).astype(np.int64), BINS - 1)
        counts += np.bincount(place.ravel(), minlength=BINS)
        predicted += np.bincount(place.ravel(), weights=shares.ravel(), minlength=BINS)
        observed += np.bincount(place[np.arange(len(labels)), labels], minlength=BINS)
    there = counts > 0
    return {
        "predicted": (predicted[there] / counts[there]).tolist(),
        "observed": (observed[there] / counts[there]).tolist(),
        "counted": counts[there].tolist(),
    }
