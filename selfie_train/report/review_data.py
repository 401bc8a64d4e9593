"""What a review page is made of: the findings of an audit as arrays, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8] | Callable[[NDArray[np.int64]], NDArray[np.uint8]]


@dataclass(frozen=True)
class ReviewData:
    """n findings of an audit over k classes, in the order in which they are shown first.

    title: the heading of the page
    digest: of the data set and the labels under review; the browser keeps decisions under it
    class_names: k names
    records: training records of the whole data set
    estimated_wrong: wrong labels expected among all records; None takes the sum of the findings' scores
    index, record_id, given, suggested: integers (n,)
    name: where each record came from, n strings or None; None where nothing is known
    score: float (n,) in 0..1, the probability that the given label is wrong
    flagged: bool (n,)
    top_classes, top_probabilities: (n, m), the m likeliest classes (three, as a rule), likeliest first
    sources: what each source of evidence says of each finding in a word or two ("" where it finds nothing)
    images: uint8 (n, C, H, W), or a function from positions in the split, int64 (b,), to uint8 (b, C, H, W),
        such as `split.images`, which also gives the neighbours' images
    neighbours, neighbour_labels: (n, m), positions in the split of the nearest records, nearest first, and
        their given labels; -1 where there is no neighbour
    duplicates: what `check` says of each finding, "" where it says nothing
    """

    title: str
    digest: str
    class_names: Sequence[str]
    records: int
    index: NDArray[np.int64]
    record_id: NDArray[np.int64]
    given: NDArray[np.int64]
    suggested: NDArray[np.int64]
    score: NDArray[np.float64]
    flagged: NDArray[np.bool_]
    top_classes: NDArray[np.int64]
    top_probabilities: NDArray[np.float64]
    images: Images
    name: Sequence[str | None] | None = None
    estimated_wrong: float | None = None
    sources: Mapping[str, Sequence[str]] = field(default_factory=dict)
    neighbours: NDArray[np.int64] | None = None
    neighbour_labels: NDArray[np.int64] | None = None
    duplicates: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for lengths, shapes or labels that do not fit."""
        count, classes = len(self.index), len(self.class_names)
        if classes < 1:
            raise ValueError("class_names must name at least one class, got none")
        for field_name in ("record_id", "given", "suggested", "score", "flagged"):
            _check_shape(field_name, np.shape(getattr(self, field_name)), (count,))
        if np.ndim(self.top_classes) != 2:
            raise ValueError(f"top_classes must have 2 dimensions, got shape {np.shape(self.top_classes)}")
        _check_shape("top_classes", np.shape(self.top_classes), (count, np.shape(self.top_classes)[1]))
        _check_shape("top_probabilities", np.shape(self.top_probabilities), np.shape(self.top_classes))
        for field_name in ("given", "suggested", "top_classes"):
            _check_range(field_name, getattr(self, field_name), 0, classes)
        if count and not (np.min(self.score) >= 0 and np.max(self.score) <= 1):
            raise ValueError("score must be in 0..1, the probability that the given label is wrong")
        if count and (np.min(self.index) < 0 or len(np.unique(self.index)) != count):
            raise ValueError("index must hold distinct positions from 0 on")
        if self.records < count:
            raise ValueError(
                f"records must count the whole data set, got {self.records} for {count} findings"
            )
        texts = {"name": self.name, "duplicates": self.duplicates}
        for field_name, values in {
            **texts,
            **{f"sources[{key!r}]": v for key, v in self.sources.items()},
        }.items():
            if values is not None and len(values) != count:
                raise ValueError(
                    f"{field_name} must have one text for each of {count} findings, got {len(values)}"
                )
        if (self.neighbours is None) != (self.neighbour_labels is None):
            raise ValueError("neighbours and neighbour_labels go together: one is missing")
        if self.neighbours is not None and self.neighbour_labels is not None:
            _check_shape("neighbour_labels", np.shape(self.neighbour_labels), np.shape(self.neighbours))
            _check_shape("neighbours", np.shape(self.neighbours)[:1], (count,))
            _check_range("neighbour_labels", self.neighbour_labels, -1, classes)
        if not callable(self.images) and (np.ndim(self.images) != 4 or len(self.images) != count):
            raise ValueError(f"images must be ({count}, C, H, W), got shape {np.shape(self.images)}")

    def finding_images(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The images of some findings, uint8 (b, C, H, W)."""
        if callable(self.images):
            return self.images(np.ascontiguousarray(np.asarray(self.index, np.int64)[rows]))
        return self.images[rows]


def _check_shape(name: str, got: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if got != wanted:
        raise ValueError(f"{name} must have the shape {wanted}, got {got}")


def _check_range(name: str, values: NDArray[np.int64], low: int, high: int) -> None:
    array = np.asarray(values)
    if array.size and not (
        np.issubdtype(array.dtype, np.integer) and array.min() >= low and array.max() < high
    ):
        raise ValueError(
            f"{name} must hold integers in {low}..{high - 1}, got {array.dtype} up to {array.max()}"
        )
