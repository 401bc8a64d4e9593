"""The files that a finished run leaves in its folder: labels.csv, report.html and summary.json."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfie_io.records.atomic import atomic_path
from selfie_io.records.csv_cells import harmless_row
from selfie_io.records.dataset import RecordDataset
from selfie_train.methods.method import Method
from selfie_train.report.attempt import try_report
from selfie_train.runs.confusion import write_confusion
from selfie_train.runs.last_choices import CHOICES
from selfie_train.runs.result import TrainResult, restart_notes


def write_results(
    result: TrainResult,
    dataset: RecordDataset,
    method: Method,
    *,
    statistics: Mapping[str, NDArray[Any]] | None = None,
    say: Callable[[str], None],
) -> None:
    """Write labels.csv, confusion.csv, then summary.json, with which the run is done, and last report.html.

    `statistics` are more columns of labels.csv, each of N values: those of `TrainingStatistics`. `say` is
    told where everything lies. A report that cannot be drawn is a line, not a failed run.
    """
    with atomic_path(result.folder / "labels.csv") as temporary:
        _write_labels(temporary, result, dataset, method, statistics)
    if result.confusion.last is not None:
        write_confusion(result.folder, result.confusion, dataset.class_names)
    with atomic_path(result.folder / "summary.json") as temporary:
        temporary.write_text(json.dumps(result.summary, indent=1) + "\n")
    for note in restart_notes(result.log):
        say(note)
    report = result.folder / "report.html"

    def draw() -> None:
        from selfie_train.report.run import write_run_report

        write_run_report(result, dataset)

    drawn = try_report(report, draw, say=say)
    say(_last_line(result, report if drawn else None))


def _last_line(result: TrainResult, report: Path | None) -> str:
    """What came out, where it lies, and what to do next."""
    best, last = result.summary["best_test_error"], result.summary["last_test_error"]
    errors = "n/a (no test split)" if last is None else f"last {last:.2f} %, best {best:.2f} %"
    shown = "" if report is None else f"; report: {report}"
    folder = shlex.quote(str(result.folder))
    return (
        f"done: test error {errors}; results: {result.folder}{shown}; "
        f"next: selfie-train audit {folder} --out {folder}-audit"
    )


def _write_labels(
    path: Path,
    result: TrainResult,
    dataset: RecordDataset,
    method: Method,
    statistics: Mapping[str, NDArray[Any]] | None,
) -> None:
    labels, names = result.labels, dataset.class_names
    refurbished = _blank_negative(result.refurbished_labels, len(labels.given))
    columns: dict[str, list[Any]] = {
        "record_id": dataset.train.record_ids.tolist(),
        "index": list(range(len(labels.given))),
        "given_label": labels.given.tolist(),
        "given_class": ["" if label < 0 else names[label] for label in labels.given.tolist()],
        "refurbished_label": refurbished,
        "refurbished_class": ["" if label == "" else names[label] for label in refurbished],
        "entropy": [""] * len(labels.given),
    }
    if result.choices is not None:
        columns["choice"] = [CHOICES[code] for code in result.choices.tolist()]
    for name, values in method.sample_columns().items():
        columns[name] = values.tolist()
    for name, values in (statistics or {}).items():
        columns[name] = _shown(values)
        if name == "other_label":
            columns["other_class"] = ["" if label < 0 else names[label] for label in values.tolist()]
    columns["clean_label"] = [""] * len(labels.given) if labels.clean is None else labels.clean.tolist()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(harmless_row(columns))
        writer.writerows(map(harmless_row, zip(*columns.values(), strict=True)))


def _shown(values: NDArray[Any]) -> list[Any]:
    """Counts and classes as they are, -1 and NaN blank, other numbers to six decimals."""
    if values.dtype.kind == "f":
        return ["" if np.isnan(value) else round(value, 6) for value in values.tolist()]
    return ["" if value < 0 else value for value in values.tolist()]


def _blank_negative(values: NDArray[np.int64] | None, count: int) -> list[Any]:
    return [""] * count if values is None else ["" if value < 0 else value for value in values.tolist()]
