"""Times several callables in one run: in turn, after a warm-up.

On a shared machine compare rows of one run, never two runs: every round calls each callable once, in an order
that rotates, and ratios are ratios of medians over the same rounds.
"""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bar_chart import Bar, Panel
from outcome import machine, write
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Timing:
    """The seconds of one callable, one value a round, in order of measurement.

    `cpu_seconds` is the processor time of all threads of this process: other load on the machine hardly
    changes it, but it changes wall time.
    """

    name: str
    seconds: list[float]
    cpu_seconds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def median_cpu(self) -> float:
        return statistics.median(self.cpu_seconds)


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`; one call handles `items` images or labels (0: no rate is shown)."""

    title: str
    timings: list[Timing]
    items: int = 0
    notes: dict[str, Any] = field(default_factory=dict)

    def ratio(self, slow: str, fast: str) -> float:
        """The median of `slow` divided by that of `fast`."""
        by_name = {timing.name: timing for timing in self.timings}
        return by_name[slow].median / by_name[fast].median


def compare(
    title: str,
    candidates: Mapping[str, Callable[[], object]],
    *,
    repeats: int = 7,
    warmups: int = 1,
    items: int = 0,
    notes: Mapping[str, Any] | None = None,
) -> Comparison:
    """Call each candidate `warmups` times, then `repeats` times in turn, without garbage collection."""
    for _ in range(warmups):
        for candidate in candidates.values():
            candidate()
    names = list(candidates)
    timings = {name: Timing(name, [], []) for name in names}
    gc.collect()
    gc.disable()
    try:
        for number in range(repeats):
            shift = number % len(names)
            for name in names[shift:] + names[:shift]:
                start, cpu_start = time.perf_counter(), time.process_time()
                candidates[name]()
                timings[name].seconds.append(time.perf_counter() - start)
                timings[name].cpu_seconds.append(time.process_time() - cpu_start)
    finally:
        gc.enable()
    return Comparison(title, list(timings.values()), items, dict(notes or {}))


def show(comparison: Comparison, *, baseline: str | None = None) -> None:
    """Print a table; speed-ups are over `baseline`."""
    caption = "milliseconds" + (f"; speed-up over {baseline}" if baseline else "")
    table = Table(title=comparison.title, caption=caption)
    table.add_column(no_wrap=True)
    columns = ["median", "min", "max", "CPU"]
    columns += ["per second"] if comparison.items else []
    columns += ["speed-up"] if baseline else []
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for timing in comparison.timings:
        figures = (timing.median, min(timing.seconds), max(timing.seconds), timing.median_cpu)
        row = [_milliseconds(figure) for figure in figures]
        row += [f"{comparison.items / timing.median:,.0f}"] if comparison.items else []
        row += [f"{comparison.ratio(baseline, timing.name):.1f}"] if baseline else []
        table.add_row(timing.name, *row)
    console = Console()
    console.width = max(console.width, 100)  # a log file has no width
    console.print(table)


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:,.0f}" if seconds >= 0.1 else f"{1e3 * seconds:.3g}"


def save(name: str, comparisons: list[Comparison], **figures: Any) -> Path:
    """Write the comparisons, the machine and other `figures` to results/<name>.json, and a chart."""
    content = {"machine": machine(), **figures, "comparisons": [asdict(c) for c in comparisons]}
    return write(name, content, [_panel(comparison) for comparison in comparisons])


def _panel(comparison: Comparison) -> Panel:
    first = comparison.timings[0]
    speeds = [(timing, first.median / timing.median) for timing in comparison.timings]
    bars = [Bar(one.name, speed, f"{speed:.3g} ({_milliseconds(one.median)} ms)") for one, speed in speeds]
    return Panel(comparison.title, f"speed-up over {first.name}", bars)
