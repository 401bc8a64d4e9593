"""What a run says of the records that it trained on: its networks in eval mode, and its statistics."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfie_train.config import TrainConfig
from selfie_train.evidence.features import Progress
from selfie_train.evidence.source import Evidence
from selfie_train.training.checkpoint import latest_checkpoint
from selfie_train.training.components import Components
from selfie_train.training.continuing import MISFITS, misfit

BATCH = 256


@dataclass(frozen=True)
class RunEvidence:
    """The evidence, which is in sample, and the statistics of each record, float64 (N,) or int64 (N,)."""

    evidence: Evidence
    statistics: dict[str, NDArray[Any]]


def run_evidence(config: TrainConfig, folder: Path, progress: Progress) -> RunEvidence:
    """Look at the training images of a run with its networks as they are in its last checkpoint.

    Raises ValueError if there is no whole checkpoint or it does not fit, OSError for what cannot be read.
    """
    checkpoint, defects = latest_checkpoint(folder / "checkpoints")
    if checkpoint is None:
        raise ValueError("; ".join(defects) or f"{folder} has no checkpoint")
    components = Components(config)
    try:
        components.load_state(checkpoint)
    except MISFITS as error:
        raise misfit(checkpoint, folder, error) from error
    split = components.dataset.train
    shares = np.empty((len(split), components.dataset.num_classes), np.float32)
    with progress("run", len(split)) as advance:
        for begin in range(0, len(split), BATCH):
            rows = np.arange(begin, min(begin + BATCH, len(split)))
            images = components.normalised(rows)
            if config.channels_last:
                images = images.permute(0, 2, 3, 1)
            # The mean over each image and its mirror image.
            sideways = 2 if config.channels_last else 3
            both = [components.learner.probabilities(view) for view in (images, images.flip(sideways))]
            shares[rows] = (both[0] + both[1]) / 2
            advance(len(rows))
    digest = hashlib.sha256(checkpoint.path.read_bytes()).hexdigest()
    made_from = {"run": folder.name, "method": config.method, "model": config.model}
    statistics = components.statistics.columns()
    return RunEvidence(Evidence("run", digest, False, shares, made_from), statistics)
