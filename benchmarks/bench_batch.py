"""Measures the Python cost of a batch: the processor time of the thread that takes the batches.

The time covers the request for a batch, its tensors and the release of the last batch. With images of one
pixel there is hardly any other work, so that the wall time is an upper bound.

Run: python benchmarks/bench_batch.py [--repeats 15] [--batches 4000]
"""

import argparse
import itertools
import statistics
import tempfile
import time
from pathlib import Path

from bar_chart import Bar, Panel
from outcome import machine, write
from random_records import write_records
from rich.console import Console
from rich.table import Table

import selfie_io as sio

# shape, batch size, threads
WORKS = [((1, 1, 1), 1, 1), ((1, 1, 1), 256, 1), ((3, 32, 32), 256, 1), ((3, 32, 32), 256, 2)]


def take(batches, count):
    """Microseconds a batch: wall time, and processor time of this thread."""
    start, thread_start = time.perf_counter(), time.thread_time()
    for images, labels, record_ids, indices in itertools.islice(batches, count):  # noqa: B007 (in hand)
        pass
    seconds, thread_seconds = time.perf_counter() - start, time.thread_time() - thread_start
    return 1e6 * seconds / count, 1e6 * thread_seconds / count


def measure(folder, shape, batch_size, threads, repeats, count):
    """One row of the table. Images of more than one pixel get a fifth of the batches."""
    split = sio.open_dataset(folder, shape=shape).train
    count = count if shape == (1, 1, 1) else count // 5
    with sio.Loader(split, batch_size=batch_size, shuffle=True, num_threads=threads) as loader:
        batches = itertools.chain.from_iterable(itertools.repeat(loader))
        take(batches, count)
        wall, thread = zip(*(take(batches, count) for _ in range(repeats)), strict=True)
    figures = {
        f"{name}_{what}": round(tell(values), 2)
        for name, values in (("wall", wall), ("python", thread))
        for what, tell in (("median", statistics.median), ("min", min), ("max", max))
    }
    return {"shape": shape, "batch_size": batch_size, "threads": threads, **figures}


def name_of(row):
    return f"{'x'.join(map(str, row['shape']))}, batch {row['batch_size']}, {row['threads']} threads"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--batches", type=int, default=4000, help="of one repeat")
    arguments = parser.parse_args()
    rows = []
    table = Table("microseconds a batch", "Python, median", "min", "max", "wall, median")
    with tempfile.TemporaryDirectory() as temporary:
        for shape, batch_size, threads in WORKS:
            folder = Path(temporary) / "x".join(map(str, shape))
            if not folder.exists():
                write_records(folder, 50_000, shape)
            rows.append(measure(folder, shape, batch_size, threads, arguments.repeats, arguments.batches))
            keys = ("python_median", "python_min", "python_max", "wall_median")
            table.add_row(name_of(rows[-1]), *(f"{rows[-1][key]:.1f}" for key in keys))
    Console().print(table)
    bars = [Bar(name_of(row), row["python_median"], f"{row['python_median']:.1f}") for row in rows]
    panels = [Panel("the Python side of a batch", "microseconds", bars)]
    print(write("bench_batch", {"machine": machine(), "rows": rows}, panels))


if __name__ == "__main__":
    main()
