"""The report of a comparison: the table, the test error by epoch, and by noise rate beside the paper's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from selfie_train.config import parse_noise
from selfie_train.report.outcome import confusion_sections, outcome_galleries
from selfie_train.report.page import Figure, Section, Table, write_page
from selfie_train.report.plots import Curve, draw_curves
from selfie_train.runs.comparison import RunGroup, comparison_columns, informative_columns, setting_names
from selfie_train.runs.confusion import read_confusion
from selfie_train.runs.data_identity import open_run_dataset, read_identity
from selfie_train.runs.last_choices import read_sample_labels
from selfie_train.runs.paper_errors import NOISE_RATES, paper_errors

TITLE = "Learning with noisy labels"
MOST_OUTCOMES = 8  # settings whose images and matrices are shown


def write_comparison_report(
    groups: Sequence[RunGroup],
    path: Path,
    *,
    title: str = TITLE,
    lead: str = "",
    more: Sequence[Section] = (),
) -> None:
    """Write the page; `more` sections follow the figures."""
    columns, rows = comparison_columns(groups)
    kept = informative_columns(rows)
    last_ten = ", and the mean of the last ten" if "last 10" in [columns[place] for place in kept] else ""
    table = Table(
        "Results",
        [columns[place] for place in kept],
        [[row[place] for place in kept] for row in rows],
        f"All in percent: test error of the best epoch, of the last{last_ten}; precision and recall of what "
        "was taken for clean; refurbished samples, and how many of their labels are right. "
        "Mean ± sample deviation over the finished runs.",
    )
    unknown = {
        Path(run.config.dataset).name
        for group in groups
        for run in group.finished
        if run.summary and run.summary.get("labels_known_clean") is False
    }
    if unknown:
        note = (
            f"{table.note} The labels of {', '.join(sorted(unknown))} are not known to be clean, in the test "
            "split neither: the test error is measured on labels of which some may be wrong."
        )
        table = replace(table, note=note)
    sections: list[Section] = [table]
    failures = [[folder.name, reason] for group in groups for folder, reason in group.failures.items()]
    if failures:
        note = "The same command tries them again."
        sections.append(Table("Failed runs", ["run", "reason"], failures, note))
    sections += _epoch_figures(groups)
    sections += _rate_figures(groups)
    sections += _outcomes(groups)
    write_page(path, title, lead or f"{sum(len(group.runs) for group in groups)} runs.", [*sections, *more])


def _outcomes(groups: Sequence[RunGroup]) -> list[Section]:
    """Of the first finished run of each group: its test predictions, and samples that it kept and dropped."""
    sections: list[Section] = []
    finished = [
        (name, group.finished[0])
        for name, group in zip(setting_names(groups), groups, strict=True)
        if group.finished
    ]
    for name, run in finished[:MOST_OUTCOMES]:
        where = f"{name}, seed {run.config.seed}" if len(groups) > 1 else ""
        try:
            dataset = open_run_dataset(run.config)
            stored = (read_identity(run.folder) or {}).get("train_records")
            if stored not in (None, dataset.train.identity["records"]):
                raise ValueError(f"{run.config.dataset} is not the data set that {run.folder} learnt from")
            confusion = read_confusion(run.folder, dataset.num_classes)
            clean = dataset.labels_known_clean
            sections += confusion_sections(confusion, dataset.class_names, known_clean=clean, where=where)
            if (run.folder / "labels.csv").exists():
                labels = read_sample_labels(run.folder)
                if len(labels.given) != len(dataset.train):
                    raise ValueError(
                        f"labels.csv has {len(labels.given):,} records, the data set {len(dataset.train):,}"
                    )
                sections += outcome_galleries(dataset, labels, where)
        except (OSError, ValueError) as error:
            sections.append(Table(f"Images of {name}", ("", ""), [("left out", str(error))]))
    if len(finished) > MOST_OUTCOMES:
        rest = f"{len(finished) - MOST_OUTCOMES} more settings: each run's own report.html shows its images."
        sections.append(Table("Images of other settings", ("", ""), [("left out", rest)]))
    return sections


def _epoch_figures(groups: Sequence[RunGroup]) -> list[Section]:
    """One figure for each (data set, noise, model) that some run has begun to learn."""
    alike: dict[str, list[RunGroup]] = {}
    for group in groups:
        config = group.config
        alike.setdefault(f"{Path(config.dataset).name}, {config.noise}, {config.model}", []).append(group)
    sections: list[Section] = []
    for setting, members in alike.items():
        errors = epoch_curves(members, "test_error")
        if not errors:
            continue
        panels = [("Test error", "%", errors)]
        refurbished = epoch_curves(members, "refurbish_accuracy")
        if refurbished:
            panels.append(("Refurbished labels that are right", "share", refurbished))
        svg = draw_curves(panels, "epoch, all runs in a row")
        title = "By epoch" if len(alike) == 1 else f"By epoch: {setting}"
        sections.append(Figure(title, svg, "Line: mean over seeds; band: least to most."))
    return sections


def epoch_curves(groups: Sequence[RunGroup], column: str) -> list[Curve]:
    """A column of log.csv for each group, epoch by epoch, as far as all of its runs have come and know it."""
    curves = []
    for number, (name, group) in enumerate(zip(setting_names(groups), groups, strict=True)):
        logs = [run.log for run in group.runs if run.log]
        if not logs:
            continue
        shortest = min(map(len, logs))
        values = np.array([[row[column] for row in log[:shortest]] for log in logs], dtype=np.float64)
        known = np.isfinite(values).all(axis=0)
        if not known.any():
            continue
        values = values[:, known]
        curves.append(
            Curve(
                name,
                (np.flatnonzero(known) + 1).tolist(),
                values.mean(axis=0).tolist(),
                number,
                low=values.min(axis=0).tolist(),
                high=values.max(axis=0).tolist(),
            )
        )
    return curves


def _rate_figures(groups: Sequence[RunGroup]) -> list[Section]:
    """One figure for each (data set, model, kind of noise) with several rates, or that the paper has too."""
    settings: dict[tuple[str, str, str], dict[str, dict[float, RunGroup]]] = {}
    for group in groups:
        kind, rate = parse_noise(group.config.noise)
        if isinstance(rate, float) and group.figure("best_test_error"):
            key = (Path(group.config.dataset).name, group.config.model, kind)
            settings.setdefault(key, {}).setdefault(group.config.method, {})[rate] = group
    sections: list[Section] = []
    for (dataset, model, kind), methods in settings.items():
        curves = []
        for colour, (method, by_rate) in enumerate(methods.items()):
            rates = sorted(by_rate)
            figures = [by_rate[rate].figure("best_test_error") or (np.nan, None) for rate in rates]
            means = [figure[0] for figure in figures]
            spread = [figure[1] or 0.0 for figure in figures]
            curves.append(
                Curve(
                    method,
                    [100 * rate for rate in rates],
                    means,
                    colour,
                    low=[mean - part for mean, part in zip(means, spread, strict=True)],
                    high=[mean + part for mean, part in zip(means, spread, strict=True)],
                    marker="o",
                )
            )
            reported = paper_errors(model, dataset, kind, method)
            if reported is not None:
                x = [100 * rate for rate in NOISE_RATES]
                curves.append(Curve(f"{method}, paper", x, reported, colour, dashed=True))
        if any(len(curve.x) > 1 for curve in curves):
            svg = draw_curves([(f"{kind} noise", "best test error, %", curves)], "noise rate, %")
            note = "Band: ± the deviation over seeds. Dashed: read off the paper's figures, about ± 0.2."
            sections.append(Figure(f"{dataset}, {model}, by noise rate", svg, note))
    return sections
