"""The selfie-train command: parse, call, exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from selfie_train.config import TrainConfig

DONE, FAILED, INTERRUPTED = 0, 1, 130

_DESCRIPTION = """Training with noisy labels: SELFIE, Co-teaching, Active Bias and the plain way.

  selfie-train demo                                    from nothing to a comparison, in minutes
  selfie-train run --dataset data/cifar10 --noise pair:0.4 --model convnet --epochs 20 --warmup 5
  selfie-train resume runs/RUN                         goes on where it stopped, whatever stopped it
  selfie-train compare runs/A runs/B --out runs/table  a table and curves, over seeds
  selfie-train audit runs/RUN --out runs/audit         which labels are probably wrong
  selfie-train reproduce grid.json --out runs/grid     many runs; those done are skipped
  torchrun --nproc-per-node 2 -m selfie_train run ...  the same, on many processes or machines

Exit status: 0 done; 1 the data or a run is bad; 2 the command is wrong; 130 stopped, to be resumed."""


@dataclass(frozen=True)
class Demo:
    """Real pictures, 40 % of their labels changed: the plain way and SELFIE side by side, in minutes."""

    data: str = "digits"
    """digits (from scikit-learn), a source that `selfie-convert pack` reads, or a folder of records."""
    out: Path = Path("runs/demo")
    """Where records, runs and report go; what is there of an earlier demo is used."""
    seed: int = 0
    """Of noise, weights and order."""


@dataclass(frozen=True)
class Resume:
    """Go on with a run at the batch after its last checkpoint."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""


@dataclass(frozen=True)
class Compare:
    """Put runs side by side, finished or not: OUT/table.csv and OUT/report.html."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """The runs' folders."""
    out: Path
    """Where the table and the report go."""


@dataclass(frozen=True)
class Audit:
    """Rank the training records of a finished run by how likely their label is wrong."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    out: Path
    """Where issues.csv and the gallery go."""


@dataclass(frozen=True)
class Reproduce:
    """Train every run of a grid and compare them; runs that are done are skipped, begun ones go on."""

    grid: tyro.conf.Positional[Path]
    """A JSON file: {"base": {setting: value}, "axes": {setting: [values]}}."""
    out: Path
    """Where the runs, the table and the report go."""


Command = (
    Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[
        TrainConfig, tyro.conf.subcommand("run", description="Train by one method; every setting below.")
    ]
    | Annotated[Resume, tyro.conf.subcommand("resume")]
    | Annotated[Compare, tyro.conf.subcommand("compare")]
    | Annotated[Audit, tyro.conf.subcommand("audit")]
    | Annotated[Reproduce, tyro.conf.subcommand("reproduce")]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    # Before torch is imported: its threads share the cores with the loader's, and by default each of them
    # spins while it waits for the others. On two busy cores that made training ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    command = tyro.cli(
        Command,
        prog="selfie-train",
        description=_DESCRIPTION,
        args=arguments,
        config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.PositionalMetavarFromFieldName),
    )  # a wrong command, or a value that TrainConfig refuses, ends here with status 2
    from selfie_train.engine import Divergence, Stopped

    try:
        return _run(command)
    except (ValueError, IndexError, OSError, ModuleNotFoundError, Divergence) as error:
        _complain(error)
        return FAILED
    except Stopped as stopped:
        _complain(stopped)
        return INTERRUPTED
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED


def _run(command: Demo | TrainConfig | Resume | Compare | Audit | Reproduce) -> int:
    console = Console(highlight=False, markup=False)
    if isinstance(command, TrainConfig):
        from selfie_train.engine import train

        train(command)
    elif isinstance(command, Demo):
        from selfie_train.demo import demo

        demo(command.data, command.out, command.seed, console)
    elif isinstance(command, Resume):
        from selfie_train.engine import resume

        resume(command.run)
    elif isinstance(command, Compare):
        from selfie_train.compare import compare, terminal_table

        console.print(terminal_table(compare(command.runs, command.out)))
    elif isinstance(command, Audit):
        from selfie_train.audit import audit

        console.print(audit(command.run, command.out))
    else:
        from selfie_train.sweep import reproduce

        return DONE if reproduce(command.grid, command.out) else FAILED
    return DONE


def _complain(error: object) -> None:
    print(f"selfie-train: {error}", file=sys.stderr)
