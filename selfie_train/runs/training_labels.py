"""The labels a run trains on, what is known of the true ones, and the noise rate its method is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfie_io.labels.noise import inject_noise, transition_matrix
from selfie_io.records.dataset import RecordDataset
from selfie_io.records.overlay_reader import read_provenance
from selfie_train.config import TrainConfig, parse_noise

# Overlays that somebody made by changing labels on purpose: their rate may be told to a method.
INJECTED_KINDS = ("symmetric", "symmetry", "pair", "pairflip", "asymmetric", "matrix", "instance")
# Overlays of people, or of what a network believes: nobody knows their rate, it has to be estimated.
REAL_KINDS = ("human", "audit", "refurbished")


@dataclass(frozen=True)
class TrainingLabels:
    """Labels of the N training samples."""

    given: NDArray[np.int64]  # (N,) what the networks are told; -1: the record is left out
    clean: NDArray[np.int64] | None  # (N,) None where unknown
    noise_rate: float | None  # told to the method; None: to be estimated after warm-up
    observed_noise_rate: float | None  # share of given labels that are not the clean ones
    stored_known_clean: bool = True  # whether the labels in the record files are known to be right

    @property
    def left_out(self) -> bool:
        """Whether some records are left out of training."""
        return bool((self.given < 0).any())

    def is_given_correct(self, indices: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Whether the given label is the clean one, bool[b]; None where unknown."""
        return None if self.clean is None else self.given[indices] == self.clean[indices]


def training_labels(
    dataset: RecordDataset, config: TrainConfig, *, say: Callable[[str], None] | None = None
) -> TrainingLabels:
    """Read or make the labels that `config.noise` names; `say` is told in a line what stays unknown.

    The stored labels count as the truth only if the data set says that they are known to be clean.
    Raises ValueError if the overlay does not fit the data set or the noise does not fit its classes.
    """
    kind, value = parse_noise(config.noise)
    stored = dataset.train.labels
    known_clean = dataset.labels_known_clean
    changed_on_purpose = False
    if kind == "none":
        given = stored
    elif kind == "overlay":
        given = dataset.train.labels_from(str(value))
        made_by = read_provenance(dataset.path, str(value)).get("kind")
        changed_on_purpose = made_by in INJECTED_KINDS or (made_by not in REAL_KINDS and known_clean)
    else:
        matrix = transition_matrix(
            kind, dataset.num_classes, float(value or 0), class_names=dataset.class_names
        )
        given = inject_noise(stored, matrix, seed=config.seed, record_ids=dataset.train.record_ids)
        changed_on_purpose = True
    used = given >= 0
    if not used.any():
        raise ValueError(f"noise {config.noise} must leave a record to learn, got label -1 for all of them")
    if say is not None and not used.all():
        say(f"{np.count_nonzero(~used):,} of {len(given):,} records are left out: their label is -1")
    changed = float(np.mean(given[used] != stored[used]))
    clean = stored if known_clean and kind != "none" else None
    if say is not None and not known_clean:
        line = (
            f"the stored labels of {dataset.name} are not known to be clean: figures that need the true "
            "labels are n/a"
        )
        if "test" in dataset.splits:
            line += ", and the test error is measured on the stored labels"
        if changed_on_purpose:
            line += f"; the injected noise changes {changed:.1%} of the training labels"
        say(line)
    noise_rate = config.noise_rate if config.noise_rate != "auto" else changed if changed_on_purpose else None
    return TrainingLabels(given, clean, noise_rate, None if clean is None else changed, known_clean)
