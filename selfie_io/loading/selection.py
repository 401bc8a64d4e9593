"""The records that a loader reads: indices, weights and labels, checked and aligned with the split."""

import hashlib

import numpy as np
import numpy.typing as npt

from selfie_io.records.selection import as_array
from selfie_io.records.split import RecordSplit


def select_members(split: RecordSplit, indices: npt.ArrayLike | None) -> npt.NDArray[np.int64] | None:
    """The records of a loader over the split, ascending int64 (n,); None: all records of the whole split.

    Raises ValueError as RecordSplit.subset does.
    """
    if indices is not None:
        split = split.subset(indices)
    return None if split is split.whole else np.sort(split.indices)


def check_labels(
    labels: npt.ArrayLike, split: RecordSplit, members: npt.NDArray[np.int64] | None
) -> npt.NDArray[np.int64]:
    """Labels to use instead of the stored ones, a copy, int64 (N,) by index in the whole split.

    labels: one per record of `split`, or of the whole split. Only those of members need to name a class.

    Raises ValueError unless they are integers, one per record, each naming a class.
    """
    array = as_array("labels", f"{len(split)} integers", labels)
    if array.dtype.kind not in "iu":
        raise ValueError(f"labels must be {len(split)} integers, got shape {array.shape} of {array.dtype}")
    aligned = _align("labels", "integers", array, split).astype(np.int64)
    used = aligned if members is None else aligned[members]
    wrong = np.flatnonzero((used < 0) | (used >= (split.num_classes or np.iinfo(np.int64).max)))
    if wrong.size:
        bound = "not be negative" if split.num_classes is None else f"be in 0..{split.num_classes - 1}"
        index = wrong[0] if members is None else members[wrong[0]]
        raise ValueError(f"labels must {bound}, got {aligned[index]} at index {index}")
    return aligned


def check_weights(
    weights: npt.ArrayLike, split: RecordSplit, members: npt.NDArray[np.int64] | None
) -> npt.NDArray[np.float64]:
    """Weights for drawing with replacement, float64 (n,), one per member.

    weights: one per record of `split`, or of the whole split. Only those of members count.

    Raises ValueError unless they are numbers, one per record, finite, not negative and not all zero.
    """
    array = as_array("weights", f"{len(split)} numbers", weights)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"weights must be {len(split)} numbers, got shape {array.shape} of {array.dtype}")
    aligned = _align("weights", "numbers", array, split).astype(np.float64)
    used = aligned if members is None else aligned[members]
    wrong = np.flatnonzero(~np.isfinite(used) | (used < 0))
    if wrong.size:
        index = wrong[0] if members is None else members[wrong[0]]
        raise ValueError(f"weights must be finite and not negative, got {aligned[index]} at index {index}")
    if not used.any():
        raise ValueError("weights must not all be zero, got only zeros")
    with np.errstate(over="ignore"):
        total = used.sum()
    if not np.isfinite(total):
        raise ValueError(f"weights must have a finite sum, got {total}")
    return used


def digest(array: npt.NDArray[np.generic]) -> str:
    """A short digest of an array's bytes, for a loader's state."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def _align(
    name: str, kind: str, array: npt.NDArray[np.generic], split: RecordSplit
) -> npt.NDArray[np.generic]:
    """Values by index in the whole split; those of a subset come in its order."""
    if array.shape == (len(split),):
        if split is split.whole:
            return array
        aligned = np.zeros(len(split.whole), array.dtype)
        aligned[split.indices] = array
        return aligned
    if array.shape == (len(split.whole),):
        return array
    raise ValueError(f"{name} must be {len(split)} {kind}, got shape {array.shape} of {array.dtype}")
