"""selfie-train run: train by one method; the settings of TrainConfig are the command line."""

from __future__ import annotations

from dataclasses import dataclass, fields

from selfie_train.commands.subcommand import DONE, TrainCommand
from selfie_train.config import TrainConfig


@dataclass(frozen=True, repr=False)
class Train(TrainConfig, TrainCommand):
    """Train by one method."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_method()

    def run(self) -> int:
        """Train from the start."""
        from selfie_train.training.loop import train

        train(TrainConfig(**{field.name: getattr(self, field.name) for field in fields(TrainConfig)}))
        return DONE
