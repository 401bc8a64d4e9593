"""selfie-train audit: rank the training records of a run by how likely their label is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table as RichTable

from selfie_io.records.atomic import atomic_path
from selfie_train.commands.subcommand import DONE, TrainCommand
from selfie_train.config import TrainConfig
from selfie_train.report.attempt import try_report
from selfie_train.runs.label_issues import LabelIssues, summarise, write_issues


@dataclass(frozen=True)
class Audit(TrainCommand):
    """Rank the training records of a finished run by how likely their label is wrong."""

    folder: tyro.conf.Positional[Path]
    """The run's folder."""
    out: Path
    """Where issues.csv and the gallery go."""
    dataset: Path | None = None
    """Where the run's data set lies now, if it moved."""

    def run(self) -> int:
        """Audit, and print what was found."""
        Console(highlight=False, markup=False).print(audit(self.folder, self.out, dataset=self.dataset))
        return DONE


def audit(
    run: Path, out: Path, *, dataset: Path | None = None, say: Callable[[str], None] = print
) -> RichTable:
    """Write OUT/issues.csv, OUT/audit.json, OUT/audit.html and the overlay "audit-RUN" of suggested labels.

    `dataset` is where the run's data set lies now, if it moved. Returns a table of what was found.
    Raises OSError if there is no run, ValueError if it has no checkpoint, or if the data or the labels are
    not those that the run learnt from.
    """
    from selfie_train.runs.data_identity import check_identity
    from selfie_train.training.checkpoint import latest_checkpoint
    from selfie_train.training.components import Components
    from selfie_train.training.label_scores import find_issues

    config = TrainConfig.read(run)
    if dataset is not None:
        config = replace(config, dataset=str(dataset.absolute()))
    checkpoint, defects = latest_checkpoint(run / "checkpoints")
    if checkpoint is None:
        raise ValueError(
            f"an audit needs a checkpoint, and {run} has none" + "".join(f"; {text}" for text in defects)
        )
    components = Components(config)
    check_identity(run, components.dataset, components.labels, config.noise)
    for note in components.notes:
        say(note)
    components.load_state(checkpoint)
    issues = find_issues(components)
    out.mkdir(parents=True, exist_ok=True)
    write_issues(out / "issues.csv", issues)
    overlay = "audit-" + re.sub(r"[^A-Za-z0-9_.+=-]", "_", run.resolve().name)[:90]
    provenance = {"kind": "audit", "method": config.method, "noise": config.noise, "seed": config.seed}
    folder = _save_beside_data(issues, overlay, provenance, out, say)
    found = summarise(issues)
    with atomic_path(out / "audit.json") as temporary:
        content = {**found, "overlay": overlay, "overlay_folder": str(folder)}
        temporary.write_text(json.dumps(content, indent=1) + "\n")

    def draw() -> None:
        from selfie_train.report.audit import write_audit_report

        write_audit_report(issues, found, out / "audit.html")

    try_report(out / "audit.html", draw, say=say)
    table = RichTable("audit", str(run))
    for name, value in {**found, "overlay": overlay}.items():
        table.add_row(name.replace("_", " "), "n/a" if value is None else f"{value}")
    return table


def _save_beside_data(
    issues: LabelIssues, name: str, provenance: dict[str, Any], out: Path, say: Callable[[str], None]
) -> Path:
    """Save the suggested labels in the data set, or in OUT if the data set may only be read; where."""
    from selfie_io.labels.overlay_writer import save_overlay

    dataset = issues.dataset
    try:
        save_overlay(dataset, name, issues.suggested, provenance)
    except OSError as error:
        save_overlay(dataset, name, issues.suggested, provenance, folder=out)
        say(
            f"{dataset.path} cannot be written ({error.strerror}): the overlay {name} lies in "
            f"{out / 'labels'}; copy both of its files to {dataset.path / 'labels'} to train on it"
        )
        return out
    return dataset.path
