"""The metrics of one epoch: summed batch by batch, reported as a row of log.csv."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from selfie_train.methods.method import Choice, Method, Scores
from selfie_train.runs.label_metrics import (
    SelectionCounts,
    mean_known,
    refurbish_accuracy,
    refurbished_fraction,
)
from selfie_train.runs.log import Row
from selfie_train.runs.training_labels import TrainingLabels
from selfie_train.training.checkpoint_fit import checked_counts, checked_sums
from selfie_train.training.distributed import ProcessGroup


class EpochMetrics:
    """Sums over the epoch so far, in this process."""

    def __init__(self, group: ProcessGroup, labels: TrainingLabels, method: Method) -> None:
        self.group, self.labels, self.method = group, labels, method
        # Loss and errors against the given labels, samples.
        self.sums = torch.zeros(3, dtype=torch.float64, device=group.device)
        self.selections = [SelectionCounts() for _ in range(method.num_networks)]

    def add(self, sums: Tensor, scores: Scores | None, choices: list[Choice] | None) -> None:
        """Count a batch: this process's sums float64[3], everybody's scores and choices."""
        self.sums += sums
        if scores is None or choices is None:
            return
        correct = self.labels.is_given_correct(scores.indices)
        if correct is not None:
            for counts, choice in zip(self.selections, choices, strict=True):
                if choice.clean is not None:
                    counts.add(choice.clean, correct)

    def is_finite(self) -> bool:
        """Whether the loss is a finite number in all processes."""
        return not self.group.any(not math.isfinite(self.sums[0].item()))

    def means(self) -> tuple[float, float]:
        """Loss and error (percent) against the given labels in this process."""
        loss, errors, seen = self.sums.tolist()
        return loss / max(seen, 1), 100 * errors / max(seen, 1)

    def label_precisions(self) -> list[float | None]:
        """Of each network's selection."""
        return [counts.label_precision for counts in self.selections]

    def row(self, *, noise_rate: float | None, **known: Any) -> Row:
        """The row of log.csv, of all processes; `known` are its columns that are not counted here."""
        loss, errors, seen = self.group.sum(self.sums).tolist()
        refurbished = self.method.refurbished_labels()
        return {
            **known,
            "train_loss": loss / max(seen, 1),
            "train_error": 100 * errors / max(seen, 1),
            "noise_rate": noise_rate,
            "label_precision": mean_known(self.label_precisions()),
            "label_recall": mean_known(counts.label_recall for counts in self.selections),
            "refurbished_fraction": refurbished_fraction(refurbished),
            "refurbish_accuracy": refurbish_accuracy(refurbished, self.labels.clean),
        }

    def state(self) -> dict[str, Any]:
        """The sums of all processes as JSON values; all of them must ask."""
        return {
            "sums": self.group.sum(self.sums).tolist(),
            "selections": [dataclasses.asdict(counts) for counts in self.selections],
        }

    def load_state(self, values: dict[str, Any]) -> None:
        """Restore `state`: the first process takes the sums of all, the others begin at zero.

        Raises ValueError for values that are none.
        """
        sums = checked_sums(values["sums"])
        names = [field.name for field in dataclasses.fields(SelectionCounts)]
        counts = checked_counts(values["selections"], names, len(self.selections))
        if self.group.is_first:
            self.sums += self.sums.new_tensor(sums)
        self.selections = [SelectionCounts(**one) for one in counts]
