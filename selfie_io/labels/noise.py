"""Label noise from a transition matrix: each label drawn on its own, or in exact counts
(docs/noise.md).
"""

import numpy as np
import numpy.typing as npt

from selfie_io.labels import _kernels
from selfie_io.labels._threads import run_range
from selfie_io.labels._vectors import Vector, integer_vector, labels_of_classes
from selfie_io.labels.transition import (
    Matrix,
    check_matrix,
    observed_matrix,
    observed_noise_rate,
    read_matrix,
    transition_matrix,
)

__all__ = [
    "inject_noise",
    "observed_matrix",
    "observed_noise_rate",
    "read_matrix",
    "transition_matrix",
]

MATRIX_STREAM = 0  # instance_noise.py has the others


def inject_noise(
    labels: npt.ArrayLike,
    matrix: npt.ArrayLike,
    *,
    seed: int = 0,
    exact: bool = False,
    record_ids: npt.ArrayLike | None = None,
    num_threads: int | None = None,
) -> Vector:
    """Draw a noisy label for each of `labels` (N,) from its class's row of `matrix`; int64 (N,).

    A draw depends on (seed, record id) alone, or on the position where no `record_ids` (distinct,
    (N,)) are given. With `exact` each class sends as many labels to each other one as its row says,
    to the nearest integer; which ones depends on all members of the class. `num_threads` (None:
    one a processor) changes nothing. Raises ValueError if the labels, the matrix, the seed or the
    ids are not what they should be.
    """
    rows = check_matrix(matrix)
    num_classes = len(rows)
    clean = integer_vector("labels", labels)
    keys = (
        np.empty(0, np.int64) if record_ids is None else integer_vector("record_ids", record_ids, clean.size)
    )
    base = stream_base(seed, MATRIX_STREAM)
    if num_threads is not None and num_threads < 1:
        raise ValueError(f"num_threads must be positive, got {num_threads}")
    if exact or not clean.size:
        clean = labels_of_classes("labels", clean, num_classes)
        return _inject_exact(clean, rows, keyed_bits(base, keys if keys.size else np.arange(clean.size)))
    table = _alias_table(rows)
    noisy = np.empty(clean.size, np.int64)
    bad = run_range(
        lambda start, stop: _kernels.inject(
            base, table, num_classes, clean[start:stop], keys[start:stop], start, noisy[start:stop]
        ),
        clean.size,
        num_threads,
    )
    if bad >= 0:
        labels_of_classes("labels", clean, num_classes)
    return noisy


def stream_base(seed: int, stream: int) -> np.uint64:
    """Return where the draws of (seed, stream) begin. Raises ValueError if `seed` is not in
    0..2^64-1.
    """
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 1 << 64:
        raise ValueError(f"a seed must be an integer in 0..2^64-1, got {seed!r}")
    return np.uint64(keyed_bits(np.uint64(seed), np.array([stream]))[0])


def keyed_bits(base: np.uint64, keys: Vector) -> npt.NDArray[np.uint64]:
    """Return 64 random bits for each key; distinct keys get distinct bits."""
    bits = np.empty(keys.size, np.uint64)
    _kernels.draw_bits(base, keys, bits)
    return bits


def _alias_table(matrix: Matrix) -> npt.NDArray[np.uint64]:
    num_classes = len(matrix)
    whole = float(num_classes << 32)
    cumulative = np.cumsum(matrix, axis=1)
    # Rounding the cumulative sum keeps the total exact, and a class of probability 0 at weight 0.
    steps = np.rint(cumulative / cumulative[:, -1:] * whole).astype(np.int64)
    table = np.empty(num_classes**2, np.uint64)
    _kernels.alias_tables(np.diff(steps, axis=1, prepend=0), table)
    return table


def _inject_exact(labels: Vector, matrix: Matrix, bits: npt.NDArray[np.uint64]) -> Vector:
    num_classes = len(matrix)
    noisy = np.empty_like(labels)
    order = np.lexsort((bits, labels))
    members = np.bincount(labels, minlength=num_classes)
    stops = np.cumsum(members)
    for label in np.flatnonzero(members):
        counts = _exact_counts(matrix[label], int(members[label]), int(label))
        noisy[order[stops[label] - members[label] : stops[label]]] = np.repeat(np.arange(num_classes), counts)
    return noisy


def _exact_counts(row: npt.NDArray[np.float64], members: int, label: int) -> Vector:
    """Share `members` by the largest remainder; of equal ones the class next after `label` comes
    first.
    """
    shares = row / row.sum() * members
    counts = np.floor(shares)
    # Rounded, so that a share just below an integer, which it should be, has the largest remainder.
    remainders = np.where(row > 0, np.round(shares - counts, 9), -1)
    distance = (np.arange(row.size) - label - 1) % row.size
    most = np.lexsort((distance, -remainders))[: members - int(counts.sum())]
    counts[most] += 1
    return np.asarray(counts, np.int64)
