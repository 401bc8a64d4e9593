"""Whether the evidence keeps its word, seen on the given labels: no truth is needed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BINS = 10
_ROWS, _VALUES = 65_536, 1 << 22  # looked at at once


def label_reliability(
    pooled: NDArray[np.float32], matrix: NDArray[np.float64], given: NDArray[np.int64], *, uniform: bool
) -> dict[str, list[float]]:
    """Predicted and observed shares of the given labels, in bins of the predicted one; no bin is empty.

    The predicted share of label j for record x is sum_i f(i | x) T[i, j]; each record and class counts once.
    uniform: whether T has one rate for all pairs of classes, which then needs no product with T
    """
    counts, predicted, observed = np.zeros((3, BINS))
    step = max(1, min(_ROWS, _VALUES // pooled.shape[1]))
    for begin in range(0, len(given), step):
        shares = pooled[begin : begin + step].astype(np.float64)
        labels = given[begin : begin + step]
        if uniform:
            move = float(matrix[0, -1])  # T = move + (its diagonal - move) on the diagonal
            shares = shares * (matrix[0, 0] - move) + move * shares.sum(axis=1, keepdims=True)
        else:
            shares = shares @ matrix
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
