"""What a label overlay did to the labels it was made from."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from selfie_io.labels.transition import observed_matrix
from selfie_io.records.dataset import RecordDataset
from selfie_io.records.overlay_reader import load_overlay


def describe_overlay(dataset: RecordDataset, name: str) -> dict[str, Any]:
    """Tell kind, asked and observed noise rate, of all and of each class, and observed matrix, for
    JSON.

    The rate of a class without records is None. Raises FileNotFoundError if there is no such
    overlay, ValueError if it is damaged or was made from other labels.
    """
    noisy = dataset.train.labels_from(name)
    told = load_overlay(dataset.path, name)[0]
    matrix = observed_matrix(dataset.train.labels, noisy, dataset.num_classes)
    members = np.bincount(dataset.train.labels, minlength=dataset.num_classes)
    return {
        "name": name,
        "kind": told.kind,
        "rate": told.rate,
        "observed_noise_rate": told.observed_noise_rate,
        "noise_rate_of_class": [
            1 - kept if count else None
            for kept, count in zip(matrix.diagonal().tolist(), members, strict=True)
        ],
        "observed_matrix": matrix.tolist(),
    }


def print_overlay(facts: Mapping[str, Any], class_names: Sequence[str]) -> None:
    """Print what `describe_overlay` tells: a line a class, with its noise rate and where most of it
    goes.
    """
    from rich.table import Table

    from selfie_io.rich_console import RichConsole

    asked = "" if facts["rate"] is None else f", {facts['rate']:.2%} asked"
    print(f"{facts['name']}: {facts['observed_noise_rate']:.2%} of the labels changed{asked}")
    table = Table("class", "changed", "most often to")
    for label, (name, rate, row) in enumerate(
        zip(class_names, facts["noise_rate_of_class"], facts["observed_matrix"], strict=True)
    ):
        others = sorted(
            (other for other in range(len(row)) if other != label and row[other]), key=lambda j: -row[j]
        )
        targets = ", ".join(f"{class_names[other]} {row[other]:.2%}" for other in others[:3])
        table.add_row(name, "no records" if rate is None else f"{rate:.2%}", targets)
    RichConsole().print(table)
