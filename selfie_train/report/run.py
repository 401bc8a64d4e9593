"""report.html of one run: its figures, curves, and the images whose label it refurbished."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selfie_io.records.dataset import RecordDataset
from selfie_train.report.images import label_images, spread
from selfie_train.report.outcome import MATRIX_CLASSES, confusion_sections, outcome_galleries
from selfie_train.report.page import (
    Figure,
    Gallery,
    MatrixTable,
    Section,
    Table,
    figure_text,
    percent,
    write_page,
)
from selfie_train.report.plots import Curve, draw_curves
from selfie_train.runs.last_choices import read_sample_labels
from selfie_train.runs.result import TrainResult, restart_notes

GALLERY_SIZE = 40


def write_run_report(result: TrainResult, dataset: RecordDataset) -> None:
    """Write RUN/report.html."""
    config, summary = result.config, result.summary
    rates = ", ".join(f"{rate:.3f}" for rate in result.noise_rates)
    figures = [
        ("Best test error", figure_text(summary["best_test_error"], unit=" %")),
        ("Last test error", figure_text(summary["last_test_error"], unit=" %")),
        ("Test error, last ten epochs", figure_text(summary["last10_test_error"], unit=" %")),
        ("Label noise observed", percent(summary["observed_noise_rate"])),
        ("Noise rate assumed, by run", rates),
        ("Label precision of the clean samples", percent(summary["label_precision"])),
        ("Label recall of the clean samples", percent(summary["label_recall"])),
        ("Refurbished samples", percent(summary["refurbished_fraction"])),
        ("Refurbished labels that are right", percent(summary["refurbish_accuracy"])),
        ("Training speed", figure_text(summary["images_per_second"], 0, " images/s")),
    ]
    if len(result.log) < 10 * config.num_runs:
        figures = [row for row in figures if row[0] != "Test error, last ten epochs"]
    figures = [row for row in figures if row[1] not in ("n/a", "")]
    sections: list[Section] = [
        Table("Result", ("", "value"), figures, _note(result)),
        Figure("Curves", _curves(result)),
    ]
    labels = result.labels
    sections += confusion_sections(
        result.confusion, dataset.class_names, known_clean=labels.stored_known_clean
    )
    sections += label_changes(dataset, labels.given, result.refurbished_labels)
    if result.choices is not None:
        sections += outcome_galleries(dataset, read_sample_labels(result.folder))
    gallery = refurbished_gallery(dataset, labels.given, result.refurbished_labels, labels.clean)
    if gallery is not None:
        sections.append(gallery)
    write_page(
        result.folder / "report.html",
        f"{config.method} on {dataset.name}",
        f"{config.model}, noise {config.noise}, {config.num_runs} x {config.epochs} epochs.",
        sections,
    )


def _note(result: TrainResult) -> str:
    note = "What is not known, or what this method does not have, is left out."
    if result.summary["last_test_error"] is None:
        note += " The data set has no test split."
    elif not result.labels.stored_known_clean:
        note += (
            " The labels of this data set are not known to be clean, in the test split neither: the test "
            "error is measured on labels of which some may be wrong."
        )
    return "".join([note, *(f" {line[0].upper()}{line[1:]}." for line in restart_notes(result.log))])


def label_changes(
    dataset: RecordDataset, given: NDArray[np.int64], new: NDArray[np.int64] | None
) -> list[Section]:
    """The confusion matrix of given and refurbished labels (-1: none); nothing where there are none."""
    if new is None or dataset.num_classes > MATRIX_CLASSES:
        return []
    chosen = (new >= 0) & (given >= 0)
    if not chosen.any():
        return []
    classes = dataset.num_classes
    counts = np.bincount(given[chosen] * classes + new[chosen], minlength=classes**2).reshape(
        classes, classes
    )
    note = f"{int(chosen.sum()):,} training samples have a refurbished label."
    heading = "Confusion of given and refurbished labels"
    return [MatrixTable(heading, "given class", "refurbished class", dataset.class_names, counts, note)]


def refurbished_gallery(
    dataset: RecordDataset,
    given: NDArray[np.int64],
    new: NDArray[np.int64] | None,
    clean: NDArray[np.int64] | None,
) -> Gallery | None:
    """Images whose refurbished label (-1: none) is not the given one; None where there are none."""
    if new is None:
        return None
    changed = np.flatnonzero((new >= 0) & (given >= 0) & (new != given))
    if not len(changed):
        return None
    images = label_images(dataset, spread(changed, GALLERY_SIZE), given, new, clean)
    note = f"{len(changed):,} of {len(given):,} samples got another label; {len(images)} are shown."
    if clean is not None:
        right = int((new[changed] == clean[changed]).sum())
        note += f" {right:,} of the new labels are the true ones."
    return Gallery("Refurbished labels: given → new", images, note)


def _curves(result: TrainResult) -> str:
    rows = result.log
    x = list(range(1, len(rows) + 1))
    errors = [Curve("train error, given labels", x, [row["train_error"] for row in rows], 1)]
    if any(row["test_error"] is not None for row in rows):
        errors.insert(0, Curve("test error", x, [row["test_error"] for row in rows], 0))
    panels = [("Error", "%", errors)]
    shares = [
        Curve(name.replace("_", " "), x, [row[name] for row in rows], colour)
        for colour, name in enumerate(
            ("label_precision", "label_recall", "refurbished_fraction", "refurbish_accuracy")
        )
        if any(row[name] is not None for row in rows)
    ]
    if shares:
        panels.append(("Labels", "share", shares))
    return draw_curves(panels, "epoch, all runs in a row")
