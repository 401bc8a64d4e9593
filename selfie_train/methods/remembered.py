"""What a method remembered, as a checkpoint tells it: of the right kind and shape, or a ValueError."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


def remembered_array(
    state: dict[str, Any],
    key: str,
    dtype: DTypeLike,
    shape: tuple[int | None, ...],
    low: float | None = None,
    high: float | None = None,
) -> NDArray[Any]:
    """A copy of the array at `key`; in `shape` None is any size. Values must be finite, in low..high.

    Raises ValueError if it is missing or anything of it does not fit.
    """
    array = state.get(key)
    if not isinstance(array, np.ndarray):
        raise ValueError(f"what the method remembers must have the array {key}, got {array!r}")
    fits = len(array.shape) == len(shape) and all(
        size in (None, own) for own, size in zip(array.shape, shape, strict=True)
    )
    if array.dtype != dtype or not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{key} must be {np.dtype(dtype)} ({wanted}), got {array.dtype} {array.shape}")
    if not array.size:
        return array.copy()
    least, most = array.min(), array.max()
    if not np.isfinite([least, most]).all() or (low is not None and least < low):
        raise ValueError(f"{key} must be finite{_range(low, high)}, got {least}")
    if high is not None and most > high:
        raise ValueError(f"{key} must be finite{_range(low, high)}, got {most}")
    return array.copy()


def remembered_count(state: dict[str, Any], key: str, low: int = 0) -> int:
    """The integer at `key`; raises ValueError unless it is one and at least `low`."""
    value = state.get(key)
    if type(value) is not int or value < low:
        raise ValueError(f"{key} must be an integer from {low} on, got {value!r}")
    return value


def _range(low: float | None, high: float | None) -> str:
    if high is not None:
        return f" and in {low}..{high}"
    return "" if low is None else f" and at least {low}"
