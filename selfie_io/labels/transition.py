"""Transition matrices, T[i, j] = P(noisy label j | clean label i): made by rule, read from CSV,
observed.
"""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from selfie_io.labels._confusions import confused_classes
from selfie_io.labels._vectors import class_count, integer_vector, labels_of_classes
from selfie_io.records.plain_files import bounded_lines, open_plain_text

Matrix = npt.NDArray[np.float64]

_MAX_LINE = 1 << 21  # of a CSV: a row of 65,536 classes fits
MOST_CLASSES = 10_000  # of a matrix
ROW_SUM_TOLERANCE = 1e-6  # a row that was written with six digits


def matrix_classes(num_classes: int) -> int:
    """Return `num_classes`; raises ValueError unless a matrix of them is at most 800 MB."""
    if class_count(num_classes) > MOST_CLASSES:
        raise ValueError(
            f"a transition matrix has at most {MOST_CLASSES:,} classes, got {num_classes:,}: it would take "
            f"{8 * num_classes**2 / 1e9:.0f} GB"
        )
    return num_classes


def transition_matrix(
    kind: str,
    num_classes: int,
    rate: float,
    *,
    include_true: bool = False,
    class_names: Sequence[str] | None = None,
) -> Matrix:
    """Make the matrix of a kind of noise: "symmetric" ("symmetry"), "pair" ("pairflip") or
    "asymmetric".

    symmetric sends `rate` of each class to the other classes evenly, or to all with `include_true`;
    pair to the next class, the last to the first; asymmetric to the class it is mistaken for: truck
    to automobile, bird to airplane, deer to horse, cat and dog to each other with 10 classes
    (CIFAR-10), the next one of the superclass with 100 (CIFAR-100). It finds the classes by
    `class_names`, in any order, case or common synonym; without them it takes the classes for
    CIFAR's in the published order. Returns float64 (num_classes, num_classes); rows sum to 1.
    Raises ValueError for an unknown kind, num_classes < 2, a rate outside [0, 1], or classes
    without a map.
    """
    matrix_classes(num_classes)
    check_rate(rate)
    if kind not in _KINDS:
        raise ValueError(f"the kind of noise must be one of {', '.join(_KINDS)}; got {kind!r}")
    make = _KINDS[kind]
    if include_true and make is not _symmetric:
        raise ValueError(f"include_true needs symmetric noise, got kind {kind!r}")
    if make is _asymmetric:
        return _asymmetric(num_classes, rate, class_names)
    return _symmetric(num_classes, rate, include_true) if include_true else make(num_classes, rate)


def check_rate(rate: float) -> None:
    """Raise ValueError if `rate` is not a number in [0, 1]."""
    if not isinstance(rate, int | float | np.number) or not 0 <= rate <= 1:
        raise ValueError(f"a noise rate must be in [0, 1], got {rate!r}")


def _symmetric(num_classes: int, rate: float, include_true: bool = False) -> Matrix:
    if include_true:
        return np.full((num_classes, num_classes), rate / num_classes) + (1 - rate) * np.eye(num_classes)
    matrix = np.full((num_classes, num_classes), rate / (num_classes - 1))
    np.fill_diagonal(matrix, 1 - rate)
    return matrix


def _to_one_class(targets: npt.NDArray[np.int64], rate: float) -> Matrix:
    matrix = np.eye(targets.size)
    sources = np.flatnonzero(targets != np.arange(targets.size))
    matrix[sources, sources] = 1 - rate
    matrix[sources, targets[sources]] = rate
    return matrix


def _pair(num_classes: int, rate: float) -> Matrix:
    return _to_one_class(np.roll(np.arange(num_classes), -1), rate)


def _asymmetric(num_classes: int, rate: float, class_names: Sequence[str] | None = None) -> Matrix:
    return _to_one_class(confused_classes(num_classes, class_names), rate)


_KINDS: dict[str, Callable[..., Matrix]] = {
    "symmetric": _symmetric,
    "symmetry": _symmetric,
    "pair": _pair,
    "pairflip": _pair,
    "asymmetric": _asymmetric,
}


def check_matrix(matrix: npt.ArrayLike) -> Matrix:
    """Return `matrix` as float64 if it is row-stochastic.

    Raises ValueError, naming the row, if it is not square with at least 2 classes, has an entry
    outside [0, 1] or a row whose sum is further from 1 than 1e-6.
    """
    array = np.asarray(matrix)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.dtype.kind not in "iuf":
        raise ValueError(
            f"a transition matrix must be square and of numbers, got {array.dtype} of shape {array.shape}"
        )
    matrix_classes(array.shape[0])
    array = array.astype(np.float64)
    for row, column in np.argwhere(~((array >= 0) & (array <= 1)))[:1]:
        raise ValueError(
            f"row {row}, column {column}: a probability must be in [0, 1], got {array[row, column]}"
        )
    sums = array.sum(axis=1)
    for row in np.flatnonzero(np.abs(sums - 1) > ROW_SUM_TOLERANCE)[:1]:
        raise ValueError(f"row {row}: a row of a transition matrix must sum to 1, got {sums[row]}")
    return array


def read_matrix(path: str | Path) -> Matrix:
    """Read a transition matrix from CSV: one row a line, without header.

    Raises ValueError as `check_matrix` does, naming the file; OSError if it cannot be read.
    """
    rows: list[list[float]] = []
    try:
        with open_plain_text(path, "utf-8-sig") as file:
            for number, fields in enumerate(csv.reader(bounded_lines(file, _MAX_LINE)), 1):
                if any(field.strip() for field in fields):
                    rows.append([_number(field, number) for field in fields])
                    if len(rows) > len(rows[0]):
                        raise ValueError(f"a matrix must be square, row 0 has {len(rows[0])} values")
        for row, values in enumerate(rows):
            if len(values) != len(rows):
                raise ValueError(f"row {row} has {len(values)} values, the matrix has {len(rows)} rows")
        return check_matrix(np.array(rows, np.float64).reshape(len(rows), len(rows)))
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}: {error}") from error


def _number(field: str, line: int) -> float:
    try:
        return float(field)
    except ValueError:
        raise ValueError(f"line {line}: {field!r} is not a number") from None


def observed_matrix(clean: npt.ArrayLike, noisy: npt.ArrayLike, num_classes: int) -> Matrix:
    """Measure the transition matrix from the label vectors `clean` and `noisy` (N,).

    Returns float64 (num_classes, num_classes).

    A class without samples keeps its row of the identity. Raises ValueError if a label is out of
    range, the vectors are empty or of different lengths.
    """
    matrix_classes(num_classes)
    before = labels_of_classes("clean", clean, num_classes)
    after = labels_of_classes("noisy", noisy, num_classes, before.size)
    counts = np.bincount(before * num_classes + after, minlength=num_classes**2).astype(np.float64)
    counts = counts.reshape(num_classes, num_classes)
    missing = counts.sum(axis=1) == 0
    counts[missing, missing] = 1
    matrix: Matrix = counts / counts.sum(axis=1, keepdims=True)
    return matrix


def observed_noise_rate(clean: npt.ArrayLike, noisy: npt.ArrayLike) -> float:
    """Return the share of labels that differ. Raises ValueError if they are empty or of different
    lengths.
    """
    before = integer_vector("clean", clean)
    after = integer_vector("noisy", noisy, before.size)
    if not before.size:
        raise ValueError("a noise rate needs at least one label, got none")
    return float(np.mean(before != after))
