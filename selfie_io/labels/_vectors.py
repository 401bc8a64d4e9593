"""The checks that arrays of labels and indices, and saved states, pass on their way in."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.int64]


def integer_vector(name: str, values: npt.ArrayLike, size: int | None = None) -> Vector:
    """Return `values` as a contiguous int64 vector, without a copy where it is one.

    Raises ValueError, naming the argument, if it is not one-dimensional, not of integers or not of
    `size`.
    """
    array: npt.NDArray[Any] = np.asarray(values)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise ValueError(f"{name} must be a vector of integers, got {array.dtype} of shape {array.shape}")
    if size is not None and array.size != size:
        raise ValueError(f"{name} must have {size} values, got {array.size}")
    if array.dtype.kind == "u" and array.dtype.itemsize == 8:  # 2^64 - 1 would become -1: left out
        for bad in np.flatnonzero(array > np.iinfo(np.int64).max)[:1]:
            raise ValueError(f"{name} must be below 2^63, got {array[bad]} at position {bad}")
    return np.ascontiguousarray(array, np.int64)


def class_count(num_classes: int) -> int:
    """Return `num_classes` as an int; raises ValueError if it is not an integer of at least 2."""
    if not isinstance(num_classes, int | np.integer) or num_classes < 2:
        raise ValueError(f"num_classes must be an integer of at least 2, got num_classes={num_classes!r}")
    return int(num_classes)


def labels_of_classes(name: str, values: npt.ArrayLike, num_classes: int, size: int | None = None) -> Vector:
    """Do as `integer_vector`; raises ValueError also if there are no labels or one is out of range."""
    labels = integer_vector(name, values, size)
    if not labels.size:
        raise ValueError(f"{name} must have at least one label, got none")
    for bad in np.flatnonzero((labels < 0) | (labels >= num_classes))[:1]:
        raise ValueError(f"{name} must be in 0..{num_classes - 1}, got {labels[bad]} at position {bad}")
    return labels


def dropped_or_labels(name: str, values: npt.ArrayLike, num_classes: int, size: int | None = None) -> Vector:
    """Do as `labels_of_classes`, where -1 stands for a record that is left out; one at least is not."""
    labels = integer_vector(name, values, size)
    kept = labels != -1
    if labels.size and not kept.any():
        raise ValueError(f"{name} must leave at least one record, got -1 for all {labels.size}")
    labels_of_classes(name, np.where(kept, labels, 0), num_classes)
    return labels


def check_indices(indices: npt.ArrayLike, count: int) -> Vector:
    """Do as `integer_vector`; also raises IndexError if one is not in 0..count-1."""
    where = integer_vector("indices", indices)
    for bad in np.flatnonzero((where < 0) | (where >= count))[:1]:
        raise IndexError(f"an index must be in 0..{count - 1}, got {where[bad]} at position {bad}")
    return where


def check_state(
    own: Mapping[str, npt.NDArray[Any]], state: Mapping[str, npt.ArrayLike]
) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of `state`; raises ValueError unless keys, dtypes and shapes are as in
    `own`.
    """
    if set(state) != set(own):
        raise ValueError(f"this state must have the keys {sorted(own)}, got {sorted(state)}")
    given = {key: np.asarray(value) for key, value in state.items()}
    for key, value in own.items():
        if (given[key].dtype, given[key].shape) != (value.dtype, value.shape):
            raise ValueError(
                f"{key} must be {value.dtype} {value.shape} here, got {given[key].dtype} {given[key].shape}"
            )
    return given
