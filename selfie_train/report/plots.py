"""Curves as SVG in the page's text colour, readable on light and dark screens."""

from __future__ import annotations

import contextlib
import io
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@contextlib.contextmanager
def _without_backend() -> Iterator[None]:
    """Hide MPLBACKEND: a figure is drawn without a backend, and a notebook's may be missing here.

    matplotlib reads it when it is imported, and fails on a backend that it cannot find.
    """
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        yield
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend


with _without_backend():
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas
    from matplotlib.ticker import MaxNLocator

# Distinct for colour-blind readers and on both grounds (after Okabe and Ito).
COLOURS = ("#0090d0", "#e8770a", "#12a182", "#d05a9f", "#b59f00", "#8a79d6")
_INK = "#010203"  # stands for the page's text colour


@dataclass(frozen=True)
class Curve:
    """One line: its name in the legend, its points, how it is drawn."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]  # None: a gap
    colour: int = 0  # of COLOURS
    dashed: bool = False
    low: Sequence[float] | None = None  # a band around the line
    high: Sequence[float] | None = None
    marker: str = ""


def draw_curves(panels: Sequence[tuple[str, str, Sequence[Curve]]], x_label: str = "epoch") -> str:
    """Panels (title, y label, curves) side by side, as an SVG element."""
    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "selfie",  # the same curves give the same bytes
        "font.family": "sans-serif",
        "font.size": 9,
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "axes.edgecolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with mpl.rc_context(style):
        canvas = Canvas(figsize=(4.3 * len(panels) + 0.2, 3.1), layout="constrained")
        axes = canvas.subplots(1, len(panels), squeeze=False)[0]
        for place, (title, y_label, curves) in zip(axes, panels, strict=True):
            for curve in curves:
                _draw(place, curve)
            place.set_title(title, loc="left", fontsize=10)
            place.set_xlabel(x_label)
            if all(float(x).is_integer() for curve in curves for x in curve.x):
                place.xaxis.set_major_locator(MaxNLocator(integer=True))
            place.set_ylabel(y_label)
            place.grid(axis="y", color=_INK, alpha=0.15, linewidth=0.6)
            place.legend(frameon=False, fontsize=8)
        out = io.StringIO()
        canvas.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    svg = out.getvalue()
    return svg[svg.index("<svg") :].replace(_INK, "currentColor")


def _draw(place: Any, curve: Curve) -> None:
    colour = COLOURS[curve.colour % len(COLOURS)]
    y = [float("nan") if value is None else value for value in curve.y]
    style = "--" if curve.dashed else "-"
    place.plot(curve.x, y, style, color=colour, label=curve.name, linewidth=1.5, marker=curve.marker or None)
    alone = [(x, value) for x, value, alone in zip(curve.x, y, _alone(y), strict=True) if alone]
    if alone and not curve.marker:  # a line has two ends: without a mark, a point between gaps is not drawn
        place.plot(*zip(*alone, strict=True), "o", color=colour, markersize=3.5)
    if curve.low is not None and curve.high is not None:
        place.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)


def _alone(y: Sequence[float]) -> list[bool]:
    """Which values have a gap, or an end, on both sides."""
    known = [False, *(not math.isnan(value) for value in y), False]
    return [
        here and not (before or after)
        for before, here, after in zip(known, known[1:], known[2:], strict=False)
    ]
