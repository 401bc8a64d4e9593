"""The labels that are probably wrong: what an audit found, how right it is, and issues.csv."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from selfie_io.records.atomic import atomic_path
from selfie_io.records.dataset import RecordDataset

if TYPE_CHECKING:
    from selfie_train.runs.training_labels import TrainingLabels


@dataclass(frozen=True)
class LabelIssues:
    """What an audit found, of N samples."""

    dataset: RecordDataset
    labels: TrainingLabels
    suggested: NDArray[np.int64]  # (N,)
    scores: NDArray[np.float64]  # (N,) in 0..1, higher: more likely wrong
    signals: dict[str, NDArray[np.float64]]  # each (N,)

    @property
    def order(self) -> NDArray[np.int64]:
        """Positions from most to least likely wrong; of equal scores the lower position first."""
        return np.argsort(-self.scores, kind="stable")


def summarise(issues: LabelIssues) -> dict[str, float | int | None]:
    """Counts, and how right they are; None where the clean labels are unknown."""
    given, clean = issues.labels.given, issues.labels.clean
    flagged = issues.suggested != given
    found: dict[str, float | int | None] = {
        "records": len(given),
        "labels_thought_wrong": int(flagged.sum()),
        "of_these_wrong": None,
        "wrong_labels_found": None,
        "suggestions_right": None,
        "ranking_auroc": None,
    }
    if clean is not None:
        wrong = given != clean
        hits = int((flagged & wrong).sum())
        found["of_these_wrong"] = hits / int(flagged.sum()) if flagged.any() else None
        found["wrong_labels_found"] = hits / int(wrong.sum()) if wrong.any() else None
        right = float(np.mean(issues.suggested[flagged] == clean[flagged])) if flagged.any() else None
        found["suggestions_right"] = right
        found["ranking_auroc"] = area_under_roc(issues.scores, wrong)
    return found


def area_under_roc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float | None:
    """The chance that a positive scores above a negative, ties half; None if there is only one kind."""
    num_positive = int(positive.sum())
    num_negative = len(positive) - num_positive
    if not num_positive or not num_negative:
        return None
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2  # the mean rank of each distinct score, from 1
    rank_sum = float(ranks[places][positive].sum())
    return (rank_sum - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative)


def write_issues(path: Path, issues: LabelIssues) -> None:
    """Write issues.csv: every record, the most likely wrong first."""
    record_ids, given = issues.dataset.train.record_ids, issues.labels.given
    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["record_id", "index", "given_label", "suggested_label", "score", *issues.signals])
        for index in issues.order.tolist():
            signals = [float(values[index]) for values in issues.signals.values()]
            writer.writerow(
                [
                    int(record_ids[index]),
                    index,
                    int(given[index]),
                    int(issues.suggested[index]),
                    f"{issues.scores[index]:.6f}",
                    *("" if np.isnan(value) else f"{value:.6f}" for value in signals),
                ]
            )
