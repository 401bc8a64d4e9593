"""audit.html: what an audit found, and the images whose label is most likely wrong."""

from __future__ import annotations

from pathlib import Path

from selfie_train.report.images import label_images
from selfie_train.report.page import Gallery, Section, Table, percent, write_page
from selfie_train.runs.label_issues import LabelIssues

GALLERY_SIZE = 60


def write_audit_report(issues: LabelIssues, found: dict[str, float | int | None], path: Path) -> None:
    """Write the page; `found` is what `summarise` returned."""
    rows = []
    for name, value in found.items():
        text = f"{value:,}" if isinstance(value, int) else percent(value)
        rows.append((name.replace("_", " "), text))
    top = issues.order[:GALLERY_SIZE]
    top = top[issues.suggested[top] != issues.labels.given[top]]
    details = [f"record {issues.dataset.train.record_ids[index]}" for index in top]
    images = label_images(
        issues.dataset, top, issues.labels.given, issues.suggested, issues.labels.clean, details
    )
    sections: list[Section] = [
        Table("Found", ("", "value"), rows, "n/a: the clean labels are not known."),
        Gallery("Most likely wrong: given → suggested", images),
    ]
    write_page(
        path, f"Label audit of {issues.dataset.name}", "Ranked by score, most likely wrong first.", sections
    )
