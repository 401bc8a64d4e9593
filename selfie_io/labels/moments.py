"""ProbabilityMoments: the running mean and variance of a probability a sample, for Active Bias."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from selfie_io.labels import _kernels
from selfie_io.labels._vectors import Vector, check_indices, check_state, integer_vector

Floats = npt.NDArray[np.float64]


class ProbabilityMoments:
    """The number, mean and variance of the probabilities recorded for each sample; 20 bytes a
    sample.

    Raises ValueError if `num_samples` is not positive.
    """

    def __init__(self, num_samples: int) -> None:
        if num_samples < 1:
            raise ValueError(f"num_samples must be positive, got {num_samples}")
        self.num_samples = num_samples
        self._visits = np.zeros(num_samples, np.int32)
        self._means = np.zeros(num_samples)
        self._squares = np.zeros(num_samples)  # sum of squared deviations from the mean

    def record(self, indices: npt.ArrayLike, probabilities: npt.ArrayLike) -> None:
        """Add `probabilities` (n,) to the samples `indices` (n,), in order: an index may come
        twice.

        Raises IndexError for an index out of range, ValueError for what is no probability; nothing
        is recorded then.
        """
        where = integer_vector("indices", indices)
        values = np.ascontiguousarray(probabilities, np.float64)
        if values.shape != where.shape:
            raise ValueError(f"probabilities must have one value an index, {where.shape}, got {values.shape}")
        bad = _kernels.record_moments(self._visits, self._means, self._squares, where, values)
        if bad >= 0:
            check_indices(where, self.num_samples)
            raise ValueError(f"a probability must be in [0, 1], got {values[bad]} at position {bad}")

    def visits(self, indices: npt.ArrayLike) -> Vector:
        """Return how many probabilities were recorded, int64 (n,). Raises IndexError."""
        return self._visits[check_indices(indices, self.num_samples)].astype(np.int64)

    def mean(self, indices: npt.ArrayLike) -> Floats:
        """Return their mean, float64 (n,); 0 without any. Raises IndexError."""
        return self._means[check_indices(indices, self.num_samples)]

    def variance(self, indices: npt.ArrayLike) -> Floats:
        """Return their variance (divided by n, as numpy.var does), float64 (n,); 0 without any.

        Raises IndexError.
        """
        where = check_indices(indices, self.num_samples)
        variance: Floats = self._squares[where] / np.maximum(self._visits[where], 1)
        return variance

    def clear(self) -> None:
        """Forget everything."""
        for array in (self._visits, self._means, self._squares):
            array.fill(0)

    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """Return copies of the arrays."""
        return {"visits": self._visits.copy(), "means": self._means.copy(), "squares": self._squares.copy()}

    def load_state_dict(self, state: Mapping[str, npt.ArrayLike]) -> None:
        """Take over what `state_dict` returned for as many samples.

        Raises ValueError if a key, shape, dtype or value does not fit; nothing is changed then.
        """
        own = self.state_dict()
        given = check_state(own, state)
        for key in own:
            if not (np.isfinite(given[key]) & (given[key] >= 0)).all():
                raise ValueError(f"{key} must be finite and not negative, got {given[key].min()}")
        for array, key in ((self._visits, "visits"), (self._means, "means"), (self._squares, "squares")):
            array[:] = given[key]
