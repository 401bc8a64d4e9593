"""selfie-train run: train by one method; the settings of TrainConfig are the command line."""

from __future__ import annotations

from dataclasses import dataclass, fields

from selfie_train.commands.subcommand import DONE, TrainCommand
from selfie_train.config import TrainConfig


@dataclass(frozen=True, repr=False)
class Train(TrainConfig, TrainCommand):
    """Train by one method, from the start.

    A setting at auto is chosen when the run starts, from the recipe, the data and the machine; the run says
    what it chose. RUN gets log.csv, labels.csv, summary.json, report.html and checkpoints; after Ctrl-C
    `selfie-train resume RUN` goes on.
    """

    EXAMPLES = (
        "selfie-train run --dataset data/digits --method selfie --noise pair:0.4",
        "selfie-train run --dataset data/cifar10 --noise overlay:worse_label --epochs 20 --out runs/worse",
        "selfie-train run --dataset data/cifar10 --method gce --method-options q=0.5 --device cuda",
        "selfie-train run --dataset data/cifar10 --recipe paper --model densenet-25-12 --noise pair:0.4",
    )
    GROUPS = {  # noqa: RUF012
        "data": ("dataset", "shape", "noise", "augment", "seed"),
        "method": (
            "method",
            "method_options",
            "recipe",
            "variant",
            "noise_rate",
            "warmup",
            "history",
            "threshold",
            "restarts",
            "reuse_refurbished",
            "two_pass",
            "ramp",
        ),
        "network": ("model", "ema", "label_smoothing", "sync_batchnorm"),
        "schedule": (
            "epochs",
            "batch_size",
            "schedule",
            "lr",
            "lr_warmup",
            "optimizer",
            "momentum",
            "weight_decay",
            "early_stopping",
            "patience",
        ),
        "machine": ("device", "precision", "channels_last", "compile", "timeout"),
        "output": ("out", "checkpoint_batches", "tensorboard"),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_method()

    def run(self) -> int:
        """Train from the start."""
        from selfie_train.training.loop import train

        train(TrainConfig(**{field.name: getattr(self, field.name) for field in fields(TrainConfig)}))
        return DONE
