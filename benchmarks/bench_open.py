"""Time and memory until the first batch, for 10^4, 10^6 and 10^8 records in sparse files.

Each measurement has its own process: the seconds from open_dataset() to the first batch, and the resident
memory above that of a bare `import torch` (the ring is listed separately); then 20 epochs of a small set.

Run: python benchmarks/bench_open.py [--records 10000 1000000 100000000] [--repeats 5]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bar_chart import Bar, Panel
from outcome import machine, write
from rich.console import Console
from rich.table import Table

RECORD_BYTES = 8 + 3 * 32 * 32
BATCH = 256
RING_BATCHES = 6


def resident_megabytes():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def first_batch(folder):
    """In a fresh process: seconds and megabytes."""
    import torch  # noqa: F401

    before = resident_megabytes()
    import selfie_io as sio

    start = time.perf_counter()
    split = sio.open_dataset(folder, shape=(3, 32, 32)).train
    loader = sio.Loader(split, batch_size=BATCH, shuffle=True, num_threads=2)
    iterator = iter(loader)
    batch = next(iterator)
    seconds = time.perf_counter() - start
    after = resident_megabytes()
    assert batch.images.shape == (BATCH, 3, 32, 32)
    return {"seconds": seconds, "megabytes": after - before}


def many_epochs(folder):
    """In a fresh process: resident megabytes after each of 20 epochs."""
    import selfie_io as sio

    split = sio.open_dataset(folder, shape=(3, 32, 32)).train
    loader = sio.Loader(split, batch_size=BATCH, shuffle=True, num_threads=2)
    after = []
    for _ in range(20):
        for _ in loader:
            pass
        after.append(resident_megabytes())
    return {"first": after[0], "last": after[-1]}


def in_a_process(what, folder):
    command = [sys.executable, __file__, "--measure", what, folder]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=[10_000, 1_000_000, 100_000_000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        what, folder = arguments.measure
        print(json.dumps({"open": first_batch, "epochs": many_epochs}[what](folder)))
        return
    ring = RING_BATCHES * BATCH * 3 * 32 * 32 * 4 / 1e6
    table = Table(
        "records",
        "seconds to the first batch",
        "MB above import torch",
        f"of which the ring, at most {ring:.0f}",
    )
    rows = []
    for records in arguments.records:
        with tempfile.TemporaryDirectory() as folder:
            with (Path(folder) / "data_batch_1.bin").open("wb") as file:
                file.truncate(records * RECORD_BYTES)
            results = [in_a_process("open", folder) for _ in range(arguments.repeats)]
            row = {
                "records": records,
                **{key: statistics.median(one[key] for one in results) for key in ("seconds", "megabytes")},
            }
            if records == min(arguments.records):
                row["epochs"] = in_a_process("epochs", folder)
        rows.append(row)
        table.add_row(f"{records:,}", f"{row['seconds']:.3f}", f"{row['megabytes']:.1f}")
    Console().print(table)
    print("resident MB after epoch 1 and 20:", rows[0].get("epochs"))
    content = {"machine": machine(), "ring_megabytes": ring, "rows": rows}
    print(write("bench_open", content, panels(rows)))


def panels(rows):
    units = {"seconds": "seconds to the first batch", "megabytes": "MB above import torch"}
    return [
        Panel(unit, unit, [Bar(f"{row['records']:,} records", row[key], f"{row[key]:.3g}") for row in rows])
        for key, unit in units.items()
    ]


if __name__ == "__main__":
    main()
