"""Estimates of the noise in given labels, where no clean ones are known.

The confident joint of Northcutt, Jiang and Chuang, "Confident learning" (JAIR 2021) needs
out-of-sample probabilities, no anchor points and no clean samples.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from selfie_io.labels._vectors import Vector, integer_vector, labels_of_classes
from selfie_io.labels.transition import Matrix

# A probability this far below its class's threshold still counts: float32 softmax is not exact.
_SLACK = 1e-6


@dataclass(frozen=True)
class NoiseEstimate:
    """What `estimate_noise` found.

    joint: float64 (k, k), P(given i, true j); sums to 1
    transition_matrix: float64 (k, k), P(given j | true i); rows sum to 1
    noise_rate: P(given != true)
    """

    joint: Matrix
    transition_matrix: Matrix
    noise_rate: float


def confident_joint(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> Vector:
    """Count the samples given class i that are confidently of class j, int64 (k, k).

    `probabilities` (N, k) must come from networks that did not train on the sample. A sample is
    confidently of a class if its probability reaches the mean one of the samples given that class;
    if it is of several, of its most probable class. Each class counts at least one sample that is
    given right. Raises ValueError if the labels and probabilities do not fit or a row does not sum
    to 1.
    """
    given, rows = _check(labels, probabilities)
    num_classes = rows.shape[1]
    members = np.bincount(given, minlength=num_classes)
    own = np.bincount(given, rows[np.arange(given.size), given], num_classes)
    # A class that nobody is given has no mean: nobody is confidently of it.
    thresholds = np.where(members > 0, own / np.maximum(members, 1), np.inf)
    confident = rows >= thresholds - _SLACK
    several = confident.sum(axis=1) > 1
    true = np.where(several, rows.argmax(axis=1), confident.argmax(axis=1))
    sure = confident.any(axis=1)
    cells = given[sure] * num_classes + true[sure]
    joint = np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)
    np.fill_diagonal(joint, np.maximum(joint.diagonal(), 1))
    return joint


def estimate_noise(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> NoiseEstimate:
    """Estimate how labels were corrupted: the confident joint, scaled to the given labels'
    frequencies.

    Raises ValueError as `confident_joint` does.
    """
    counts = confident_joint(labels, probabilities).astype(np.float64)
    given = np.bincount(integer_vector("labels", labels), minlength=len(counts))
    joint = counts / counts.sum(axis=1, keepdims=True) * (given / given.sum())[:, None]
    by_true = joint.T.copy()
    # No sample is of this class, whatever it was given: nothing is known of its noise.
    unknown = by_true.sum(axis=1) == 0
    by_true[unknown, unknown] = 1
    matrix = by_true / by_true.sum(axis=1, keepdims=True)
    return NoiseEstimate(joint, matrix, 1 - float(np.trace(joint)))


def _check(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> tuple[Vector, Matrix]:
    rows = np.asarray(probabilities)
    if rows.ndim != 2 or rows.shape[1] < 2 or rows.dtype.kind != "f":
        raise ValueError(
            f"probabilities must be floats (N, k), k at least 2; got {rows.dtype} of shape {rows.shape}"
        )
    given = labels_of_classes("labels", labels, rows.shape[1], len(rows))
    rows = rows.astype(np.float64)
    sums = rows.sum(axis=1)
    for bad in np.flatnonzero(~((rows >= 0).all(axis=1) & (np.abs(sums - 1) <= 1e-3)))[:1]:
        raise ValueError(f"row {bad}: probabilities must not be negative and must sum to 1, got {rows[bad]}")
    return given, rows
