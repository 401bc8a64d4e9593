"""What may be wrong with a data set beside its labels: duplicates, leaks, constant images, small classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from selfie_io.records.dataset import RecordDataset
from selfie_io.records.duplicates import (
    NEAR,
    Duplicates,
    ShowProgress,
    find_duplicates,
    images_of,
    no_progress,
)

FEW_RECORDS = 10  # a class with fewer is small, and so is one with less than a tenth of the median class


@dataclass(frozen=True)
class DatasetCheck:
    """What `check_dataset` found. Records are counted over all splits, in the order of `dataset.splits`.

    labels: int64, of all records; -1 where a record is left out
    small_classes: (class, training records) of each small class
    """

    dataset: RecordDataset
    labels: npt.NDArray[np.int64]
    duplicates: Duplicates
    small_classes: list[tuple[int, int]]

    def place(self, position: int) -> tuple[str, int]:
        """The split and index of a record."""
        for name, split in self.dataset.splits.items():
            if position < len(split):
                return name, position
            position -= len(split)
        raise IndexError(f"a position must be below the number of records, got {position} more")

    @property
    def labels_differ(self) -> npt.NDArray[np.bool_]:
        """Which pairs have two labels, (m,): one of them is wrong, wherever the image has one class."""
        one, two = self.labels[self.duplicates.first], self.labels[self.duplicates.second]
        return np.asarray((one != two) & (one >= 0) & (two >= 0))

    @property
    def leaks(self) -> npt.NDArray[np.bool_]:
        """Which pairs lie in two splits, (m,): a test that was learnt."""
        ends = np.cumsum([len(split) for split in self.dataset.splits.values()])
        split_of = [np.searchsorted(ends, side, side="right") for side in self._sides]
        return np.asarray(split_of[0] != split_of[1])

    @property
    def _sides(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        return self.duplicates.first, self.duplicates.second

    def describe(self, position: int) -> dict[str, Any]:
        """A record as JSON says it: split, index, record_id, name, label, class."""
        name, index = self.place(position)
        split, label = self.dataset.splits[name], int(self.labels[position])
        return {
            "split": name,
            "index": index,
            "record_id": int(split.record_ids[index]),
            "name": split.names([index])[0],
            "label": label,
            "class": self.dataset.class_names[label] if label >= 0 else None,
        }

    def called(self, position: int) -> str:
        """A record as a message calls it: its name, or else its split and index, and its class."""
        told = self.describe(position)
        name = told["name"] or f"{told['split']} record {told['index']}"
        return f"{name} ({told['class'] if told['class'] is not None else 'left out'})"

    def remarks(self) -> dict[int, str]:
        """What is to be said of a training record, by its index; the review page shows it."""
        said: dict[int, list[str]] = {}
        train = len(self.dataset.train)
        exact, leaks = self.duplicates.exact, self.leaks
        for pair, (one, two) in enumerate(zip(self._sides[0].tolist(), self._sides[1].tolist(), strict=True)):
            kind = "exact duplicate" if exact[pair] else "near duplicate"
            kind += " in another split" if leaks[pair] else ""
            for own, other in ((one, two), (two, one)):
                if own < train:
                    said.setdefault(own, []).append(f"{kind}: {self.called(other)}")
        for position in self.duplicates.constant.tolist():
            said.setdefault(position, []).append("constant image")
        return {index: "; ".join(texts[:5]) for index, texts in said.items() if index < train}

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON holds it."""
        found = self.duplicates
        differ, leaks = self.labels_differ, self.leaks
        return {
            "folder": str(self.dataset.path),
            "records": {name: len(split) for name, split in self.dataset.splits.items()},
            "duplicates": [
                {
                    "kind": "exact" if found.exact[pair] else "near",
                    "difference": round(float(found.difference[pair]), 4),
                    "labels_differ": bool(differ[pair]),
                    "leak": bool(leaks[pair]),
                    "records": [self.describe(int(side[pair])) for side in self._sides],
                }
                for pair in range(len(found.first))
            ],
            "constant": [self.describe(position) for position in found.constant.tolist()],
            "nearly_constant": [
                self.describe(position) for position in np.setdiff1d(found.flat, found.constant).tolist()
            ],
            "small_classes": [
                {"label": label, "class": self.dataset.class_names[label], "records": count}
                for label, count in self.small_classes
            ],
        }


def check_dataset(
    dataset: RecordDataset,
    labels: npt.NDArray[np.int64] | None = None,
    *,
    near: float = NEAR,
    progress: ShowProgress = no_progress,
) -> DatasetCheck:
    """Compare all records of a data set with each other.

    labels: int64 (N,) of the training split instead of the stored ones
    near, progress: as in `find_duplicates`
    """
    given = {name: split.labels for name, split in dataset.splits.items()}
    if labels is not None:
        given["train"] = labels
    count, images = images_of(list(dataset.splits.values()))
    duplicates = find_duplicates(count, images, near=near, progress=progress)
    kept = given["train"][given["train"] >= 0]
    sizes = np.bincount(kept, minlength=dataset.num_classes)
    few = (sizes < FEW_RECORDS) | (sizes < np.median(sizes) / 10)
    small = [(int(label), int(sizes[label])) for label in np.flatnonzero(few)]
    return DatasetCheck(dataset, np.concatenate(list(given.values())), duplicates, small)
