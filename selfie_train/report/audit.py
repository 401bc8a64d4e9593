"""audit.html: what an audit found, how far its scores can be trusted, and the labels most likely wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from selfie_train.report.images import label_images
from selfie_train.report.page import Figure, Gallery, Section, Table, percent, write_page
from selfie_train.report.plots import Curve, draw_curves
from selfie_train.runs.label_issues import SHARED_FIGURES, LabelIssues

GALLERY_SIZE = 60
CLASSES_TOLD = 200
BINS = 10
_FIGURES = (
    "records",
    "flagged",
    "threshold",
    "expected_precision",
    "expected_recall",
    *SHARED_FIGURES,
    "suggestions_right",
    "ranking_auroc",
)


def write_audit_report(issues: LabelIssues, found: dict[str, Any], path: Path) -> None:
    """Write the page; `found` is the content of audit.json."""
    rows = []
    for name in _FIGURES:
        value = found[name]
        if value is not None:
            rows.append((name.replace("_", " "), f"{value:,}" if isinstance(value, int) else percent(value)))
    names = issues.dataset.class_names
    matrix = found["transition_matrix"]
    sources = [
        (
            one["name"],
            "n/a" if one["weight"] is None else f"{one['weight']:.2f}",
            ", ".join(f"{key} {value}" for key, value in one["made_from"].items() if key != "digest"),
        )
        for one in found["sources"]
    ]
    counts = np.bincount(issues.given, minlength=len(names))
    wrong_by_class = np.asarray(found["wrong_by_given_class"])
    told = np.sort(np.argsort(-wrong_by_class, kind="stable")[:CLASSES_TOLD])
    by_class = [
        (names[label], f"{count:,}", f"{wrong:,.0f}", percent(wrong / count if count else None))
        for label, count, wrong in zip(
            told.tolist(), counts[told].tolist(), wrong_by_class[told].tolist(), strict=True
        )
    ]
    classes_left_out = (
        f"The {len(told)} of {len(names):,} classes with the most labels expected to be wrong; "
        "issues.csv has all records."
        if len(told) < len(names)
        else ""
    )
    top = issues.order[:GALLERY_SIZE]
    top = top[issues.suggested[top] != issues.given[top]]
    details = [
        f"record {issues.dataset.train.record_ids[index]}, P(wrong) {issues.scores[index]:.2f}"
        for index in top
    ]
    images = label_images(issues.dataset, top, issues.given, issues.suggested, issues.clean, details)
    unknown = (
        [] if issues.clean is not None else ["How many of these are wrong is not known: no clean labels."]
    )
    sections: list[Section] = [
        Table("Found", ("", "value"), rows, " ".join([*unknown, *found["notes"]])),
        Table("Evidence", ("source", "weight in the score", "made from"), sources),
        Table("By given class", ("class", "records", "expected wrong", "share"), by_class, classes_left_out),
        Figure("Reliability", _reliability(issues, found["reliability"]), _reliability_note(issues)),
    ]
    if matrix is not None and len(names) <= 30:
        cells = [(name, *(percent(value) for value in row)) for name, row in zip(names, matrix, strict=True)]
        sections.append(Table("P(given class | true class)", ("true", *names), cells))
    sections.append(Gallery("Most likely wrong: given → suggested", images))
    write_page(
        path, f"Label audit of {issues.dataset.name}", "Ranked by score, most likely wrong first.", sections
    )


def _reliability_note(issues: LabelIssues) -> str:
    if issues.clean is None:
        return (
            "The evidence foretells the given labels from other records. Where it is calibrated, the "
            "shares lie on the diagonal. How true the scores are is not known: nor are the clean labels."
        )
    return "Of calibrated evidence and scores, the shares lie on the diagonal."


def _reliability(issues: LabelIssues, labels: dict[str, list[float]]) -> str:
    place = np.minimum((issues.scores * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    middles = ((np.arange(BINS) + 0.5) / BINS).tolist()
    shares = (counts / max(len(place), 1)).tolist()
    panels = [("Scores", "share of the records", [Curve("records", middles, shares, marker="o")])]
    calibrated = Curve("calibrated", [0.0, 1.0], [0.0, 1.0], colour=1, dashed=True)
    foretold = Curve("found", labels["predicted"], labels["observed"], marker="o")
    panels.append(("Given labels, as foretold", "share of the labels", [foretold, calibrated]))
    if issues.clean is not None:
        means = np.bincount(place, weights=issues.scores, minlength=BINS) / np.maximum(counts, 1)
        wrong = np.bincount(place, weights=issues.given != issues.clean, minlength=BINS) / np.maximum(
            counts, 1
        )
        there = counts > 0
        curves = [
            Curve("measured", means[there].tolist(), wrong[there].tolist(), marker="o"),
            calibrated,
        ]
        panels.append(("Wrong labels, as scored", "share of wrong labels", curves))
    return draw_curves(panels, x_label="score")
