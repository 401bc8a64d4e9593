"""Which labels are probably wrong: a trained network and its past predictions against the given ones.

For each sample a distribution over the classes is formed: the network's probabilities in eval mode, averaged
with the shares of the votes in its history where the method kept one. The score is (1 - margin) / 2, with
margin the given label's share minus the largest other one: 0 is sure that the label is right, 1 that it is
wrong, and above 0.5 another class is the more likely one. (Normalised margin: Northcutt et al., JAIR 2021;
here in-sample, so a method that memorised the noise, as Default does, cannot see it.)
"""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.table import Table as RichTable

from selfie_io.labels.overlay_writer import save_overlay
from selfie_io.records.atomic import atomic_path
from selfie_io.records.dataset import RecordDataset
from selfie_train.checkpoint import latest_checkpoint
from selfie_train.config import TrainConfig
from selfie_train.parts import Parts
from selfie_train.training_labels import TrainingLabels

GALLERY_SIZE = 60


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


def audit(run: Path, out: Path) -> RichTable:
    """Write OUT/issues.csv, OUT/audit.json, OUT/audit.html and the overlay "audit-RUN" of suggested labels.

    Returns a table of what was found. Raises OSError if there is no run, ValueError if it has no checkpoint.
    """
    config = TrainConfig.read(run)
    checkpoint, defects = latest_checkpoint(run / "checkpoints")
    if checkpoint is None:
        raise ValueError(f"{run} has no checkpoint to audit with" + "".join(f"; {text}" for text in defects))
    parts = Parts(config)
    parts.load_state(checkpoint)
    issues = find_issues(parts)
    out.mkdir(parents=True, exist_ok=True)
    _write_issues(out / "issues.csv", issues)
    overlay = "audit-" + re.sub(r"[^A-Za-z0-9_.+=-]", "_", run.resolve().name)[:90]
    provenance = {"kind": "audit", "method": config.method, "noise": config.noise, "seed": config.seed}
    save_overlay(issues.dataset, overlay, issues.suggested, provenance)
    found = summarise(issues)
    with atomic_path(out / "audit.json") as temporary:
        temporary.write_text(json.dumps({**found, "overlay": overlay}, indent=1) + "\n")
    try:
        from selfie_train.report.audit import write_audit_report
    except ModuleNotFoundError as error:
        print(f"no audit.html, {error.name} is missing: pip install 'selfie[report]'")
    else:
        write_audit_report(issues, found, out / "audit.html")
    table = RichTable("audit", str(run))
    for name, value in {**found, "overlay": overlay}.items():
        table.add_row(name.replace("_", " "), "n/a" if value is None else f"{value}")
    return table


def find_issues(parts: Parts) -> LabelIssues:
    """Score every training label with the networks and the method's memory of a run."""
    given = parts.labels.given
    count = len(given)
    suggested = np.empty(count, np.int64)
    scores = np.empty(count)
    probability_given, votes_given = np.empty(count), np.full(count, np.nan)
    with parts.loader(parts.dataset.train, training=False) as loader:
        for batch in loader:
            indices = batch.indices.numpy()
            rows = np.arange(len(indices))
            labels = given[indices]
            shares = parts.learner.probabilities(batch.images)
            probability_given[indices] = shares[rows, labels]
            votes = parts.method.vote_shares(indices)
            if votes is not None:
                votes_given[indices] = votes[rows, labels]
                shares = (shares + votes) / 2
            own = shares[rows, labels]
            others = shares.copy()
            others[rows, labels] = -1
            best_other = others.max(axis=1)
            scores[indices] = (1 - (own - best_other)) / 2
            suggested[indices] = np.where(best_other > own, others.argmax(axis=1), labels)
    signals = {"probability_given": probability_given, "votes_given": votes_given}
    return LabelIssues(parts.dataset, parts.labels, suggested, scores, signals)


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


def _write_issues(path: Path, issues: LabelIssues) -> None:
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
