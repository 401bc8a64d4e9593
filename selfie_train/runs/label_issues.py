"""The labels that are probably wrong: what an audit found, how right it is, and issues.csv."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfie_io.records.atomic import atomic_path
from selfie_io.records.csv_cells import harmless_row
from selfie_io.records.dataset import RecordDataset
from selfie_io.records.split import RecordSplit

COLUMNS = (
    "record_id", "index", "name", "given_label", "given_class", "suggested_label", "suggested_class", "score",
    "flagged",
)  # fmt: skip
SHARED_FIGURES = (  # of audit.json, that the command and the report show
    "noise_rate", "noise_rate_low", "noise_rate_high", "evidence_error", "of_these_wrong",
    "wrong_labels_found",
)  # fmt: skip
_ROWS = 10_000


@dataclass(frozen=True)
class LabelIssues:
    """What an audit found, of N samples."""

    dataset: RecordDataset
    given: NDArray[np.int64]  # (N,)
    clean: NDArray[np.int64] | None  # (N,) None where the clean labels are not known
    suggested: NDArray[np.int64]  # (N,) the likeliest class
    scores: NDArray[np.float64]  # (N,) P(the given label is wrong)
    flagged: NDArray[np.bool_]  # (N,) at the audit's own threshold
    signals: dict[str, NDArray[np.floating]]  # each (N,): what each source says of the given label

    @property
    def order(self) -> NDArray[np.int64]:
        """Positions from most to least likely wrong; of equal scores the lower position first."""
        return np.argsort(-self.scores, kind="stable")


def summarise(issues: LabelIssues) -> dict[str, float | None]:
    """How right the flags are, by the clean labels; None where these are unknown."""
    given, clean = issues.given, issues.clean
    found: dict[str, float | None] = dict.fromkeys(
        ("of_these_wrong", "wrong_labels_found", "suggestions_right", "ranking_auroc")
    )
    if clean is not None:
        flagged, wrong = issues.flagged, given != clean
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
    record_ids, names = issues.dataset.train.record_ids, issues.dataset.class_names
    given, suggested, order = issues.given, issues.suggested, issues.order
    places = _Places(issues.dataset.train)
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(harmless_row([*COLUMNS, *issues.signals]))
        for index in order.tolist():
            signals = [float(values[index]) for values in issues.signals.values()]
            told = [
                int(record_ids[index]),
                index,
                places[index],
                int(given[index]),
                names[given[index]],
                int(suggested[index]),
                names[suggested[index]],
                f"{issues.scores[index]:.9f}",  # from 0 to 1
                int(issues.flagged[index]),
            ]
            figures = ["" if np.isnan(value) else f"{value:.6f}" for value in signals]
            writer.writerow([*harmless_row(told), *figures])


class _Places:
    """The names of all records of a split, read once in order and kept as bytes: a few more than they have.

    Names are stored in blocks: in another order, each would be read again and again.
    """

    def __init__(self, split: RecordSplit) -> None:
        self._ends = np.zeros(len(split) + 1, np.int64)
        self._text = bytearray()
        for begin in range(0, len(split), _ROWS):
            part = np.arange(begin, min(begin + _ROWS, len(split)))
            for index, name in zip(part.tolist(), split.names(part), strict=True):
                self._text += (name or "").encode()
                self._ends[index + 1] = len(self._text)

    def __getitem__(self, index: int) -> str:
        return self._text[self._ends[index] : self._ends[index + 1]].decode()
