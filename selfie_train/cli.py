"""The selfie-train command: parse, call, exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import tyro

from selfie_io import __version__
from selfie_io._extras import advice
from selfie_io.command_line import parse
from selfie_io.console import (
    harmless,
    harmless_output,
    open_closed_streams,
    quiet_on_broken_pipe,
    unexpected,
)
from selfie_io.foreign_settings import ignore_foreign_settings, say_ignored
from selfie_io.termination import interrupted_by_sigterm
from selfie_train.commands.audit import Audit
from selfie_train.commands.compare import Compare
from selfie_train.commands.demo import Demo
from selfie_train.commands.evaluate import Evaluate
from selfie_train.commands.export import ExportRun
from selfie_train.commands.methods import Methods
from selfie_train.commands.predict import Predict
from selfie_train.commands.reproduce import Reproduce
from selfie_train.commands.resume import Resume
from selfie_train.commands.run import Train
from selfie_train.commands.subcommand import DONE, FAILED, INTERRUPTED, TrainCommand
from selfie_train.plugins import import_plugin
from selfie_train.runs.result import Divergence, Stopped

COMMANDS: dict[str, type[TrainCommand]] = {
    "demo": Demo,
    "run": Train,
    "resume": Resume,
    "compare": Compare,
    "evaluate": Evaluate,
    "predict": Predict,
    "export": ExportRun,
    "audit": Audit,
    "reproduce": Reproduce,
    "methods": Methods,
}

_DESCRIPTION = """Training with noisy labels: SELFIE and the methods it is compared with.

  selfie-train demo                            from nothing to a comparison
  selfie-train run --dataset data/mine --noise pair:0.4
                                               train by one method
  selfie-train resume runs/RUN                 go on after the last checkpoint
  selfie-train compare runs/A runs/B --out runs/table
                                               a table and curves, over seeds
  selfie-train evaluate runs/RUN --dataset data/mine
                                               errors, class by class
  selfie-train predict runs/RUN photos/        the classes of image files
  selfie-train export runs/RUN network         safetensors or ONNX
  selfie-train audit photos/ --out audits/photos
                                               which labels are wrong
  selfie-train reproduce grid.json --out runs/grid
                                               many runs, finished ones skipped
  selfie-train methods                         the methods and their options
  torchrun --nproc-per-node 2 -m selfie_train run ...
                                               on many processes or machines

COMMAND --help has options and examples. Every command takes --import MODULE for methods and models of
your own; --version tells the version.

Exit status: 0 done; 1 the data or a run is bad; 2 the command is wrong; 130 stopped, to be resumed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    open_closed_streams()
    given = sys.argv[1:] if arguments is None else arguments
    if list(given) == ["--version"]:
        print(f"selfie-train {__version__}")
        return 0
    # Before torch is imported: its threads share the cores with the loader's, and by default each of them
    # spins while it waits for the others. On two busy cores that made training ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # Of a process that is gone torch warns once a second, in thirty lines each: what names it would be lost.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if not _is_somewhere():
        return FAILED
    say_ignored(ignore_foreign_settings())
    with quiet_on_broken_pipe(), interrupted_by_sigterm() as termination:
        return termination.status(_run(sys.argv[1:] if arguments is None else arguments))


def _run(arguments: Sequence[str]) -> int:
    if list(arguments) == ["--version"]:
        print(f"selfie-train {__version__}")
        return DONE
    try:
        # A complaint quotes the arguments.
        with harmless_output(needed=any(harmless(one) != one for one in arguments)):
            command: TrainCommand = parse(
                "selfie-train",
                _DESCRIPTION,
                COMMANDS,
                _with_values(arguments),
                (tyro.conf.OmitSubcommandPrefixes, tyro.conf.PositionalMetavarFromFieldName),
            )  # a wrong command, or a value that TrainConfig refuses, ends here with status 2
    except ModuleNotFoundError as error:  # TrainConfig asks the method, which may need an extra
        _complain(error)
        return FAILED
    with harmless_output():
        return _status(command)


def _status(command: TrainCommand) -> int:
    """Run a command; returns its exit status, and says in lines why it is not 0."""
    try:
        for module in command.imports:
            import_plugin(module)
        return command.run()
    except (ValueError, IndexError, OSError, ModuleNotFoundError, Divergence) as error:
        _complain(error)
        return FAILED
    except Stopped as stopped:
        _complain(stopped)
        return INTERRUPTED
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED
    except MemoryError as error:
        _complain(f"there is not enough memory{f': {error}' if str(error) else ''}")
        return FAILED
    except RecursionError:
        _complain("the data is nested too deeply")
        return FAILED
    except Exception as error:
        _complain(unexpected(error))
        return FAILED


def _is_somewhere() -> bool:
    """Whether the current folder still exists; says so if not: torch's libraries end the process without."""
    try:
        os.getcwd()  # noqa: PTH109 - nothing is done with it
    except FileNotFoundError:
        _complain("the current folder was deleted: go to one that exists (cd)")
        return False
    return True


def _with_values(arguments: Sequence[str]) -> list[str]:
    """The arguments with a value for --channels-last, which was a flag before it could be auto."""
    explicit: list[str] = []
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument == "--no-channels-last":
            explicit += ["--channels-last", "False"]
        else:
            explicit.append(argument)
            if argument == "--channels-last" and following not in ("auto", "True", "False"):
                explicit.append("True")
    return explicit


def _complain(error: BaseException | str) -> None:
    told = error if isinstance(error, str) else advice(error, training=True)
    for line in told.split("\n"):
        print(f"selfie-train: {line}", file=sys.stderr)
