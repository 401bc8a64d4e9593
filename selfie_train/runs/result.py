"""How a run ends: with a TrainResult, by Divergence, or Stopped."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from selfie_io.records.plain_files import open_plain_text
from selfie_train.config import TrainConfig
from selfie_train.runs.confusion import Confusion
from selfie_train.runs.log import Row

if TYPE_CHECKING:
    from torch import nn

    from selfie_train.runs.training_labels import TrainingLabels


class Divergence(RuntimeError):
    """The loss or a weight is no longer finite; the message names the last good checkpoint."""


class Stopped(Exception):
    """A signal ended the run after a whole batch; the message names the checkpoint to go on from."""


@dataclass(frozen=True)
class TrainResult:
    """A finished run."""

    folder: Path  # of the run
    config: TrainConfig  # its settings
    log: list[Row]  # one row an epoch, as in log.csv
    networks: list[nn.Module]  # trained; two for Co-teaching
    labels: TrainingLabels  # given and, where known, clean
    refurbished_labels: NDArray[np.int64] | None  # (N,), -1 where none; None for a method without
    noise_rates: list[float]  # what the method assumed in each run
    images_per_second: float | None  # None where nothing was trained
    selected_epoch: int | None = None  # from 1, whose weights early stopping kept
    choices: NDArray[np.uint8] | None = None  # (N,) codes of CHOICES: what was last done with each sample
    confusion: Confusion = field(default_factory=lambda: Confusion(None, None))  # of the test predictions

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The figures of summary.json; errors in percent, None where unknown."""
        errors = [row["test_error"] for row in self.log if row["test_error"] is not None]
        last = self.log[-1]
        last_run = [row["test_error"] for row in self.log if row["run"] == last["run"]] if errors else []
        config = self.config
        return {
            "best_test_error": min(errors, default=None),
            "last_test_error": last["test_error"],
            "last10_test_error": float(np.mean(last_run[-10:])) if last_run else None,
            "label_precision": last["label_precision"],
            "label_recall": last["label_recall"],
            "refurbish_accuracy": last["refurbish_accuracy"],
            "refurbished_fraction": last["refurbished_fraction"],
            "images_per_second": self.images_per_second,
            "epochs": len(self.log),
            **self._selected,
            "runs": config.num_runs,
            "noise_rates": self.noise_rates,
            "observed_noise_rate": self.labels.observed_noise_rate,
            "labels_known_clean": self.labels.stored_known_clean,
            "dataset": Path(config.dataset).name,
            "method": config.method,
            "model": config.model,
            "noise": config.noise,
            "variant": config.variant,
            "seed": config.seed,
        }

    @property
    def _selected(self) -> dict[str, Any]:
        if self.selected_epoch is None:
            return {}
        error = self.log[self.selected_epoch - 1]["test_error"]
        return {"selected_epoch": self.selected_epoch, "selected_test_error": error}


def restart_notes(log: list[Row]) -> list[str]:
    """A line for each restart after which the label precision ended lower than before it."""
    ends = {row["run"]: row["label_precision"] for row in log}  # the last row of each run counts
    notes = []
    for run, after in ends.items():
        before = ends.get(run - 1)
        if before is not None and after is not None and after < before:
            notes.append(
                f"restart {run} lowered the label precision from {before:.3f} to {after:.3f}: "
                f"use fewer restarts (--restarts {run - 1})"
            )
    return notes


def read_refurbished(folder: Path) -> NDArray[np.int64]:
    """The refurbished labels int64[N] in a finished run's labels.csv, -1 where none; OSError if missing."""
    path = folder / "labels.csv"
    try:
        with open_plain_text(path) as file:
            rows = csv.DictReader(file)
            return np.array([int(row["refurbished_label"] or -1) for row in rows], dtype=np.int64)
    except (ValueError, KeyError, TypeError, OverflowError, csv.Error) as error:
        raise ValueError(f"{path}: must have integers in a column refurbished_label: {error}") from error
