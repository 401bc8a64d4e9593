"""Reading a memory-mapped array piece by piece, so that no more than a piece of it is held."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray


def pieces(array: NDArray[Any], rows: int) -> Iterator[tuple[int, NDArray[Any]]]:
    """(first row, its rows) of each piece in turn; the pages of a mapped file are given back after each."""
    for begin in range(0, len(array), rows):
        yield begin, np.asarray(array[begin : begin + rows])
        give_back(array)


def taken(array: NDArray[Any], positions: NDArray[np.int64], rows: int = 1024) -> NDArray[Any]:
    """The rows at `positions`, gathered so many at a time: a read of one maps many pages around it."""
    found = np.empty((len(positions), *array.shape[1:]), array.dtype)
    for begin in range(0, len(positions), rows):
        found[begin : begin + rows] = array[positions[begin : begin + rows]]
        give_back(array)
    return found


def give_back(array: NDArray[Any]) -> None:
    """Let go of the pages of a mapped file; they are read again when asked for. Others are left alone."""
    mapping = getattr(array, "_mmap", None)
    if isinstance(mapping, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)
