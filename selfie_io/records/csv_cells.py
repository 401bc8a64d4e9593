"""Cells of a CSV that a spreadsheet cannot take for a formula, and that are read back exactly.

The rule: a cell that begins with = + - @, a tab or a carriage return, after any number of apostrophes, is
written with one more apostrophe in front. Reading removes one apostrophe from such a cell. Every other cell
stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_WRITTEN_HARMLESS = re.compile(r"'+[=+\-@\t\r]")


def harmless_cell(text: str) -> str:
    """Write `text` as a cell that no spreadsheet computes."""
    return f"'{text}" if _FORMULA.match(text) else text


def harmless_row(cells: Iterable[Any]) -> list[Any]:
    """A row for csv.writer: text by `harmless_cell`, numbers as they are."""
    return [harmless_cell(cell) if isinstance(cell, str) else cell for cell in cells]


def original_cell(cell: str) -> str:
    """Read back what `harmless_cell` wrote."""
    return cell[1:] if _WRITTEN_HARMLESS.match(cell) else cell
