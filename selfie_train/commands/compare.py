"""selfie-train compare: runs side by side, in a table and a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from selfie_io.records.plain_files import open_plain
from selfie_io.rich_console import RichConsole
from selfie_train.commands.subcommand import DONE, TrainCommand
from selfie_train.report.attempt import try_report
from selfie_train.runs.comparison import RunGroup, group_runs, read_run, terminal_table, write_table
from selfie_train.runs.own_files import OwnFiles


@dataclass(frozen=True)
class Compare(TrainCommand):
    """Put runs side by side, finished or not: OUT/table.csv and OUT/report.html."""

    EXAMPLES = ("selfie-train compare runs/default runs/selfie --out runs/compared",)

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """The runs' folders."""
    out: Path
    """Where the table and the report go."""

    def run(self) -> int:
        """Compare, and print the table."""
        RichConsole().print(terminal_table(compare(self.runs, self.out)))
        return DONE


def compare(runs: Sequence[Path], out: Path, *, say: Callable[[str], None] = print) -> list[RunGroup]:
    """Write OUT/table.csv and OUT/report.html about runs, finished or not.

    Raises OSError for a folder that holds no run, ValueError if there is none to compare, FileExistsError if
    OUT holds files of others by these names.
    """
    if not runs:
        raise ValueError("compare needs at least one run's folder, got none")
    groups = group_runs([read_run(Path(folder)) for folder in runs])
    own = OwnFiles(out, ("table.csv", "report.html"), is_earlier=_is_earlier_comparison)
    out.mkdir(parents=True, exist_ok=True)

    def draw() -> None:
        from selfie_train.report.comparison import write_comparison_report

        write_comparison_report(groups, out / "report.html")

    with own.being_written():
        write_table(groups, out / "table.csv")
        try_report(out / "report.html", draw, say=say)
    return groups


def _is_earlier_comparison(out: Path) -> bool:
    """Whether version 0.1 wrote a comparison into a folder."""
    try:
        with open_plain(out / "table.csv") as file:
            return file.readline(1000).startswith(b"dataset,noise,model,method,")
    except OSError:
        return False
