"""What all subcommands share: how to run one, show progress, parse and print shapes."""

import contextlib
import functools
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import ClassVar

from selfie_io import __version__
from selfie_io.records.layout import RecordLayout

DONE, BAD_DATA, BAD_COMMAND = 0, 1, 2  # exit statuses


class CommandError(Exception):
    """The command line is wrong; exit status 2."""


class Subcommand(ABC):
    """A subcommand: its fields are the command line."""

    EXAMPLES: ClassVar[tuple[str, ...]] = ()  # below its help

    @abstractmethod
    def run(self) -> int:
        """Run and return the exit status; raises CommandError, or ValueError and OSError for bad
        data.
        """


@functools.cache
def tool() -> str:
    """This program and its version, for manifests."""
    return f"selfie-convert {__version__}"


def say(line: str) -> None:
    """Print a line that is not the result, to stderr."""
    print(line, file=sys.stderr)


@contextlib.contextmanager
def progress(what: str, total: int, unit: str = "records") -> Iterator[Callable[[int], None]]:
    """Show progress, rate and time left on a terminal; yields the function to call with each step."""
    if not sys.stderr.isatty():
        yield lambda step: None  # noqa: ARG005
        return
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    from selfie_io.rich_console import RichConsole

    class Rate(ProgressColumn):
        """Steps a second."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed or 0
            amount = f"{speed / 1e6:,.0f} MB/s" if unit == "bytes" else f"{speed:,.0f} {unit}/s"
            return Text(amount, style="progress.data.speed")

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        Rate(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=RichConsole(stderr=True)) as bars:
        task = bars.add_task(what, total=total)
        yield lambda step: bars.advance(task, step)


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) from "HxW"; raises CommandError."""
    match = re.fullmatch(r"([0-9]{1,6})x([0-9]{1,6})", text, re.ASCII)
    if match is None:
        raise CommandError(f"a size must be HEIGHTxWIDTH, 64x64 say, got {text!r}")
    return int(match[1]), int(match[2])


def parse_shape(text: str) -> tuple[int, int, int]:
    """(channels, height, width) from "C,H,W"; raises CommandError."""
    match = re.fullmatch(r"([0-9]{1,6}),([0-9]{1,6}),([0-9]{1,6})", text, re.ASCII)
    if match is None:
        raise CommandError(f"a shape must be CHANNELS,HEIGHT,WIDTH, 3,32,32 say, got {text!r}")
    try:
        return RecordLayout(int(match[1]), int(match[2]), int(match[3])).shape
    except ValueError as error:
        raise CommandError(str(error)) from error


def shape_text(shape: tuple[int, ...]) -> str:
    """(3, 32, 32) as "3x32x32"."""
    return "x".join(map(str, shape))
