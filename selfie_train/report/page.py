"""A page made of tables, figures and galleries, filled into the one template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from selfie_io.console import harmless
from selfie_io.records.atomic import atomic_path


@dataclass(frozen=True)
class Table:
    """Rows of text; the first cell of each is its heading."""

    heading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    kind: str = field(default="table", init=False)


@dataclass(frozen=True)
class MatrixTable:
    """Counts of pairs of classes, int64 (k, k), with a title for each axis; darker for more of the row."""

    heading: str
    row_title: str
    column_title: str
    names: Sequence[str]
    counts: NDArray[np.int64]
    note: str = ""
    kind: str = field(default="matrix", init=False)

    def rows(self) -> list[tuple[str, list[tuple[str, float]]]]:
        """Each row's class, and the text and the share of the row of each cell."""
        sums = np.maximum(self.counts.sum(axis=1), 1)
        return [
            (name, [(f"{count:,}" if count else "", round(count / total, 3)) for count in of_row])
            for name, of_row, total in zip(self.names, self.counts.tolist(), sums.tolist(), strict=True)
        ]


@dataclass(frozen=True)
class Figure:
    """One drawing."""

    heading: str
    svg: str  # the whole element
    note: str = ""
    kind: str = field(default="figure", init=False)


@dataclass(frozen=True)
class GalleryImage:
    """One image of a gallery with what is said about it."""

    png: str  # base64
    given: str
    suggested: str  # "": none
    verdict: str = ""  # "right", "wrong", or unknown: ""
    detail: str = ""


@dataclass(frozen=True)
class Gallery:
    """Images side by side: given label -> new label; `small` ones in rows of many."""

    heading: str
    images: Sequence[GalleryImage]
    note: str = ""
    small: bool = False
    kind: str = field(default="gallery", init=False)


Section = Table | MatrixTable | Figure | Gallery


def write_page(path: Path, title: str, lead: str, sections: Sequence[Section]) -> None:
    """Write the page to `path`, whole or not at all."""
    environment = Environment(
        loader=PackageLoader("selfie_train.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    html = environment.get_template("report.html").render(title=title, lead=lead, sections=sections)
    with atomic_path(path) as temporary:
        temporary.write_text(html, encoding="utf-8")


def _shown(value: object) -> object:
    """What an expression of the template gives; control characters and bidi marks of a name are escaped."""
    return harmless(value, keep="\n\t\xa0") if type(value) is str else value


def percent(value: float | None, digits: int = 1) -> str:
    """A share 0..1 as percent; n/a where unknown."""
    return "n/a" if value is None else f"{100 * value:.{digits}f} %"


def figure_text(value: float | None, digits: int = 2, unit: str = "") -> str:
    """A number with its unit; n/a where unknown."""
    return "n/a" if value is None else f"{value:,.{digits}f}{unit}"
