"""Runs side by side: groups that differ in the seed alone, their means and deviations, their tables."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable

from selfie_io.records.atomic import atomic_path
from selfie_io.records.csv_cells import harmless_row
from selfie_io.records.plain_files import read_json
from selfie_train.config import TrainConfig, parse_noise
from selfie_train.runs.data_identity import read_identity
from selfie_train.runs.failure import read_failure
from selfie_train.runs.log import Row, read_log
from selfie_train.runs.paper_errors import paper_error

# Settings that do not make a run another experiment.
_NOT_COMPARED = (
    "seed",
    "out",
    "dataset",
    "device",
    "checkpoint_batches",
    "timeout",
    "tensorboard",
    "imports",
)
# Figures of summary.json -> their heads in the table, all in percent.
FIGURES = {
    "best_test_error": "best error",
    "last_test_error": "last",
    "last10_test_error": "last 10",
    "label_precision": "precision",
    "label_recall": "recall",
    "refurbished_fraction": "refurbished",
    "refurbish_accuracy": "right",
}


@dataclass(frozen=True)
class StoredRun:
    """A run as its folder tells it, finished or not."""

    folder: Path
    config: TrainConfig
    log: list[Row]
    summary: dict[str, Any] | None  # None: not finished
    data: str | None = None  # tells the data set from others of its name; None for a run that kept no digest
    failure: str | None = None  # why it ended before its time

    @property
    def setting(self) -> dict[str, Any]:
        """What makes it another experiment than other runs, as JSON values."""
        known = {key: value for key, value in self.config.to_json().items() if key not in _NOT_COMPARED}
        return {**known, "dataset": Path(self.config.dataset).name, "data": self.data}


@dataclass(frozen=True)
class RunGroup:
    """Runs of one setting, by seed."""

    runs: list[StoredRun]

    @property
    def config(self) -> TrainConfig:
        """The config of the first run."""
        return self.runs[0].config

    @property
    def finished(self) -> list[StoredRun]:
        """The runs that are done."""
        return [run for run in self.runs if run.summary is not None]

    @property
    def fewest_epochs(self) -> int:
        """Of the last run from new weights of each finished run, the least number of epochs."""
        logs = [[row["run"] for row in run.log] for run in self.finished]
        return min((log.count(log[-1]) if log else 0 for log in logs), default=0)

    @property
    def failures(self) -> dict[Path, str]:
        """Why runs failed, by folder."""
        return {run.folder: run.failure for run in self.runs if run.failure is not None}

    def figure(self, name: str) -> tuple[float, float | None] | None:
        """Mean and sample deviation (None of a single run) over finished runs; None where no run knows it."""
        values = [run.summary[name] for run in self.runs if run.summary and run.summary.get(name) is not None]
        if not values:
            return None
        return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None

    @property
    def paper(self) -> float | None:
        """The paper's best test error in this setting."""
        kind, rate = parse_noise(self.config.noise)
        noise_rate = rate if isinstance(rate, float) else None
        return paper_error(
            self.config.model, Path(self.config.dataset).name, kind, noise_rate, self.config.method
        )


def read_run(folder: Path) -> StoredRun:
    """Read what is there of a run; OSError if it is none, ValueError if a file is damaged."""
    failure = read_failure(folder)
    if failure is not None and failure.config is not None and not (folder / "config.json").exists():
        return StoredRun(folder, TrainConfig.from_json(failure.config), [], None, failure=failure.reason)
    config = TrainConfig.read(folder, import_modules=False)
    summary_path = folder / "summary.json"
    summary = _read_summary(summary_path) if summary_path.exists() else None
    log = read_log(folder) if (folder / "log.csv").exists() else []
    reason = failure.reason if failure is not None and summary is None else None
    return StoredRun(folder, config, log, summary, _data(read_identity(folder), config), reason)


def _read_summary(path: Path) -> dict[str, Any]:
    summary = read_json(path)
    if not isinstance(summary, dict):
        raise ValueError(f"{path}: must hold an object of figures, got {type(summary).__name__}")
    for name in FIGURES:
        value = summary.get(name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and abs(value) < 1e300):
            raise ValueError(f"{path}: {name} must be a finite number or null, got {str(value)[:100]!r}")
    return summary


