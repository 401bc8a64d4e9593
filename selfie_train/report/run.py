"""report.html of one run: its figures, curves, and the images whose label it refurbished."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selfie_io.records.dataset import RecordDataset
from selfie_train.report.images import label_images, spread
from selfie_train.report.page import Figure, Gallery, Section, Table, figure_text, percent, write_page
from selfie_train.report.plots import Curve, draw_curves
from selfie_train.runs.result import TrainResult

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
    sections: list[Section] = [
        Table("Result", ("", "value"), figures, "n/a: not known, or this method has no such figure."),
        Figure("Curves", _curves(result)),
    ]
    labels = result.labels
    gallery = refurbished_gallery(dataset, labels.given, result.refurbished_labels, labels.clean)
    if gallery is not None:
        sections.append(gallery)
    write_page(
        result.folder / "report.html",
        f"{config.method} on {dataset.name}",
        f"{config.model}, noise {config.noise}, {config.num_runs} x {config.epochs} epochs.",
        sections,
    )


def refurbished_gallery(
    dataset: RecordDataset,
    given: NDArray[np.int64],
    new: NDArray[np.int64] | None,
    clean: NDArray[np.int64] | None,
) -> Gallery | None:
    """Images whose refurbished label (-1: none) is not the given one; None where there are none."""
    if new is None:
        return None
    changed = np.flatnonzero((new >= 0) & (new != given))
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
    errors = [
        Curve("test error", x, [row["test_error"] for row in rows], 0),
        Curve("train error, given labels", x, [row["train_error"] for row in rows], 1),
    ]
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
