"""GCE (Zhang, Sabuncu, NeurIPS 2018): between cross entropy (q -> 0) and absolute error (q = 1).

The loss of a sample with label y and probabilities p is (1 - p_y^q) / q. Its gradient with respect
to the logits is p_y^q (p - e_y): that of cross entropy against the soft target p_y^q e_y, so a
sample that the network doubts counts less. The original setting is q = 0.7; the paper's truncated
variant is not offered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfie_train.methods.method import Choice, Method, Scores
from selfie_train.methods.options import check_range


def gce_weights(losses: NDArray[np.float32], q: float) -> NDArray[np.float32]:
    """p_y^q of each sample float32 (b,), from its cross entropy `losses` = -log p_y float32 (b,)."""
    return np.exp(-q * losses.astype(np.float64)).astype(np.float32)


@dataclass(frozen=True)
class GceOptions:
    """Options of `gce`."""

    q: float = 0.7
    """0 is cross entropy, 1 is mean absolute error; inside (0, 1]."""

    def __post_init__(self) -> None:
        check_range("q", self.q, 0, 1, open_low=True)


class Gce(Method):
    """Weight each sample by p_y^q: a label that the network doubts counts less."""

    paper = "Zhang, Sabuncu, NeurIPS 2018"
    Options = GceOptions
    options: GceOptions
    needs_noise_rate = False

    def choose(self, scores: Scores) -> list[Choice]:
        """The given labels, weighted; the loss is a mean over the batch, not over the weights."""
        weights = gce_weights(scores.losses[0], self.options.q)
        return [Choice(scores.labels, weights, divisor="batch")]
