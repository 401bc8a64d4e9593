"""The files that a finished run leaves in its folder: labels.csv, report.html and summary.json."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfie_io.records.atomic import atomic_path
from selfie_io.records.dataset import RecordDataset
from selfie_train.methods.method import Method
from selfie_train.runs.result import TrainResult


def write_results(
    result: TrainResult, dataset: RecordDataset, method: Method, *, say: Callable[[str], None]
) -> None:
    """Write labels.csv, report.html (or say how to get it), and last summary.json: then the run is done."""
    with atomic_path(result.folder / "labels.csv") as temporary:
        _write_labels(temporary, result, dataset, method)
    try:
        from selfie_train.report.run import write_run_report
    except ModuleNotFoundError as error:
        say(f"no report.html, {error.name} is missing: pip install 'selfie-io[report]'")
    else:
        write_run_report(result, dataset)
    with atomic_path(result.folder / "summary.json") as temporary:
        temporary.write_text(json.dumps(result.summary, indent=1) + "\n")


def _write_labels(path: Path, result: TrainResult, dataset: RecordDataset, method: Method) -> None:
    labels = result.labels
    columns: dict[str, list[Any]] = {
        "record_id": dataset.train.record_ids.tolist(),
        "index": list(range(len(labels.given))),
        "given_label": labels.given.tolist(),
        "refurbished_label": _blank_negative(result.refurbished_labels, len(labels.given)),
        "entropy": [""] * len(labels.given),
    }
    for name, values in method.sample_columns().items():
        columns[name] = values.tolist()
    columns["clean_label"] = [""] * len(labels.given) if labels.clean is None else labels.clean.tolist()
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _blank_negative(values: NDArray[np.int64] | None, count: int) -> list[Any]:
    return [""] * count if values is None else ["" if value < 0 else value for value in values.tolist()]
