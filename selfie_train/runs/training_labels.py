"""The labels a run trains on, what is known of the clean ones, and the noise rate its method is told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfie_io.labels.noise import inject_noise, transition_matrix
from selfie_io.records.dataset import RecordDataset
from selfie_io.records.overlay_reader import read_provenance
from selfie_train.config import TrainConfig, parse_noise

# Overlays whose noise people made: a method is not told their rate, it has to be estimated.
REAL_NOISE_KINDS = ("human",)


@dataclass(frozen=True)
class TrainingLabels:
    """Labels of the N training samples."""

    given: NDArray[np.int64]  # (N,) what the networks are told
    clean: NDArray[np.int64] | None  # (N,) None where unknown
    noise_rate: float | None  # told to the method; None: to be estimated after warm-up
    observed_noise_rate: float | None  # share of given labels that are not the clean ones

    def is_given_correct(self, indices: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Whether the given label is the clean one, bool[b]; None where unknown."""
        return None if self.clean is None else self.given[indices] == self.clean[indices]


def training_labels(dataset: RecordDataset, config: TrainConfig) -> TrainingLabels:
    """Read or make the labels that `config.noise` names.

    Raises ValueError if the overlay does not fit the data set or the noise does not fit its classes.
    """
    kind, value = parse_noise(config.noise)
    stored = dataset.train.labels
    synthetic = True
    clean: NDArray[np.int64] | None = stored
    if kind == "none":
        given, clean = stored, None
    elif kind == "overlay":
        given = dataset.train.labels_from(str(value))
        synthetic = read_provenance(dataset.path, str(value)).get("kind") not in REAL_NOISE_KINDS
    else:
        matrix = transition_matrix(kind, dataset.num_classes, float(value or 0))
        given = inject_noise(stored, matrix, seed=config.seed, record_ids=dataset.train.record_ids)
    observed = None if clean is None else float(np.mean(given != clean))
    noise_rate = config.noise_rate if config.noise_rate != "auto" else observed if synthetic else None
    return TrainingLabels(given, clean, noise_rate, observed)
