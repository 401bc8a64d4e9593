"""audit.html and review.html of an audit, drawn after its results are written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from selfie_train.report.attempt import try_report
from selfie_train.runs.label_issues import LabelIssues

if TYPE_CHECKING:
    from selfie_train.evidence.gathering import Gathered

REVIEW_SCORE = 0.2  # records from here on are shown for review
REVIEW_LEAST, REVIEW_MOST = 60, 5000  # of them; more of what is flagged
MOST_FINDINGS = 20_000  # of what is flagged: a browser opens as many
NEAR_RECORDS = 100_000  # among which near duplicates are sought; among more, exact ones alone
NEIGHBOURS_SHOWN = 6
CLASSES_SHOWN = 3


@dataclass(frozen=True)
class AuditPages:
    """What the pages show; posterior is float32 (N, k), P(each class is true)."""

    issues: LabelIssues
    summary: dict[str, Any]
    posterior: NDArray[np.float32]
    gathered: Gathered

    def write(self, out: Path, say: Callable[[str], None]) -> None:
        """Draw both; what goes wrong is told to `say` in a line."""

        def draw_report() -> None:
            from selfie_train.report.audit import write_audit_report

            write_audit_report(self.issues, self.summary, out / "audit.html")

        def draw_review() -> None:
            from selfie_train.report.review import write_review

            write_review(out / "review.html", self._review_data(say))

        try_report(out / "audit.html", draw_report, say=say)
        try_report(out / "review.html", draw_review, say=say)

    def _review_data(self, say: Callable[[str], None]) -> Any:
        from selfie_io.records.check import check_dataset
        from selfie_io.records.duplicates import NEAR
        from selfie_train.report.review_data import ReviewData

        issues = self.issues
        dataset, order = issues.dataset, issues.order
        shown = int((issues.flagged | (issues.scores >= REVIEW_SCORE)).sum())
        flagged = int(issues.flagged.sum())
        chosen = order[: max(min(flagged, MOST_FINDINGS), REVIEW_LEAST, min(shown, REVIEW_MOST))]
        if flagged > MOST_FINDINGS:
            say(
                f"review.html shows the {MOST_FINDINGS:,} most doubtful of {flagged:,} flagged labels; "
                "issues.csv has all of them"
            )
        near = NEAR if find_spec("scipy") else 0.0
        if len(issues.given) > NEAR_RECORDS and near:
            near = 0.0
            say(
                f"review.html tells exact duplicates alone: near ones are sought among {NEAR_RECORDS:,} "
                f"records at most; selfie-convert check {dataset.path} finds them"
            )
        ranked = np.argsort(-self.posterior[chosen], axis=1, kind="stable")[:, :CLASSES_SHOWN]
        neighbours = self.gathered.neighbours
        nearest = None if neighbours is None else neighbours[chosen, :NEIGHBOURS_SHOWN].astype(np.int64)
        remarks = check_dataset(dataset, issues.given, near=near).remarks()
        digest = hashlib.sha256(np.ascontiguousarray(issues.given, "<i8").tobytes())
        digest.update(str(dataset.train.identity["records"]).encode())
        sources = {}
        for source in self.gathered.sources:
            guessed = source.probabilities[chosen].argmax(axis=1)
            sure = source.probabilities[chosen].max(axis=1)
            sources[source.name] = [
                f"{dataset.class_names[label]} {share:.0%}" if label != given else ""
                for label, share, given in zip(
                    guessed.tolist(), sure.tolist(), issues.given[chosen].tolist(), strict=True
                )
            ]
        return ReviewData(
            title=f"Labels of {dataset.name}",
            digest=digest.hexdigest(),
            class_names=dataset.class_names,
            records=len(issues.given),
            estimated_wrong=float(issues.scores.sum()),
            index=chosen,
            record_id=dataset.train.record_ids[chosen].astype(np.int64),
            given=issues.given[chosen],
            suggested=issues.suggested[chosen],
            score=issues.scores[chosen],
            flagged=issues.flagged[chosen],
            top_classes=ranked,
            top_probabilities=np.take_along_axis(self.posterior[chosen], ranked, 1).astype(np.float64),
            images=dataset.train.images,
            name=dataset.train.names(chosen),
            sources=sources,
            neighbours=nearest,
            neighbour_labels=None if nearest is None else issues.given[nearest],
            duplicates=[remarks.get(index, "") for index in chosen.tolist()],
        )
