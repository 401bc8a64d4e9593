"""LabelHistory: the last predictions of every sample, their entropy and majority (SELFIE, ICML
2019).
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from selfie_io.labels import _kernels
from selfie_io.labels._threads import run_range
from selfie_io.labels._vectors import Vector, check_indices, check_state, class_count, integer_vector
from selfie_io.records.layout import MAX_CLASSES

_EVERYONE = np.empty(0, np.int64)


class LabelHistory:
    """A ring of the last `length` predicted classes of each of `num_samples` samples.

    A vote takes 1 byte up to 256 classes, 2 beyond.

    Beside the ring stand 13 or 14 bytes a sample: the visits, the majority and the sum of c ln c
    over the vote counts c, kept up to date by `record`, so that asking reads no ring. The sum is an
    integer (fixed point): it does not drift, and the entropy is a pure function of the counts. With
    `prefilled` a ring starts full of class 0, and these votes count, as in the authors' program.
    `indices=None` asks for every sample.

    Raises ValueError if a size is not positive, or num_classes < 2.
    """

    def __init__(
        self, num_samples: int, num_classes: int, length: int = 15, *, prefilled: bool = False
    ) -> None:
        if num_samples < 1 or not 1 <= length < 1 << 31:
            raise ValueError(
                f"num_samples and length must be positive, got num_samples={num_samples}, length={length}"
            )
        if class_count(num_classes) > MAX_CLASSES:
            raise ValueError(f"num_classes must be at most {MAX_CLASSES}, got num_classes={num_classes}")
        self.num_samples, self.num_classes, self.length = num_samples, num_classes, length
        self.prefilled = prefilled
        votes = np.uint8 if num_classes <= 256 else np.uint16
        self._ring = np.zeros((num_samples, length), votes)
        self._visits = np.zeros(num_samples, np.int32)
        self._majorities = np.zeros(num_samples, votes)
        counts = np.arange(length + 1)
        entropies = counts * np.log(np.maximum(counts, 1))
        # As many bits for the fraction as leave the largest sum, length * ln(length), below 2^62.
        fraction_bits = 61 - math.frexp(entropies[-1])[1]
        self._table = np.rint(np.ldexp(entropies, fraction_bits)).astype(np.int64)
        self._units = np.ldexp(1 / (np.maximum(counts, 1) * math.log(num_classes)), -fraction_bits)
        self._scratch = np.zeros(num_classes, np.int64)
        self._sums = np.full(num_samples, self._table[-1] if prefilled else 0)

    def record(self, indices: npt.ArrayLike, predicted: npt.ArrayLike) -> None:
        """Append `predicted` (n,) to the histories of `indices` (n,), in order: an index may come
        twice.

        Raises IndexError for an index and ValueError for a class out of range; nothing is recorded
        then.
        """
        where = integer_vector("indices", indices)
        classes = integer_vector("predicted", predicted, where.size)
        bad = _kernels.record_votes(
            self._ring, self._visits, self._sums, self._majorities, self._table, self._scratch,
            self.prefilled, where, classes,
        )  # fmt: skip
        if bad >= 0:
            check_indices(where, self.num_samples)
            raise ValueError(
                f"a predicted class must be in 0..{self.num_classes - 1}, "
                f"got {classes[bad]} at position {bad}"
            )

    def counts(self, indices: npt.ArrayLike | None = None) -> npt.NDArray[np.int32]:
        """Count the votes of each class; int32 (n, num_classes). Raises IndexError."""
        where = check_indices(np.arange(self.num_samples) if indices is None else indices, self.num_samples)
        counts = np.zeros((where.size, self.num_classes), np.int32)
        _kernels.count_votes(self._ring, self._visits, self.prefilled, where, counts)
        return counts

    def entropy(self, indices: npt.ArrayLike | None = None) -> npt.NDArray[np.float64]:
        """Return the entropy of the votes over ln(num_classes), float64 (n,) in 0..1.

        A ring that is not full yet counts the votes it has (`visits` tells); one without any has
        1.0, since nothing is known. Raises IndexError.
        """
        where, count = self._where(indices)
        entropy = np.empty(count)
        bad = run_range(
            lambda start, stop: _kernels.vote_entropy(
                self._visits,
                self._sums,
                self._table,
                self._units,
                self.prefilled,
                where,
                entropy,
                start,
                stop,
            ),
            count,
        )
        if bad >= 0:
            check_indices(where, self.num_samples)
        return entropy

    def majority(self, indices: npt.ArrayLike | None = None) -> Vector:
        """Return the most frequent class, ties to the lowest, int64 (n,); 0 where nothing is
        recorded.

        Raises IndexError.
        """
        return self._gather(self._majorities, indices)

    def visits(self, indices: npt.ArrayLike | None = None) -> Vector:
        """Return how often each sample was recorded, int64 (n,). Raises IndexError."""
        return self._gather(self._visits, indices)

    def clear(self, *, keep_visits: bool = False) -> None:
        """Forget the votes, and the visits too unless `keep_visits`, which needs a prefilled
        history.

        Raises ValueError if it is not: the visits tell how full a ring is.
        """
        if keep_visits and not self.prefilled:
            raise ValueError("keep_visits needs a history made with prefilled=True")
        self._ring.fill(0)
        self._majorities.fill(0)
        self._sums.fill(self._table[-1] if self.prefilled else 0)
        if not keep_visits:
            self._visits.fill(0)

    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """Return copies of the rings and visits, and the settings as 0-d arrays."""
        return {
            "ring": self._ring.copy(),
            "visits": self._visits.copy(),
            "num_classes": np.array(self.num_classes),
            "prefilled": np.array(self.prefilled),
        }

    def load_state_dict(self, state: Mapping[str, npt.ArrayLike]) -> None:
        """Take over what `state_dict` of a history of the same settings returned.

        Raises ValueError if a key, shape, dtype or value does not fit; the history is unchanged
        then.
        """
        own = self.state_dict()
        given = check_state(own, state)
        for key in ("num_classes", "prefilled"):
            if given[key] != own[key]:
                raise ValueError(f"{key} of this history is {own[key]}, the state has {given[key]}")
        if given["ring"].max() >= self.num_classes:
            raise ValueError(
                f"a vote must be in 0..{self.num_classes - 1}, the state has {given['ring'].max()}"
            )
        if given["visits"].min() < 0:
            raise ValueError(f"visits must not be negative, the state has {given['visits'].min()}")
        self._ring[:] = given["ring"]
        self._visits[:] = given["visits"]
        _kernels.rebuild_votes(
            self._ring, self._visits, self._sums, self._majorities, self._table, self._scratch, self.prefilled
        )

    def _where(self, indices: npt.ArrayLike | None) -> tuple[Vector, int]:
        if indices is None:
            return _EVERYONE, self.num_samples
        where = integer_vector("indices", indices)
        return where, where.size

    def _gather(self, values: npt.NDArray[Any], indices: npt.ArrayLike | None) -> Vector:
        where, count = self._where(indices)
        gathered = np.empty(count, np.int64)
        bad = run_range(lambda start, stop: _kernels.gather(values, where, gathered, start, stop), count)
        if bad >= 0:
            check_indices(where, self.num_samples)
        return gathered
