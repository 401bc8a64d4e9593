"""Data sets that memory holds, holds once they are read, and does not hold, beside the disk's own rates.

Needs root and the memory controller of cgroup v1 or v2. Each row reads 1.2 GB (100,000 records of
3x64x64) for some seconds in a process of its own. The disk's own rates come from disk.cpp in the same
run: random reads of a record's size, 32 at once, and reads of 1 MiB one after the other, past the page
cache. Two figures describe a shuffle: the median distance on disk between neighbours of a batch, as a
fraction of the data set (0.29 for a full shuffle), and the share of a batch within one block (85
records) of another record of it.

Run: python benchmarks/bench_memory.py [--limit-megabytes 700] [--seconds 12] [--records 100000]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from bar_chart import Bar, Panel
from outcome import machine, write
from random_records import write_records

RECORD_BYTES = 8 + 3 * 64 * 64
SEQUENTIAL, QUASI, SHUFFLE = {"shuffle": False}, {"shuffle": True, "order": "quasi"}, {"shuffle": True}
# Row -> options of the loader, whether memory is limited, whether the page cache is empty at first.
ROWS = {
    "fits: shuffle": (SHUFFLE, False, False),
    "fits: shuffle, io=mmap": ({**SHUFFLE, "io": "mmap"}, False, False),
    "fits, cold: shuffle": (SHUFFLE, False, True),
    "too large: on disk": (SEQUENTIAL, True, True),
    "too large: quasi": (QUASI, True, True),
    "too large: shuffle": (SHUFFLE, True, True),
    "too large: quasi, io=mmap": ({**QUASI, "io": "mmap"}, True, True),
    "too large: shuffle, io=mmap": ({**SHUFFLE, "io": "mmap"}, True, True),
}
DISK = {"random records, 32 at once": (RECORD_BYTES, 32, "random"), "sequential": (1 << 20, 4, "sequential")}


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


def disk(program, folder, seconds):
    """The disk's own rates, as records per second."""
    files = sorted(map(str, Path(folder).glob("*.bin")))
    rates = {}
    for name, (size, threads, kind) in DISK.items():
        command = [str(program), str(size), str(threads), str(seconds), kind, *files]
        reads = float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
        rates[name] = reads * size / RECORD_BYTES
    return rates


def measure(folder, group, name, seconds):
    """In its own process: images per second and the spread of neighbours."""
    options, limited, _ = ROWS[name]
    if limited:
        (Path(group) / "cgroup.procs").write_text(str(os.getpid()))
    import selfie_io as sio

    split = sio.open_dataset(folder, shape=(3, 64, 64)).train
    loader = sio.Loader(split, batch_size=256, num_threads=2, normalize=None, dtype="uint8", **options)
    start, images, distances, near = time.perf_counter(), 0, [], []
    while (taken := time.perf_counter() - start) < seconds:
        for batch in loader:
            images += len(batch.indices)
            indices = batch.indices.numpy()
            distances.append(np.median(np.abs(np.diff(indices))))
            near.append(np.mean(np.diff(np.sort(indices)) < 85))
            if (taken := time.perf_counter() - start) >= seconds:
                break
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "row": name,
        "peak_resident_bytes": peak,
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
    rows, rates = [], []
    try:
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "disk"
            source = Path(__file__).with_name("disk.cpp")
            subprocess.run(["c++", "-O2", "-std=c++17", "-pthread", source, "-o", program], check=True)
            write_records(Path(folder), arguments.records, (3, 64, 64))
            for name, (_, _, cold) in ROWS.items():
                if cold:
                    forget(folder)
                    rates.append(disk(program, folder, min(3, arguments.seconds)))
                command = [sys.executable, __file__, "--seconds", str(arguments.seconds), "--measure"]
                result = subprocess.run(
                    [*command, folder, str(group), name], stdout=subprocess.PIPE, text=True, check=True
                )
                rows.append(json.loads(result.stdout))
                print(rows[-1], rates[-1] if cold else "", flush=True)
    finally:
        group.rmdir()
    own = {name: [rate[name] for rate in rates] for name in DISK}
    content = {"machine": machine(), "limit_megabytes": arguments.limit_megabytes, "disk": own, "rows": rows}
    print(write("bench_memory", content, [panel(rows)]))


def panel(rows):
    first = rows[0]["per_second"]
    bars = [Bar(row["row"], row["per_second"] / first, f"{row['per_second'] / first:.3g}") for row in rows]
    return Panel("memory", f"images per second, relative to {rows[0]['row']}", bars)


if __name__ == "__main__":
    main()