def _data(identity: dict[str, Any] | None, config: TrainConfig) -> str | None:
    """A short digest of the records, and of the labels of an overlay; injected labels follow the seed."""
    if identity is None:
        return None
    parts = [identity.get("train_records"), identity.get("train_labels"), identity.get("test_records")]
    if parse_noise(config.noise)[0] == "overlay":
        parts.append(identity.get("given_labels"))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:8]


def group_runs(runs: Sequence[StoredRun]) -> list[RunGroup]:
    """Gather the runs that differ in nothing but the seed, in order of first appearance."""
    groups: dict[str, list[StoredRun]] = {}
    for run in runs:
        groups.setdefault(json.dumps(run.setting, sort_keys=True), []).append(run)
    return [RunGroup(sorted(members, key=lambda run: run.config.seed)) for members in groups.values()]


def write_table(groups: Sequence[RunGroup], path: Path) -> None:
    """Write a CSV file with a row for each group; figures as in summary.json, empty where unknown."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        means = [f"{name}{part}" for name in FIGURES for part in ("", "_deviation")]
        writer.writerow(
            [
                "dataset",
                "noise",
                "model",
                "method",
                "finished",
                "runs",
                *means,
                "paper_best_error",
                "failures",
            ]
        )
        for group in groups:
            config = group.config
            cells: list[Any] = [Path(config.dataset).name, config.noise, config.model, config.method]
            cells += [len(group.finished), len(group.runs)]
            for name in FIGURES:
                cells += group.figure(name) or (None, None)
            failures = "; ".join(f"{folder.name}: {reason}" for folder, reason in group.failures.items())
            writer.writerow(harmless_row([*cells, group.paper, failures]))


def setting_names(groups: Sequence[RunGroup]) -> list[str]:
    """A name for each group: the method, with the settings in which groups of this comparison differ."""
    settings = [group.runs[0].setting for group in groups]
    differing = (
        [
            key
            for key in settings[0]
            if key != "method" and len({json.dumps(setting[key]) for setting in settings}) > 1
        ]
        if settings
        else []
    )
    # dataset, noise and model speak for themselves; of the others the setting's name is needed too.
    plain = ("dataset", "noise", "model")
    return [
        " ".join(
            [setting["method"]]
            + [str(setting[key]) if key in plain else f"{key}={setting[key]}" for key in differing]
        )
        for setting in settings
    ]


def figure_cell(group: RunGroup, name: str) -> str:
    """The mean of a figure, with +- its deviation where there are several runs; n/a where unknown."""
    figure = group.figure(name)
    if figure is None or (name == "last10_test_error" and group.fewest_epochs < 10):
        return "n/a"
    scale = 1 if name.endswith("_error") else 100
    mean, deviation = figure
    text = f"{scale * mean:.2f}"
    return text if deviation is None else f"{text} ± {scale * deviation:.2f}"


def comparison_columns(groups: Sequence[RunGroup]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the table of a comparison, every figure in percent."""
    columns = ["method", "runs", *FIGURES.values()]
    papers = any(group.paper is not None for group in groups)
    if papers:
        columns.append("paper's best")
    rows = []
    for name, group in zip(setting_names(groups), groups, strict=True):
        failed = f", {len(group.failures)} failed" if group.failures else ""
        row = [name, f"{len(group.finished)} of {len(group.runs)}{failed}"]
        row += [figure_cell(group, figure) for figure in FIGURES]
        if papers:
            row.append("n/a" if group.paper is None else f"{group.paper:.1f}")
        rows.append(row)
    return columns, rows


def informative_columns(rows: Sequence[Sequence[str]]) -> list[int]:
    """The columns with information: known in some row, and more than "1 of 1" runs finished."""
    return [
        place for place in range(len(rows[0])) if any(row[place] not in ("n/a", "1 of 1") for row in rows)
    ]


def terminal_table(groups: Sequence[RunGroup]) -> RichTable:
    """The comparison for the terminal; columns without information are left out."""
    columns, rows = comparison_columns(groups)
    kept = informative_columns(rows)
    table = RichTable(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), caption="percent; mean ± deviation over seeds")
    for place in kept:
        table.add_column(columns[place], justify="left" if place == 0 else "right")
    for row in rows:
        table.add_row(*(row[place] for place in kept))
    return table
