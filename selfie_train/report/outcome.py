"""What became of a run's training samples, as images, and the confusion matrices of its test predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from selfie_io.records.dataset import RecordDataset
from selfie_train.report.images import png_base64, spread
from selfie_train.report.page import Gallery, GalleryImage, MatrixTable, Section, Table
from selfie_train.runs.confusion import Confusion
from selfie_train.runs.last_choices import CHOICES, DROPPED, KEPT, REFURBISHED, UNLABELLED, SampleLabels

MATRIX_CLASSES = 30
CONFUSIONS_LISTED = 20
ROW_IMAGES = 16  # of what was kept, dropped or refurbished
_MEANING = {
    KEPT: "learnt with their given label",
    REFURBISHED: "learnt with another label",
    DROPPED: "not learnt",
    UNLABELLED: "learnt without their label",
}


def outcome_galleries(dataset: RecordDataset, labels: SampleLabels, where: str = "") -> list[Section]:
    """A row of images for each thing that the method did with samples, as it last saw them."""
    sections: list[Section] = []
    chosen = int((labels.choices > 0).sum())
    for code, meaning in _MEANING.items():
        members = np.flatnonzero((labels.choices == code) & (labels.given >= 0))
        if not len(members):
            continue
        # Of the refurbished, those are shown whose new label is known: SELFIE tells it.
        known = members[labels.refurbished[members] >= 0] if code == REFURBISHED else members
        shown = spread(known if len(known) else members, ROW_IMAGES)
        note = f"{len(members):,} of {chosen:,} samples were {meaning} in the last epoch"
        if labels.clean is not None:
            right = int((labels.given[members] == labels.clean[members]).sum())
            note += f"; the given label of {right:,} of them is the true one"
        heading = CHOICES[code].capitalize() + (f": {where}" if where else "")
        sections.append(Gallery(heading, _images(dataset, shown, labels, code), f"{note}.", small=True))
    return sections


def _images(
    dataset: RecordDataset, indices: NDArray[np.int64], labels: SampleLabels, code: int
) -> list[GalleryImage]:
    names = dataset.class_names
    images = []
    for index, pixels in zip(indices.tolist(), dataset.train.images(indices), strict=True):
        given, new = int(labels.given[index]), int(labels.refurbished[index])
        suggested, verdict = "", ""
        if code == REFURBISHED and new >= 0:
            suggested = names[new]
            verdict = "" if labels.clean is None else "right" if new == labels.clean[index] else "wrong"
        elif labels.clean is not None:  # to keep a right label is right, to drop it is not
            verdict = "right" if (given == labels.clean[index]) == (code == KEPT) else "wrong"
        png, detail = png_base64(pixels), f"record {dataset.train.record_ids[index]}"
        images.append(GalleryImage(png, names[given], suggested, verdict, detail))
    return images


def confusion_sections(
    confusion: Confusion, class_names: Sequence[str], *, known_clean: bool, where: str = ""
) -> list[Section]:
    """The test predictions with the last weights, and with the best where those are others."""
    last, best = confusion.last, confusion.best
    if last is None:
        return []
    truth = "true class" if known_clean else "given class"
    told = f": {where}" if where else ""
    same = best is None or np.array_equal(best, last)
    which = "last epoch, which is the best" if same and best is not None else "last epoch"
    sections = _one(f"Test predictions, {which}{told}", last, class_names, truth)
    if best is not None and not same:
        sections += _one(f"Test predictions, best epoch{told}", best, class_names, truth)
    return sections


def _one(heading: str, counts: NDArray[np.int64], names: Sequence[str], truth: str) -> list[Section]:
    total, right = int(counts.sum()), int(np.trace(counts))
    note = f"{right:,} of {total:,} predictions are the {truth}."
    if len(names) <= MATRIX_CLASSES:
        return [MatrixTable(heading, truth, "predicted class", names, counts, note)]
    wrong = counts * ~np.eye(len(counts), dtype=bool)
    order = np.argsort(-wrong, axis=None, kind="stable")[:CONFUSIONS_LISTED]
    sizes = counts.sum(axis=1)
    rows = [
        (
            names[label],
            names[predicted],
            f"{wrong[label, predicted]:,}",
            f"{wrong[label, predicted] / sizes[label]:.1%}",
        )
        for label, predicted in zip(
            *(place.tolist() for place in np.unravel_index(order, wrong.shape)), strict=True
        )
        if wrong[label, predicted]
    ]
    columns = (truth, "predicted class", "images", f"of the {truth}")
    return [Table(heading, columns, rows, f"{note} The most frequent confusions:")] if rows else []
