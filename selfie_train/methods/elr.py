"""ELR, early-learning regularisation (Liu, Niles-Weed, Razavian, Fernandez-Granda, NeurIPS 2020).

The loss is CE + lambda log(1 - <p, t>). t is the moving average of a sample's probabilities: the
term draws the network towards what it predicted before it memorised the given labels. With t
constant, the gradient with respect to the logits is that of cross entropy against the soft target
e_y + lambda t p / (1 - <p, t>), whose sum is more than 1. The original settings are beta = 0.7,
lambda = 3 for CIFAR-10 (asymmetric noise: beta = 0.9, lambda = 1) and beta = 0.9, lambda = 7 for
CIFAR-100.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from selfie_train.methods.method import Choice, Method, Scores
from selfie_train.methods.options import check_range
from selfie_train.methods.remembered import remembered_array

if TYPE_CHECKING:
    from selfie_train.config import TrainConfig

SMALLEST = 1e-4  # the authors' program clips probabilities to it: 1 - <p, t> stays away from 0
UNITS = 1 << 16


def elr_targets(
    probabilities: NDArray[np.float32],
    labels: NDArray[np.int64],
    averages: NDArray[np.float64],
    lambda_: float,
) -> NDArray[np.float32]:
    """Soft targets float32 (b, k): e_y + lambda t p / (1 - <p, t>).

    Takes probabilities (b, k), given labels (b,) and the moving averages t (b, k), this visit included.
    """
    products = averages * probabilities
    targets = products * (lambda_ / (1 - products.sum(axis=1, keepdims=True)))
    targets[np.arange(len(labels)), labels] += 1
    soft: NDArray[np.float32] = targets.astype(np.float32)
    return soft


class MovingAverages:
    """The moving average of each sample's probabilities, in units of 2^-16: two bytes a sample and class.

    An average starts at 0. Rounding to a unit keeps it within 2^-17 / (1 - beta) of the exact one.
    """

    def __init__(self, num_samples: int, num_classes: int) -> None:
        self._units = np.zeros((num_samples, num_classes), np.uint16)

    def update(
        self, indices: NDArray[np.int64], probabilities: NDArray[np.float32], beta: float
    ) -> NDArray[np.float64]:
        """t <- beta t + (1 - beta) p for the samples at `indices` (b,); returns t float64 (b, k)."""
        clipped = np.clip(probabilities, SMALLEST, 1 - SMALLEST, dtype=np.float64)
        clipped /= clipped.sum(axis=1, keepdims=True)
        exact = (beta / UNITS) * self._units[indices] + (1 - beta) * clipped
        units = np.minimum(np.rint(exact * UNITS), UNITS - 1).astype(np.uint16)
        self._units[indices] = units
        averages: NDArray[np.float64] = units / UNITS
        return averages

    def clear(self) -> None:
        """Start again at 0."""
        self._units.fill(0)

    def state_dict(self) -> dict[str, Any]:
        """The averages uint16 (N, k)."""
        return {"units": self._units.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to `state`; ValueError if it is of another number of samples or classes, or none."""
        self._units = remembered_array(state, "units", np.uint16, self._units.shape)


@dataclass(frozen=True)
class ElrOptions:
    """Options of `elr`."""

    beta: float = 0.7
    """Share of the moving average that a visit keeps; inside [0, 1)."""
    lambda_: float = 3.0
    """Weight of the regularisation; not negative."""

    def __post_init__(self) -> None:
        if not 0 <= self.beta < 1:
            raise ValueError(f"beta must be inside [0, 1), got {self.beta:g}")
        check_range("lambda", self.lambda_, 0)


class Elr(Method):
    """Draw each sample towards the moving average of what the network said of it."""

    paper = "Liu, Niles-Weed, Razavian, Fernandez-Granda, NeurIPS 2020"
    Options = ElrOptions
    options: ElrOptions
    needs_noise_rate = False
    needs_probabilities = True

    def __init__(self, config: TrainConfig, num_samples: int, num_classes: int, noise_rate: float) -> None:
        super().__init__(config, num_samples, num_classes, noise_rate)
        self.averages = MovingAverages(num_samples, num_classes)

    def choose(self, scores: Scores) -> list[Choice]:
        """Update the averages with this visit, then the soft targets, as the authors' program does."""
        (probabilities,) = scores.probabilities  # type: ignore[misc]
        averages = self.averages.update(scores.indices, probabilities, self.options.beta)
        targets = elr_targets(probabilities, scores.labels, averages, self.options.lambda_)
        return [Choice(targets, np.ones(len(targets), np.float32), divisor="batch")]

    def restart(self) -> None:
        """Forget the averages."""
        self.averages.clear()

    def state_dict(self) -> dict[str, Any]:
        """The averages."""
        return {"averages": self.averages.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to `state`."""
        self.averages.load_state_dict(state["averages"])
