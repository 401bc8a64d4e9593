"""Draws results as bar charts in an SVG file, one panel a table."""

from pathlib import Path
from typing import NamedTuple

FIRST, OTHERS = "#0090d0", "#b8b8b8"


class Bar(NamedTuple):
    """A bar: its name, its length and the text at its end."""

    name: str
    value: float
    text: str


class Panel(NamedTuple):
    """A table: `unit` is that of the lengths; the other bars are compared with the first."""

    title: str
    unit: str
    bars: list[Bar]


def draw(path: Path, panels: list[Panel]) -> None:
    """Write the panels below each other, or in two columns if there are more than two."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    columns = 1 if len(panels) <= 2 else 2
    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    heights = [0.8 + 0.24 * max(len(panel.bars) for panel in row) for row in rows]
    # The same rows give the same bytes.
    style = {"svg.fonttype": "none", "svg.hashsalt": "selfie", "font.size": 8}
    with mpl.rc_context(style):
        figure = Figure((6.4 * columns, sum(heights)), layout="constrained")
        grid = figure.add_gridspec(len(rows), columns, height_ratios=heights)
        for number, panel in enumerate(panels):
            _bars(figure.add_subplot(grid[divmod(number, columns)]), panel)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _bars(axes, panel):
    values = [bar.value for bar in panel.bars]
    places = range(len(values))
    axes.barh(places, values, color=[FIRST] + [OTHERS] * (len(values) - 1), height=0.7)
    for place, bar in enumerate(panel.bars):
        axes.annotate(bar.text, (bar.value, place), (3, 0), textcoords="offset points", va="center")
    if max(values) > 20 * min(values):
        axes.set_xscale("log")
        axes.set_xlim(min(values) / 2, max(values) * 12)
    else:
        axes.set_xlim(0, max(values) * 1.5)
    axes.set_yticks(places, [bar.name for bar in panel.bars])
    axes.invert_yaxis()
    axes.set_title(panel.title, loc="left", fontsize=9)
    axes.set_xlabel(panel.unit)
    axes.spines[["top", "right"]].set_visible(False)
