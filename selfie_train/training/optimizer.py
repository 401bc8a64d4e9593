"""The optimizer that a config names: SGD with Nesterov's momentum, or Muon."""

from __future__ import annotations

import torch
from torch import nn

from selfie_train.config import TrainConfig
from selfie_train.models.muon import SGD_SCALE, Muon, orthogonalized, set_learning_rate

__all__ = ["SGD_SCALE", "Muon", "make_optimizer", "orthogonalized", "set_learning_rate"]


def make_optimizer(config: TrainConfig, network: nn.Module) -> torch.optim.Optimizer:
    """The optimizer that `config` names, for all parameters of `network`."""
    if config.optimizer == "muon":
        return Muon(network, config.lr, config.momentum, config.weight_decay)
    return torch.optim.SGD(
        network.parameters(),
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=True,
        fused=True,  # one pass over each weight; on CPU and CUDA alike
    )
