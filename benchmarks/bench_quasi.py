"""A data set larger than memory: order="quasi", the full shuffle and the order on disk.

Needs root and the memory controller of cgroup v1 or v2. Each order reads cold files of 1.2 GB (100,000
records of 3x64x64) for some seconds, in a process whose memory is limited, page cache included. Two figures
describe the shuffle: the median distance on disk between neighbours of a batch, as a fraction of the data set
(0.29 for a full shuffle), and the share of a batch within one block (85 records) of another record of it.

Run: python benchmarks/bench_quasi.py [--limit-megabytes 700] [--seconds 12] [--records 100000]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from bar_chart import Bar, Panel
from outcome import machine, write
from random_records import write_records

ORDERS = {
    "sequential": {"shuffle": False},
    "quasi": {"shuffle": True, "order": "quasi"},
    "permutation": {"shuffle": True},
}


def limited_group(limit):
    """A new memory cgroup: its folder."""
    root = Path("/sys/fs/cgroup")
    version_1 = (root / "memory").is_dir()
    group = (root / "memory" if version_1 else root) / f"selfie-bench-{os.getpid()}"
    group.mkdir()
    (group / ("memory.limit_in_bytes" if version_1 else "memory.max")).write_text(str(limit))
    return group


def forget(folder):
    """Drop the files from the page cache."""
    for path in Path(folder).glob("*.bin"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(folder, group, name, seconds):
    """In its own process: images per second and the spread of neighbours."""
    (Path(group) / "cgroup.procs").write_text(str(os.getpid()))
    import selfie_io as sio

    split = sio.open_dataset(folder, shape=(3, 64, 64)).train
    loader = sio.Loader(split, batch_size=256, num_threads=2, normalize=None, dtype="uint8", **ORDERS[name])
    start, images, distances, near = time.perf_counter(), 0, [], []
    while (taken := time.perf_counter() - start) < seconds:
        for batch in loader:
            images += len(batch.indices)
            indices = batch.indices.numpy()
            distances.append(np.median(np.abs(np.diff(indices))))
            near.append(np.mean(np.diff(np.sort(indices)) < 85))
            if (taken := time.perf_counter() - start) >= seconds:
                break
    return {
        "order": name,
        "per_second": images / taken,
        "distance": float(np.median(distances)) / len(split),
        "near": float(np.mean(near)),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--limit-megabytes", type=int, default=700)
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure, arguments.seconds)))
        return
    try:
        group = limited_group(arguments.limit_megabytes << 20)
    except OSError as error:
        print(f"skipped: needs root and a memory cgroup: {error}")
        return
    rows = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            write_records(Path(folder), arguments.records, (3, 64, 64))
            for name in ORDERS:
                forget(folder)
                command = [sys.executable, __file__, "--seconds", str(arguments.seconds), "--measure"]
                result = subprocess.run(
                    [*command, folder, str(group), name], stdout=subprocess.PIPE, text=True, check=True
                )
                rows.append(json.loads(result.stdout))
                print(rows[-1])
    finally:
        group.rmdir()
    content = {"machine": machine(), "limit_megabytes": arguments.limit_megabytes, "rows": rows}
    print(write("bench_quasi", content, [panel(rows)]))


def panel(rows):
    first = rows[0]["per_second"]
    bars = [Bar(row["order"], row["per_second"] / first, f"{row['per_second'] / first:.3g}") for row in rows]
    return Panel("larger than memory", f"images per second, relative to {rows[0]['order']}", bars)


if __name__ == "__main__":
    main()
