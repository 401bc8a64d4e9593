"""What a run says while it trains: log.csv, events.jsonl (what happened when), the terminal, TensorBoard."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from selfie_io.records.full_disk import named_errors
from selfie_io.records.plain_files import open_to_append
from selfie_io.rich_console import RichConsole
from selfie_train.runs.log import Row, append_row, write_log


class TrainingConsole(RichConsole):
    """A console that falls silent where nobody reads it any longer: training goes on."""

    def on_broken_pipe(self) -> None:
        """Say nothing more (`selfie-train run ... | head`)."""
        self.quiet = True


# Of the epochs' lines, which fit 80 columns; errors in percent: on the given labels, on the test split.
_HEAD = "run  epoch  lr          loss  given %  test %  precision  refurbished  images/s"


def _cell(value: float | None, width: int, digits: int) -> str:
    return " " * width if value is None else f"{value:>{width}.{digits}f}"


class RunLog:
    """Writes a run's logs; made in every process, silent and writing nothing unless `is_first`."""

    def __init__(self, folder: Path, *, is_first: bool, quiet: bool, tensorboard: bool) -> None:
        self.folder = folder
        self.is_first = is_first
        self.console = TrainingConsole(quiet=quiet or not is_first)
        self._progress: Progress | None = None
        self._headed = False
        self._held: tuple[Row, float, Any] | None = None
        self._board = _tensorboard_writer(folder / "tensorboard") if tensorboard and is_first else None

    def event(self, kind: str, **values: Any) -> None:
        """Append one line to events.jsonl: the time (seconds since 1970), the kind, `values`."""
        if self.is_first:
            line = json.dumps({"time": round(time.time(), 3), "event": kind, **values})
            path = self.folder / "events.jsonl"
            with named_errors(path), open_to_append(path) as file:
                file.write(f"{line}\n".encode())

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, soft_wrap=True)

    def restore(self, rows: list[Row]) -> None:
        """Make log.csv hold exactly `rows`, whatever a killed process left in it."""
        if self.is_first:
            write_log(self.folder, rows)

    def hold_row(self, row: Row, images_per_second: float, label_precisions: Any) -> None:
        """Keep what there is to say of an epoch until `write_row`."""
        self._held = row, images_per_second, label_precisions

    def write_row(self) -> None:
        """Log the epoch that is held, if any, everywhere; its label_precisions go to events.jsonl alone."""
        if not self.is_first or self._held is None:
            return
        row, images_per_second, precisions = self._held
        self._held = None
        append_row(self.folder, row)
        speed = round(images_per_second, 1)
        self.event("epoch", images_per_second=speed, **row, label_precisions=precisions)
        if not self._headed:
            self.say(_HEAD)
            self._headed = True
        self.say(
            f"{row['run']:>3}  {row['epoch']:>5}  {row['lr']:<8.4g}{row['train_loss']:>8.4f}"
            f"{_cell(row['train_error'], 9, 2)}{_cell(row['test_error'], 8, 2)}"
            f"{_cell(row['label_precision'], 11, 3)}{_cell(row['refurbished_fraction'] or None, 13, 3)}"
            f"{images_per_second:>10,.0f}"
        )
        if self._board is not None:
            for name, value in row.items():
                if name not in ("epoch", "run") and value is not None:
                    self._board.add_scalar(f"run {row['run']}/{name}", value, row["epoch"])

    def start_epoch(self, title: str, num_batches: int, done: int) -> None:
        """Show a progress bar for the epoch where the output is a terminal."""
        if self.console.is_terminal and not self.console.quiet:
            self._progress = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(10),
                TextColumn("{task.fields[figures]}", markup=False),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self._progress.start()
            self._progress.add_task(title, total=num_batches, completed=done, figures="")

    def advance(self, done: int, loss: float, error: float, images_per_second: float) -> None:
        """Move the bar to `done` batches; loss and error (percent) are means over the epoch so far."""
        if self._progress is not None:
            figures = f"loss {loss:.4f}  error {error:5.2f} %  {images_per_second:,.0f}/s"
            self._progress.update(self._progress.task_ids[0], completed=done, figures=figures)

    def start_test(self, title: str, num_batches: int) -> None:
        """Show a progress bar for the test after an epoch where the output is a terminal."""
        self.start_epoch(title, num_batches, 0)

    def advance_test(self, done: int) -> None:
        """Move the bar to `done` batches."""
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], completed=done)

    def end_epoch(self) -> None:
        """Remove the bar."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def close(self) -> None:
        """Remove the bar and close TensorBoard's file."""
        self.end_epoch()
        if self._board is not None:
            self._board.close()


def _tensorboard_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError(
            "tensorboard needs TensorBoard, which is not installed: pip install 'selfie-io[report]'"
        ) from error
    return SummaryWriter(str(folder))
