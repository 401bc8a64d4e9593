"""Muon, for the filters of convolutions, with SGD for everything else.

Muon (Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; here as cifar10-airbench
uses it) makes each update of a filter bank an almost orthogonal matrix, and keeps the bank's norm fixed. A
batch norm must follow every convolution, so that the norm of its filters has no effect.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # the quintic's coefficients: steepest at zero
NEWTON_SCHULZ_STEPS = 3
SGD_SCALE = 3.5  # the rate of what Muon leaves to SGD (norms, head), over Muon's own


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use `rate` from the next step on, times what a group of parameters scales it by."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("rate_scale", 1.0)


class Muon(torch.optim.Optimizer):
    """Muon on every 4-D weight of a network, SGD with Nesterov's momentum on all other parameters."""

    def __init__(self, network: nn.Module, lr: float, momentum: float, weight_decay: float) -> None:
        filters = [parameter for parameter in network.parameters() if parameter.ndim == 4]
        others = [parameter for parameter in network.parameters() if parameter.ndim != 4]
        groups: list[dict[str, Any]] = [
            {"params": filters, "lr": lr, "rate_scale": 1.0, "orthogonal": True},
            {"params": others, "lr": lr * SGD_SCALE, "rate_scale": SGD_SCALE, "orthogonal": False},
        ]
        super().__init__(
            [group for group in groups if group["params"]],
            {"momentum": momentum, "weight_decay": weight_decay},
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Change every parameter that has a gradient."""
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, momentum = self.state[parameter], group["momentum"]
        if not group["orthogonal"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        state["momentum_buffer"].mul_(momentum).add_(gradient)
        update = gradient.add(state["momentum_buffer"], alpha=momentum)
        if group["orthogonal"]:
            # Every filter has norm 1 on average.
            parameter.mul_(len(parameter) ** 0.5 / parameter.norm().clamp_min(1e-7))
            update = orthogonalized(update.reshape(len(update), -1)).view(update.shape)
        parameter.add_(update, alpha=-group["lr"])


def orthogonalized(matrix: Tensor) -> Tensor:
    """float32[m, n] with the same singular vectors and singular values near 1 (about 0.5 to 1.2).

    Newton-Schulz iteration: only matrix products, the same on every device up to rounding.
    """
    a, b, c = NEWTON_SCHULZ
    is_tall = matrix.shape[0] > matrix.shape[1]
    current = matrix.T if is_tall else matrix
    current = current / (current.norm() + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        square = current @ current.T
        current = a * current + (b * square + c * square @ square) @ current
    result: Tensor = current.T if is_tall else current
    return result
