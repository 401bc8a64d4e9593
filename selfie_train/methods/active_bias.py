"""Active Bias (Chang, Learned-Miller, McCallum, NeurIPS 2017): weight samples by how uncertain they are.

The weight is the standard deviation of the probability given to a sample's label over its visits, with the
confidence of that variance's estimate added: sqrt(v + v^2 / (n - 1)) + smoothness ("SGD-WPV").
"""

from __future__ import annotations

from typing import Any

import numpy as np

from selfie_io.labels.moments import ProbabilityMoments
from selfie_train.config import TrainConfig
from selfie_train.methods.method import Choice, Method, Scores

SMOOTHNESS = 0.2


class ActiveBias(Method):
    """Emphasise the samples whose probability of the given label varies from visit to visit."""

    paper = "Chang, Learned-Miller, McCallum, NeurIPS 2017"
    settings = ("warmup",)
    needs_noise_rate = False
    has_warmup = True

    def __init__(self, config: TrainConfig, num_samples: int, num_classes: int, noise_rate: float) -> None:
        super().__init__(config, num_samples, num_classes, noise_rate)
        self.moments = ProbabilityMoments(num_samples)

    def choose(self, scores: Scores) -> list[Choice] | None:
        """Uniform weights in warm-up; then by the visits BEFORE this one, with mean 1 over the batch."""
        choice = None
        if scores.epoch >= self.config.warmup:
            visits = self.moments.visits(scores.indices)
            variance = self.moments.variance(scores.indices)
            weights = np.sqrt(variance + variance**2 / np.maximum(visits - 1, 1)) + SMOOTHNESS
            weights[visits < 2] = 1.0
            choice = [Choice(scores.labels, (weights / weights.mean()).astype(np.float32))]
        # The probability of the given label is exp(-loss).
        self.moments.record(scores.indices, np.exp(-scores.losses[0].astype(np.float64)))
        return choice

    def state_dict(self) -> dict[str, Any]:
        """The running moments."""
        return {"moments": self.moments.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state`."""
        self.moments.load_state_dict(state["moments"])
