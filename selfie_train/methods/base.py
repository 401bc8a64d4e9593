"""What a method is: it sees a batch's scores and chooses targets and weights. NumPy only, no torch.

The engine makes one forward pass a step, hands every method the scores of the GLOBAL batch (all processes see
the same arrays and so keep the same memory), and steps each network on sum(weight * cross entropy) /
sum(weight).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from selfie_train.config import TrainConfig


@dataclass(frozen=True)
class Scores:
    """One batch of b samples as m networks see it before they learn from it."""

    epoch: int  # of this run, from 0
    indices: NDArray[np.int64]  # (b,) positions in the training set
    labels: NDArray[np.int64]  # (b,) given labels
    losses: NDArray[np.float32]  # (m, b) cross entropy against the given labels
    predicted: NDArray[np.int64]  # (m, b) most probable classes


@dataclass(frozen=True)
class Choice:
    """What one network learns from a batch of b samples."""

    targets: NDArray[np.int64]  # (b,)
    weights: NDArray[np.float32]  # (b,) not negative; all 0: no step
    clean: NDArray[np.bool_] | None = None  # (b,) taken for clean, where the method tells clean from noisy
    second_pass: bool = False  # run the samples of weight > 0 through the network again, without the others


class Method:
    """A way to learn from noisy labels. Subclasses override `choose`, and what else they need."""

    num_networks = 1
    needs_scores = True  # False: `choose` is never called and the loss is the plain mean
    needs_noise_rate = True  # False: `noise_rate` is not looked at

    def __init__(
        self,
        config: TrainConfig,
        num_samples: int,
        num_classes: int,
        noise_rate: float,
    ) -> None:
        self.config = config
        self.num_samples = num_samples
        self.num_classes = num_classes
        self.noise_rate = noise_rate  # the engine replaces it where it is estimated after warm-up

    def choose(self, scores: Scores) -> list[Choice] | None:
        """One choice per network; None: the plain mean over the given labels."""
        raise NotImplementedError

    def restart(self) -> None:
        """Forget what belongs to the weights: they start anew."""

    def refurbished_labels(self) -> NDArray[np.int64] | None:
        """int64[N], -1 where a sample keeps its given label; None for a method that corrects nothing."""
        return None

    def vote_shares(self, indices: NDArray[np.int64]) -> NDArray[np.float64] | None:  # noqa: ARG002
        """How the past predictions of n samples spread over the classes, float64[n, k]; None: not kept."""
        return None

    def sample_columns(self) -> dict[str, NDArray[Any]]:
        """More columns for labels.csv, each of N values."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What `choose` remembers between batches: nested dicts of NumPy arrays and numbers."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to `state`."""
