"""What a label overlay did to the labels it was made from."""

from typing import Any

import numpy as np

from selfie_io.labels.transition import observed_matrix
from selfie_io.records.dataset import RecordDataset
from selfie_io.records.overlays import load_overlay


def describe_overlay(dataset: RecordDataset, name: str) -> dict[str, Any]:
    """Tell kind, asked and observed noise rate, of all and of each class, and observed matrix, for JSON.

    The rate of a class without records is None. Raises FileNotFoundError if there is no such overlay,
    ValueError if it is damaged or was made from other labels.
    """
    noisy = dataset.train.labels_from(name)
    told = load_overlay(dataset.path, name)[0]
    matrix = observed_matrix(dataset.train.labels, noisy, dataset.num_classes)
    members = np.bincount(dataset.train.labels, minlength=dataset.num_classes)
    return {
        "name": name,
        "kind": told.provenance.get("kind"),
        "rate": told.provenance.get("rate"),
        "observed_noise_rate": told.observed_noise_rate,
        "noise_rate_of_class": [
            1 - kept if count else None
            for kept, count in zip(matrix.diagonal().tolist(), members, strict=True)
        ],
        "observed_matrix": matrix.tolist(),
    }
