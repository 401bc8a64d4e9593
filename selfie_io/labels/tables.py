"""Reads tables of labels: the columns asked for of a CSV, and where each of their rows belongs."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from selfie_io.labels._vectors import Vector
from selfie_io.records.csv_cells import original_cell
from selfie_io.records.dataset import RecordDataset
from selfie_io.records.plain_files import bounded_lines, open_plain, open_plain_text

ID_COLUMNS = ("record_id", "index", "name")  # the first that is there decides; the others must agree
NO_LABEL_GIVEN = -2  # of an empty cell
_SEPARATORS = ",;\t"
_MOST_LINE = 1 << 20
_MOST_RECORDS = 10_000_000  # where nobody says
_MORE_ROWS = 1000  # than records: those that are wrong get a message of their own
_ROWS_BEFORE = 2  # the header is row 1, as a spreadsheet shows it


@dataclass(frozen=True)
class LabelTable:
    """A CSV with a header. No cell is parsed before its column is asked for."""

    path: Path
    header: list[str]
    rows: list[list[str]]

    def has(self, column: str) -> bool:
        """Whether the header names a column."""
        return column in self.header

    def cells(self, column: str) -> list[str]:
        """The cells of a column, as they were before a writer made them harmless."""
        place = self.header.index(column)
        return [original_cell(row[place]) for row in self.rows]

    def row_name(self, row: int) -> str:
        """How messages call a row: counted as a spreadsheet does, the header being row 1."""
        return f"row {row + _ROWS_BEFORE}"

    def bad_cell(self, row: int, column: str, message: str) -> ValueError:
        """The error for a cell, with file, row and column."""
        return ValueError(f"{self.path}: {self.row_name(row)}, column {column}: {message}")

    def integers(self, column: str) -> Vector:
        """A column of integers, int64 (rows,); raises ValueError for another cell."""
        return np.array(list(self._parse(column, parse_integer)), np.int64).reshape(-1)

    def labels(self, column: str, class_names: Sequence[str]) -> Vector:
        """A column of labels, int64 (rows,): a number, a class name, -1 for none, or nothing, which is -2.

        A cell that is both a class name and a number is a number, unless the name of the column ends
        in "class". Raises ValueError, with row and column, for another cell.
        """
        named: dict[str, int] = {}
        twice: set[str] = set()
        for label, name in enumerate(class_names):
            if named.setdefault(name, label) != label:
                twice.add(name)
        names_first = column.lower().endswith("class")

        def parse(cell: str) -> int:
            text = cell.strip()
            if not text:
                return NO_LABEL_GIVEN
            number = parse_integer(text, missing=None)
            if number is None or (names_first and text in named):
                if text in twice:
                    raise ValueError(f"more than one class is called {text!r}; write its number")
                if text not in named:
                    raise ValueError(
                        f"must be a class name, a number in 0..{len(class_names) - 1}, or -1 to leave the "
                        f"record out, got {text!r}"
                    )
                return named[text]
            if not -1 <= number < len(class_names):
                raise ValueError(f"a label must be in 0..{len(class_names) - 1}, or -1, got {number}")
            return number

        return np.array(list(self._parse(column, parse)), np.int64).reshape(-1)

    def _parse(self, column: str, parse: Callable[[str], int | None]) -> Iterator[int | None]:
        for row, cell in enumerate(self.cells(column)):
            try:
                yield parse(cell)
            except ValueError as error:
                raise self.bad_cell(row, column, str(error)) from error


def parse_integer(cell: str, missing: int | str | None = "refused") -> int | None:
    """An integer, also as a spreadsheet or pandas may write it ("3.0").

    `missing`: what stands for another cell; by default ValueError is raised.
    """
    text = cell.strip()
    whole = text.removesuffix(".0")
    digits = whole.removeprefix("-")
    if digits.isascii() and digits.isdecimal() and len(digits) <= 18:
        return int(whole)
    if isinstance(missing, str):
        raise ValueError(f"must be an integer, got {text!r}")
    return missing


def read_table(path: Path, expected: Sequence[str] = (), *, records: int = _MOST_RECORDS) -> LabelTable:
    """Read a CSV with a header, in UTF-8, or UTF-16 with a byte-order mark.

    Of comma, semicolon and tab, the separator is the one that finds most of the `expected` columns,
    and then the one that makes most columns. `records`: how many the table may be about.

    Raises ValueError if it is no such table or has many more rows, OSError if it cannot be read.
    """
    most_rows = 2 * records + _MORE_ROWS
    try:
        with open_plain(path) as file:
            wide = file.read(2) in (b"\xff\xfe", b"\xfe\xff")
        encoding = "utf-16" if wide else "utf-8-sig"
        with open_plain_text(path, encoding) as text:
            first = [line.rstrip("\r\n") for line in islice(bounded_lines(text, _MOST_LINE), 1)]
        header_of = {sign: next(csv.reader(first, delimiter=sign), []) for sign in _SEPARATORS}
        separator = max(
            _SEPARATORS,
            key=lambda sign: (len({*map(str.strip, header_of[sign])} & {*expected}), len(header_of[sign])),
        )
        with open_plain_text(path, encoding) as text:
            reader = csv.reader(bounded_lines(text, _MOST_LINE), delimiter=separator, strict=True)
            rows = list(islice((row for row in reader if row), most_rows + 1))
        if len(rows) > most_rows:
            raise ValueError(f"a table about {records} records must have at most {most_rows} rows")
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}: {error}") from error
    header = [original_cell(cell.strip()) for cell in rows[0]] if rows else []
    table = LabelTable(path, header, rows[1:])
    for row, cells in enumerate(table.rows):
        while len(cells) > len(header) and not cells[-1].strip():
            cells.pop()  # a spreadsheet's empty last column
        if len(cells) != len(header):
            raise ValueError(
                f"{path}: {table.row_name(row)} has {len(cells)} cells, the header {len(header)}"
            )
    for column in header:
        if header.count(column) > 1 and column in {*ID_COLUMNS, *expected}:
            raise ValueError(f"{path}: the header names the column {column!r} twice")
    return table


@dataclass(frozen=True)
class KnownRecords:
    """The records that rows of a table may name, N of them.

    place: what messages call the whole
    names: given indices, int64 (n,), returns the n names, None where unknown
    """

    place: str
    class_names: Sequence[str]
    record_ids: Vector
    names: Callable[[Vector], list[str | None]]

    def __len__(self) -> int:
        return len(self.record_ids)


def training_records(dataset: RecordDataset) -> KnownRecords:
    """The training records of a data set."""
    split = dataset.train
    return KnownRecords(
        str(dataset.path), dataset.class_names, split.record_ids.astype(np.int64), split.names
    )


def match_records(table: LabelTable, records: KnownRecords) -> tuple[Vector, str | None]:
    """The index of the training record of each row, int64 (rows,), and the column that decided.

    (empty, None) if the table has none of `ID_COLUMNS`, or nothing in them. Raises ValueError, with
    row and column, for a record that is not there, is named twice, or is called otherwise by another
    of these columns.
    """
    there = [
        column for column in ID_COLUMNS if table.has(column) and any(map(str.strip, table.cells(column)))
    ]
    numbers = [column for column in there if column != "name"]
    if not there:
        return np.zeros(0, np.int64), None
    decided = (numbers or there)[0]
    indices = _positions(table, decided, records)
    order = np.argsort(indices, kind="stable")
    for place in np.flatnonzero(np.diff(indices[order]) == 0)[:1]:
        earlier, later = order[place : place + 2].tolist()
        raise table.bad_cell(
            later,
            decided,
            f"names a record that {table.row_name(earlier)} names already ({table.cells(decided)[later]})",
        )
    for column in numbers[1:]:
        others = _positions(table, column, records)
        for row in np.flatnonzero(others != indices)[:1].tolist():
            raise table.bad_cell(
                row,
                column,
                f"names another record than column {decided}: record {others[row]} and {indices[row]}",
            )
    if "name" in there and numbers:
        _check_names(table, indices, records)
    return indices, decided


def _positions(table: LabelTable, column: str, records: KnownRecords) -> Vector:
    """The index of the record that each cell of a column names."""
    if column == "name":
        return _positions_by_name(table, records)
    wanted = table.integers(column)
    if column == "index":
        places, known = wanted, (wanted >= 0) & (wanted < len(records))
        what = f"an index must be in 0..{len(records) - 1}"
    else:
        record_ids = records.record_ids
        order = np.argsort(record_ids, kind="stable")
        found = np.minimum(np.searchsorted(record_ids[order], wanted), len(record_ids) - 1)
        places = order[found]
        known = record_ids[places] == wanted
        what = "no training record has this id"
    for row in np.flatnonzero(~known)[:1].tolist():
        raise table.bad_cell(row, column, f"{what}, got {wanted[row]}")
    return places.astype(np.int64)


def _positions_by_name(table: LabelTable, records: KnownRecords) -> Vector:
    names = records.names(np.arange(len(records)))
    places: dict[str, int] = {}
    twice = set()
    for index, name in enumerate(names):
        if name is not None and places.setdefault(name, index) != index:
            twice.add(name)
    if not places:
        raise ValueError(
            f"{table.path}: matches by name, and {records.place} keeps no names of its records; "
            "pack the source again, or add a column record_id or index"
        )
    found = []
    for row, cell in enumerate(table.cells("name")):
        if cell not in places:
            raise table.bad_cell(row, "name", f"no training record is called {cell!r}")
        if cell in twice:
            raise table.bad_cell(row, "name", f"more than one record is called {cell!r}; add a column index")
        found.append(places[cell])
    return np.array(found, np.int64)


def _check_names(table: LabelTable, indices: Vector, records: KnownRecords) -> None:
    """Hold names, where the table and the data set both know one, against the records."""
    for row, (cell, name) in enumerate(zip(table.cells("name"), records.names(indices), strict=True)):
        if cell and name is not None and cell != _written(name):
            raise table.bad_cell(
                row, "name", f"this record is called {name!r}, got {cell!r}: is it another data set?"
            )


def _written(name: str) -> str:
    """A name as a browser writes it to UTF-8: bytes that are no text are replaced."""
    return name.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
