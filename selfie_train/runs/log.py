"""log.csv: one row an epoch.

It has no times, so a resumed run ends with the same file as one that never stopped.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from selfie_io.records.atomic import atomic_path
from selfie_io.records.full_disk import named_errors
from selfie_io.records.plain_files import open_plain_text, open_to_append

Row = dict[str, Any]

COLUMNS = (
    "epoch",  # of this run, from 1
    "run",  # from 0; SELFIE's restarts are runs 1, 2, ...
    "lr",
    "train_loss",  # cross entropy against the given labels, mean over the samples seen
    "train_error",  # percent of predictions in train mode that differ from the given labels
    "test_loss",
    "test_error",  # percent
    "noise_rate",  # what the method assumed
    "label_precision",
    "label_recall",
    "refurbished_fraction",
    "refurbish_accuracy",
)


def checked_rows(rows: Any) -> list[Row]:
    """The rows that a checkpoint tells; raises ValueError unless each has a number or None in each column."""
    if not isinstance(rows, list):
        raise ValueError(f"rows must be a list, got {type(rows).__name__}")
    for row in rows:
        if not isinstance(row, dict) or set(row) != set(COLUMNS):
            raise ValueError(f"a row must have the columns {', '.join(COLUMNS)}, got {str(row)[:100]}")
        if not all(value is None or type(value) in (int, float) for value in row.values()):
            raise ValueError(f"a row must hold numbers, got {str(row)[:100]}")
    return rows


def write_log(folder: Path, rows: list[Row]) -> None:
    """Make RUN/log.csv hold exactly `rows`, whatever a killed process left in it."""
    with atomic_path(folder / "log.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def append_row(folder: Path, row: Row) -> None:
    """Add one epoch to RUN/log.csv."""
    path = folder / "log.csv"
    line = io.StringIO()
    csv.DictWriter(line, COLUMNS).writerow(row)
    with named_errors(path), open_to_append(path) as file:
        file.write(line.getvalue().encode())


def read_log(folder: Path) -> list[Row]:
    """The rows of RUN/log.csv with numbers as numbers and None where a cell is empty.

    Raises OSError if there is none, ValueError if it is not one.
    """
    path = folder / "log.csv"
    try:
        with open_plain_text(path) as file:
            reader = csv.DictReader(file)
            columns = tuple(reader.fieldnames or ())
            rows = [_row(reader.line_num, row) for row in reader] if columns == COLUMNS else []
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}: {error}") from error
    if columns != COLUMNS:
        raise ValueError(f"{path} must have the columns {', '.join(COLUMNS)}")
    return rows


def _row(line: int, cells: dict[Any, Any]) -> Row:
    if None in cells or None in cells.values():
        raise ValueError(f"line {line} must have {len(COLUMNS)} cells")
    try:
        return {name: _number(name, cell) for name, cell in cells.items()}
    except ValueError as error:
        raise ValueError(f"line {line}: {error}") from error


def _number(name: str, cell: str) -> int | float | None:
    if cell == "":
        return None
    return int(cell) if name in ("epoch", "run") else float(cell)
