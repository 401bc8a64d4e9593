"""What a finished run leaves: TrainResult in memory; summary.json, labels.csv, report.html in its folder."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from selfie_io.records.atomic import atomic_path
from selfie_io.records.dataset import RecordDataset
from selfie_train.config import TrainConfig
from selfie_train.logs import Row
from selfie_train.methods.base import Method
from selfie_train.training_labels import TrainingLabels


@dataclass(frozen=True)
class TrainResult:
    """A finished run."""

    folder: Path
    config: TrainConfig
    log: list[Row]  # one row an epoch, as in log.csv
    networks: list[nn.Module]
    labels: TrainingLabels
    refurbished_labels: NDArray[np.int64] | None  # (N,), -1 where none; None for a method without
    noise_rates: list[float]  # what the method assumed in each run
    images_per_second: float | None

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The figures of summary.json; errors in percent, None where unknown."""
        errors = [row["test_error"] for row in self.log]
        last_run = [row["test_error"] for row in self.log if row["run"] == self.log[-1]["run"]]
        last = self.log[-1]
        config = self.config
        return {
            "best_test_error": min(errors),
            "last_test_error": errors[-1],
            "last10_test_error": float(np.mean(last_run[-10:])),
            "label_precision": last["label_precision"],
            "label_recall": last["label_recall"],
            "refurbish_accuracy": last["refurbish_accuracy"],
            "refurbished_fraction": last["refurbished_fraction"],
            "images_per_second": self.images_per_second,
            "epochs": len(self.log),
            "runs": config.num_runs,
            "noise_rates": self.noise_rates,
            "observed_noise_rate": self.labels.observed_noise_rate,
            "dataset": Path(config.dataset).name,
            "method": config.method,
            "model": config.model,
            "noise": config.noise,
            "variant": config.variant,
            "seed": config.seed,
        }


def write_results(
    result: TrainResult, dataset: RecordDataset, method: Method, *, say: Callable[[str], None]
) -> None:
    """Write labels.csv, report.html (or say how to get it) and last summary.json: with it the run is done."""
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


def read_refurbished(folder: Path) -> NDArray[np.int64]:
    """The refurbished labels int64[N] in a finished run's labels.csv, -1 where none; OSError if missing."""
    with (folder / "labels.csv").open(newline="") as file:
        rows = csv.DictReader(file)
        return np.array([int(row["refurbished_label"] or -1) for row in rows], dtype=np.int64)


def _blank_negative(values: NDArray[np.int64] | None, count: int) -> list[Any]:
    return [""] * count if values is None else ["" if value < 0 else value for value in values.tolist()]
