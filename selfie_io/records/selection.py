"""Checks a choice of records: indices of a split, in any order, each once."""

from typing import Any

import numpy as np
import numpy.typing as npt


def as_array(name: str, kind: str, values: npt.ArrayLike) -> npt.NDArray[Any]:
    """An array of what was given; raises ValueError for what is none."""
    try:
        return np.asarray(values)
    except Exception as error:  # what is given may convert itself, and raise anything
        raise ValueError(f"{name} must be {kind}, got {type(values).__name__}: {error}") from error


def check_selection(indices: npt.ArrayLike, num_records: int) -> npt.NDArray[np.int64]:
    """The indices as int64 (n,), in their order, a copy.

    Raises ValueError unless they are integers in 0..num_records-1, at least one, none repeated.
    """
    array = as_array("indices", "integers (n,)", indices)
    if array.dtype == bool:
        raise ValueError(
            "indices must be integers, got bool: np.flatnonzero(mask) gives the indices of a mask"
        )
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"indices must be integers (n,), got shape {array.shape} of {array.dtype}")
    if not array.size:
        raise ValueError("indices must name at least one record, got none")
    wrong = (array < 0) | (array >= num_records)
    if wrong.any():
        raise ValueError(f"indices must be in 0..{num_records - 1}, got {array[wrong][0]}")
    chosen = array.astype(np.int64)
    ascending = np.sort(chosen)
    repeated = ascending[1:][ascending[1:] == ascending[:-1]]
    if repeated.size:
        raise ValueError(f"indices must not repeat, got {repeated[0]} more than once")
    return chosen
