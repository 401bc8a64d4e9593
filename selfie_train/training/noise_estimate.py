"""The noise rate of real labels, from what a network predicts while it still fits the clean ones.

Deep networks learn clean samples before they memorise noisy ones: at the end of warm-up a sample whose
predictions agree with each other but not with its given label is probably mislabelled. The estimate is the
share of those among the samples whose predictions agree. It is rough: too high where the network still errs
consistently, too low once it has memorised noise. Set `noise_rate` if you know it better.
It is used only where evidence that is out of sample gives no rate before the run: `rate_before_training`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from selfie_io.labels.history import LabelHistory
from selfie_io.records.dataset import RecordDataset
from selfie_train.methods.method import Scores
from selfie_train.training.distributed import ProcessGroup


class NoiseRateEstimate:
    """Watches the first network's predictions during warm-up."""

    def __init__(self, num_samples: int, num_classes: int, *, history_length: int, threshold: float) -> None:
        self.threshold = threshold
        self.history = LabelHistory(num_samples, num_classes, length=history_length)

    def record(self, scores: Scores) -> None:
        """Keep a batch's predictions."""
        self.history.record(scores.indices, scores.predicted[0])

    def rate(self, given_labels: NDArray[np.int64]) -> float:
        """Share of the consistently predicted samples whose given label (of N) is another class."""
        everything = np.arange(len(given_labels))
        seen = self.history.visits(everything) > 0
        certain = seen & (self.history.entropy(everything) <= self.threshold)
        if not certain.any():
            certain = seen
        return float(np.mean(self.history.majority(everything[certain]) != given_labels[certain]))

    def state_dict(self) -> dict[str, Any]:
        """The predictions kept."""
        return self.history.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state`."""
        self.history.load_state_dict(state)


def rate_before_training(
    dataset: RecordDataset, given: NDArray[np.int64], cache: Path, seed: int, group: ProcessGroup
) -> tuple[float | None, str]:
    """The rate by evidence that is out of sample, and where it comes from; or None and why there is none.

    The first process finds it, the others are told.
    """
    from selfie_train.evidence.training_rate import noise_rate_from_evidence

    rate, source = -1.0, ""
    if group.is_first:
        try:
            found = noise_rate_from_evidence(dataset, given, cache, seed=seed)
            rate, source = found.rate, str(found)
        except (ValueError, OSError) as error:  # too few records, weak evidence: the warm-up decides
            source = str(error)
    told = torch.tensor([rate if group.is_first else 0.0], dtype=torch.float64, device=group.device)
    rate = float(group.sum(told).item())
    return (None if rate < 0 else rate), source
