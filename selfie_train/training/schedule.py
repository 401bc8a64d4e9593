"""The learning rate over a run."""

from __future__ import annotations

import numpy as np

from selfie_train.config import TrainConfig

FIRST_RATE = 0.2  # the share of the rate that a warm-up starts from
LAST_RATE = 0.02  # the share that the one-cycle schedule ends with


def learning_rate(config: TrainConfig, epoch: int, done: float = 0.0) -> float:
    """The learning rate at the share `done` (0 to 1) of `epoch` (from 0) of a run.

    step and cosine change between epochs alone; one-cycle and the warm-up of the rate change at every batch.
    """
    at = epoch + done
    rate = config.lr * _warmup_share(config, at)
    if config.schedule == "cosine":
        return rate * (1 + float(np.cos(np.pi * (epoch / config.epochs)))) / 2
    if config.schedule == "one-cycle":
        falling = config.epochs - config.lr_warmup
        past = min(1.0, max(0.0, at - config.lr_warmup) / falling) if falling > 0 else 0.0
        return rate * (1 + (LAST_RATE - 1) * past)
    num_drops = (epoch / config.epochs >= 0.5) + (epoch / config.epochs >= 0.75)
    return rate / float(5**num_drops)


def changes_within_epochs(config: TrainConfig) -> bool:
    """Whether the rate must be set at every batch."""
    return config.schedule == "one-cycle" or config.lr_warmup > 0


def _warmup_share(config: TrainConfig, at: float) -> float:
    if at >= config.lr_warmup:
        return 1.0
    return FIRST_RATE + (1 - FIRST_RATE) * at / config.lr_warmup
