"""An exponential moving average of a network's weights and statistics, kept as a second network."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn


class WeightAverage:
    """The average; `network` is what it makes of the weights so far."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = deepcopy(network).requires_grad_(False)
        self.decay = decay
        self.steps = 0

    def restart(self, network: nn.Module) -> None:
        """Begin at the weights of `network`."""
        self.network.load_state_dict(network.state_dict())
        self.steps = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in one step. Early on the average is over fewer steps: the decay is at most n / (n + 9)."""
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 9))
        for mean, value in zip(
            self.network.state_dict().values(), network.state_dict().values(), strict=True
        ):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)
