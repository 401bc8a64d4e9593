"""SCE, symmetric cross entropy (Wang, Ma, Chen, Luo, Yi, Bailey, ICCV 2019).

The loss is alpha CE + beta RCE. The reverse cross entropy RCE = -sum_j p_j log e_y[j], with log 0
set to A < 0, is -A (1 - p_y). The gradient of the loss with respect to the logits is
(alpha - beta A p_y) (p - e_y): that of cross entropy against the soft target
(alpha - beta A p_y) e_y. The original settings are alpha = 0.1, beta = 1, A = -4 for CIFAR-10, and
alpha = 6, beta = 0.1 for CIFAR-100.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfie_train.methods.method import Choice, Method, Scores
from selfie_train.methods.options import check_range


def sce_weights(
    losses: NDArray[np.float32], alpha: float, beta: float, log_zero: float
) -> NDArray[np.float32]:
    """alpha - beta A p_y of each sample float32 (b,), from its `losses` = -log p_y float32 (b,).

    `log_zero` is A.
    """
    label_probabilities = np.exp(-losses.astype(np.float64))
    return (alpha - beta * log_zero * label_probabilities).astype(np.float32)


@dataclass(frozen=True)
class SceOptions:
    """Options of `sce`."""

    alpha: float = 0.1
    """Weight of the cross entropy; not negative."""
    beta: float = 1.0
    """Weight of the reverse cross entropy; not negative."""
    A: float = -4.0
    """Stands for log 0; negative."""

    def __post_init__(self) -> None:
        check_range("alpha", self.alpha, 0)
        check_range("beta", self.beta, 0)
        check_range("-A", -self.A, 0, open_low=True)


class Sce(Method):
    """Weight each sample by alpha - beta A p_y."""

    paper = "Wang, Ma, Chen, Luo, Yi, Bailey, ICCV 2019"
    Options = SceOptions
    options: SceOptions
    needs_noise_rate = False

    def choose(self, scores: Scores) -> list[Choice]:
        """The given labels, weighted; the loss is a mean over the batch, not over the weights."""
        options = self.options
        weights = sce_weights(scores.losses[0], options.alpha, options.beta, options.A)
        return [Choice(scores.labels, weights, divisor="batch")]
