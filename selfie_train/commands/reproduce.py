"""selfie-train reproduce: a grid of settings becomes runs; each is trained, resumed or left if done."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from selfie_io.rich_console import RichConsole
from selfie_train.commands.attempt import Outcome, complete
from selfie_train.commands.compare import compare
from selfie_train.commands.grid_workers import choose_workers
from selfie_train.commands.run_grid import GridRun
from selfie_train.commands.subcommand import DONE, FAILED, TrainCommand
from selfie_train.config import TrainConfig, parse_noise
from selfie_train.runs.comparison import RunGroup, terminal_table
from selfie_train.runs.grid import expand_grid, read_grid

__all__ = ["Reproduce", "complete", "expand_grid", "reproduce"]

DIGITS = "digits"  # the data set that scikit-learn ships: packed into OUT where a grid names it


@dataclass(frozen=True)
class Reproduce(TrainCommand):
    """Train every run of a grid and compare them; finished runs are skipped, begun ones continue.

    Start the same command again after any interruption, also at the same time on several machines
    that share OUT: each run is trained once.
    """

    EXAMPLES = (
        "selfie-train reproduce grid.json --out runs/grid",
        "selfie-train reproduce cifar-n --out runs/cifar-n --data data --workers 4",
        "selfie-train reproduce selfie-paper --out /shared/paper --data /shared/data --ray",
    )

    grid: tyro.conf.Positional[str]
    """cifar-n, cifar10-airnet, selfie-paper or demo, which ship with the package, or a JSON file:
    {"base": {setting: value}, "axes": {setting: [values]}}."""
    out: Path
    """Where the runs, the table and the report go."""
    workers: int | None = None
    """Runs at a time, each in a process of its own; CPU cores and GPUs are shared out evenly. Default: one,
    with its progress; with --ray: one a GPU, or one a machine."""
    ray: bool = False
    """Run on the Ray cluster that was started with `ray start --head`; OUT must be on shared storage."""
    data: Path | None = None
    """The folder of the grid's data sets; by default the one in the grid."""

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"--workers must be positive, got {self.workers}")

    def run(self) -> int:
        """Train and compare; FAILED if a run is missing in the end."""
        console = RichConsole()

        def say(text: str) -> None:
            console.print(text, soft_wrap=True)

        whole = reproduce(
            self.grid,
            self.out,
            workers=self.workers,
            ray=self.ray,
            data=self.data,
            imports=self.imports,
            say=say,
            show=console.print,
        )
        return DONE if whole else FAILED


def reproduce(
    grid: str | Path,
    out: Path,
    *,
    workers: int | None = None,
    ray: bool = False,
    data: Path | None = None,
    imports: Sequence[str] = (),
    quiet: bool = False,
    say: Callable[[str], None] = print,
    show: Callable[[Any], None] = lambda _: None,
) -> bool:
    """Complete the runs of a grid, a JSON file or a shipped one, and compare; True if all are whole.

    A run that fails is reported and does not stop the others. The comparison is rewritten as runs
    end. Raises ValueError for a bad grid or where no data set is there, Stopped after Ctrl-C.
    """
    content = read_grid(grid)
    try:
        configs = expand_grid(content, out)
        for config in configs:
            config.check_method()
    except (ValueError, TypeError) as error:  # TypeError: a setting without default is missing
        raise ValueError(f"{grid}: {error}") from None
    if content.get("about"):
        say(str(content["about"]))
    possible, missing = _with_data(configs, out, data)
    for what, number in missing.items():
        say(f"{number} runs left out: {what}")
    if not possible:
        raise ValueError(f"{grid}: none of its {len(configs)} runs can begin: {'; '.join(missing)}")
    say(f"{len(possible)} runs into {out}")
    groups: list[RunGroup] = []
    next_report = 0.0

    def compare_all(*, at_once: bool = False) -> None:
        """Write table and report, in a twentieth of the time at most."""
        nonlocal next_report
        known = [one.run_folder for one in possible if _is_known(one.run_folder)]
        begin = time.monotonic()
        if known and (at_once or begin >= next_report):
            groups[:] = compare(known, out, say=say)
            end = time.monotonic()
            next_report = end + 20 * (end - begin)

    run = GridRun(
        possible, choose_workers(workers, ray=ray, out=out, imports=imports, quiet=quiet, say=say), say
    )
    outcomes = run.run(compare_all)
    compare_all(at_once=True)
    show(terminal_table(groups))
    _tell_end(outcomes, out, say)
    return not missing and all(outcome.is_whole for outcome in outcomes.values())


def _is_known(folder: Path) -> bool:
    return (folder / "config.json").exists() or (folder / "failure.json").exists()


def _tell_end(outcomes: dict[Path, Outcome], out: Path, say: Callable[[str], None]) -> None:
    bad = {folder: outcome for folder, outcome in outcomes.items() if not outcome.is_whole}
    for folder, outcome in bad.items():
        say(f"{folder} {outcome.kind}: {outcome.reason}")
    again = f"; {len(bad)} are not, the same command tries them again" if bad else ""
    done = f"{len(outcomes) - len(bad)} of {len(outcomes)} runs are finished"
    say(f"{done}{again}. Report: {out / 'report.html'}")


def _with_data(
    configs: Sequence[TrainConfig], out: Path, data: Path | None
) -> tuple[list[TrainConfig], Counter[str]]:
    """The runs whose data set and labels are there, and why others are left out, with their number."""
    possible: list[TrainConfig] = []
    missing: Counter[str] = Counter()
    for config in configs:
        folder = Path(config.dataset)
        if config.dataset == DIGITS and not folder.exists():
            folder = _packed_digits(out)
        elif data is not None:
            folder = data / folder.name
        kind, label = parse_noise(config.noise)
        if not folder.is_dir():
            missing[f"{folder} is not there: make it with selfie-convert pack SOURCE {folder}"] += 1
        elif kind == "overlay" and not (folder / "labels" / f"{label}.npy").exists():
            missing[
                f"{folder} has no labels {label}: make them with "
                f"selfie-convert labels {folder} FILE --key {label}"
            ] += 1
        else:
            possible.append(dataclasses.replace(config, dataset=str(folder)))
    return possible, missing


def _packed_digits(out: Path) -> Path:
    from selfie_train.commands.demo import records

    return records(DIGITS, out).path
