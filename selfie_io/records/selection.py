"""Checks a choice of records: indices of a split, in any order, each once."""

import numpy as np
import numpy.typing as npt


def check_selection(indices: npt.ArrayLike, num_records: int) -> npt.NDArray[np.int64]:
    """The indices as int64 (n,), in their order, a copy.

    Raises ValueError unless they are integers in 0..num_records-1, at least one, none repeated.
    """
    try:
        array = np.asarray(indices)
    except (RuntimeError, ValueError, OverflowError) as error:
        raise ValueError(f"indices must be integers (n,), got {type(indices).__name__}: {error}") from error
    if array.dtype == bool:
        raise ValueError(
            "indices must be integers, got bool: np.flatnonzero(mask) gives the indices of a mask"
        )
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
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
