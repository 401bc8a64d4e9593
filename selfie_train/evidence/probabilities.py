"""Evidence from a file: the class probabilities that a user's own network gave."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfie_io.records.plain_files import check_plain, open_plain
from selfie_train.evidence.mapped import pieces
from selfie_train.evidence.source import Evidence

_ROWS = 1 << 16  # looked at at once
_SUM_SLACK = 0.01  # half-precision softmax


def read_array(path: Path, option: str, records: int) -> NDArray[np.generic]:
    """A 2-D array of numbers with one row for each record, memory-mapped.

    Raises ValueError that names `option`, OSError if the file cannot be read.
    """
    try:
        check_plain(path)
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # numpy's header parser lets through what its tokenizer raises
        raise ValueError(f"{option} needs a .npy file of numbers, got {path}: {error}") from error
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind not in "fiu":
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "an archive of arrays"
        raise ValueError(
            f"{option} needs numbers in two dimensions, one row for each record; {path} has {found}"
        )
    if len(array) != records:
        raise ValueError(
            f"{option} needs one row for each of {records} training records, {path} has {len(array)}"
        )
    for begin, rows in pieces(array, _ROWS):
        bad = ~np.isfinite(rows).all(axis=1)
        if bad.any():
            raise ValueError(
                f"{option} needs finite numbers, row {begin + int(bad.argmax())} of {path} has others"
            )
    return array


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with open_plain(path) as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()


def read_probabilities(path: Path, given: NDArray[np.int64], num_classes: int) -> Evidence:
    """The evidence in a .npy (N, k) of probabilities; that they are out of sample is the user's word.

    Raises ValueError for another shape, a value outside 0..1, NaN, or a row that does not sum to 1.
    """
    option = "--probabilities"
    array = read_array(path, option, len(given))
    if array.shape[1] != num_classes:
        raise ValueError(
            f"{option} needs one column for each of {num_classes} classes, {path} has {array.shape[1]}"
        )
    rows = array.astype(np.float32)
    for index in np.flatnonzero((rows < 0).any(axis=1) | (rows > 1 + _SUM_SLACK).any(axis=1))[:1]:
        raise ValueError(
            f"{option} needs values in 0..1, row {index} of {path} is {rows[index].tolist()[:10]}"
        )
    sums = rows.sum(axis=1)
    for index in np.flatnonzero(np.abs(sums - 1) > _SUM_SLACK)[:1]:
        raise ValueError(
            f"{option} needs rows that sum to 1, row {index} of {path} sums to {sums[index]:.4f}; "
            "if these are logits, take their softmax"
        )
    rows /= sums[:, None]
    made_from = {"file": path.name}
    return Evidence("probabilities", file_digest(path), True, rows, made_from)
