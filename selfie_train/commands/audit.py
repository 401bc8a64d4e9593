"""selfie-train audit: rank the training records of a run by how likely their label is wrong."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table as RichTable

from selfie_io.records.atomic import atomic_path
from selfie_train.commands.subcommand import DONE, TrainCommand
from selfie_train.config import TrainConfig
from selfie_train.runs.label_issues import summarise, write_issues


@dataclass(frozen=True)
class Audit(TrainCommand):
    """Rank the training records of a finished run by how likely their label is wrong."""

    folder: tyro.conf.Positional[Path]
    """The run's folder."""
    out: Path
    """Where issues.csv and the gallery go."""

    def run(self) -> int:
        """Audit, and print what was found."""
        Console(highlight=False, markup=False).print(audit(self.folder, self.out))
        return DONE


def audit(run: Path, out: Path) -> RichTable:
    """Write OUT/issues.csv, OUT/audit.json, OUT/audit.html and the overlay "audit-RUN" of suggested labels.

    Returns a table of what was found. Raises OSError if there is no run, ValueError if it has no checkpoint.
    """
    from selfie_io.labels.overlay_writer import save_overlay
    from selfie_train.training.checkpoint import latest_checkpoint
    from selfie_train.training.components import Components
    from selfie_train.training.label_scores import find_issues

    config = TrainConfig.read(run)
    checkpoint, defects = latest_checkpoint(run / "checkpoints")
    if checkpoint is None:
        raise ValueError(
            f"an audit needs a checkpoint, and {run} has none" + "".join(f"; {text}" for text in defects)
        )
    components = Components(config)
    components.load_state(checkpoint)
    issues = find_issues(components)
    out.mkdir(parents=True, exist_ok=True)
    write_issues(out / "issues.csv", issues)
    overlay = "audit-" + re.sub(r"[^A-Za-z0-9_.+=-]", "_", run.resolve().name)[:90]
    provenance = {"kind": "audit", "method": config.method, "noise": config.noise, "seed": config.seed}
    save_overlay(issues.dataset, overlay, issues.suggested, provenance)
    found = summarise(issues)
    with atomic_path(out / "audit.json") as temporary:
        temporary.write_text(json.dumps({**found, "overlay": overlay}, indent=1) + "\n")
    try:
        from selfie_train.report.audit import write_audit_report
    except ModuleNotFoundError as error:
        print(f"no audit.html, {error.name} is missing: pip install 'selfie-io[report]'")
    else:
        write_audit_report(issues, found, out / "audit.html")
    table = RichTable("audit", str(run))
    for name, value in {**found, "overlay": overlay}.items():
        table.add_row(name.replace("_", " "), "n/a" if value is None else f"{value}")
    return table
