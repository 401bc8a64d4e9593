"""Data sets that memory holds, holds once they are read, and does not hold, beside the disk's own rates.

Needs root and the memory controller of cgroup v1 or v2. Each row reads 2.4 GB (200,000 records of
3x64x64) for some seconds in a process of its own. The disk's own rates come from disk.cpp right before
each cold row, past the page cache: random reads of a record's size, 32 at once, and reads of 1 MiB one
after the other, into ordinary memory as fio's, and into huge pages. "of_disk" is a row's part of the
random or the ordinary sequential rate; rows of io="auto" are measured --rounds times. Two figures describe
a shuffle: the median distance on disk between neighbours of a batch, as a fraction of the data set (0.29
for a full shuffle), and the share of a batch within one block (85 records) of another record of it.

Run: python benchmarks/bench_memory.py [--limit-megabytes 700] [--seconds 6] [--records 200000]
    [--rounds 3]
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
from bar_chart import Bar, Panel
from outcome import machine, write
from random_records import write_records

RECORD_BYTES = 8 + 3 * 64 * 64
SEQUENTIAL, QUASI, SHUFFLE = {"shuffle": False}, {"shuffle": True, "order": "quasi"}, {"shuffle": True}
RANDOM_READS, SEQUENTIAL_READS = "random records, 32 at once", "sequential"
# Row -> options of the loader, whether memory is limited, the rate of the disk to compare with. Rows with a
# rate, and those called so, begin with an empty page cache.
ROWS = {
    "fits: shuffle": (SHUFFLE, False, None),
    "fits: shuffle, io=mmap": ({**SHUFFLE, "io": "mmap"}, False, None),
    "fits, cold: shuffle": (SHUFFLE, False, None),
    "too large: on disk": (SEQUENTIAL, True, SEQUENTIAL_READS),
    "too large: quasi": (QUASI, True, SEQUENTIAL_READS),
    "too large: shuffle": (SHUFFLE, True, RANDOM_READS),
    "too large: quasi, io=mmap": ({**QUASI, "io": "mmap"}, True, SEQUENTIAL_READS),
    "too large: shuffle, io=mmap": ({**SHUFFLE, "io": "mmap"}, True, RANDOM_READS),
}
DISK = {
    RANDOM_READS: (RECORD_BYTES, 32, "random"),
    SEQUENTIAL_READS: (1 << 20, 4, "sequential"),
    "sequential, into huge pages": (1 << 20, 4, "huge"),
}


def limited_group(limit):
    """A new memory cgroup: its folder."""
    root = Path("/sys/fs/cgroup")
    version_1 = (root / "memory").is_dir()
    group = (root / "memory" if version_1 else root) / f"selfie-bench-{os.getpid()}"
    group.mkdir()
    (group / ("memory.limit_in_bytes" if version_1 else "memory.max")).write_text(str(limit))
    return group


def peak_of(group):
    """The most memory that the group had in use since the last call, page cache included; None if unknown."""
    for name in ("memory.max_usage_in_bytes", "memory.peak"):
        if (group / name).exists():
            peak = int((group / name).read_text())
            with suppress(OSError):  # version 2 keeps the peak of all rows in older kernels
                (group / name).write_text("0")
            return peak
    return None


def forget(folder):
    """Drop the files from the page cache."""
    for path in Path(folder).glob("*.bin"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_all(folder):
    """Bring the files into the page cache."""
    for path in Path(folder).glob("*.bin"):
        with path.open("rb") as file:
            while file.read(1 << 24):
                pass


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
    start, images, distances, near, epochs = time.perf_counter(), 0, [], [], []
    while (taken := time.perf_counter() - start) < seconds:
        begin, before = taken, images
        for batch in loader:
            images += len(batch.indices)
            indices = batch.indices.numpy()
            distances.append(np.median(np.abs(np.diff(indices))))
            near.append(np.mean(np.diff(np.sort(indices)) < 85))
            if (taken := time.perf_counter() - start) >= seconds:
                break
        else:
            epochs.append((images - before) / (time.perf_counter() - start - begin))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "row": name,
        "peak_resident_bytes": peak,
        "per_second": images / taken,
        **({"first_epoch_of_second": epochs[0] / epochs[1]} if len(epochs) > 1 else {}),
        "distance": float(np.median(distances)) / len(split),
        "near": float(np.mean(near)),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--limit-megabytes", type=int, default=700)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
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
    runs, rates = [], []
    try:
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "disk"
            source = Path(__file__).with_name("disk.cpp")
            subprocess.run(["c++", "-O2", "-std=c++17", "-pthread", source, "-o", program], check=True)
            write_records(Path(folder), arguments.records, (3, 64, 64))
            for number in range(arguments.rounds):
                for name, (options, _, disk_rate) in ROWS.items():
                    if number > 0 and "io" in options:
                        continue
                    if disk_rate or "cold" in name:
                        forget(folder)
                    else:
                        read_all(folder)
                    if disk_rate:
                        rates.append(disk(program, folder, min(2, arguments.seconds)))
                    peak_of(group)
                    command = [sys.executable, __file__, "--seconds", str(arguments.seconds), "--measure"]
                    result = subprocess.run(
                        [*command, folder, str(group), name], stdout=subprocess.PIPE, text=True, check=True
                    )
                    run = json.loads(result.stdout)
                    if disk_rate:
                        run["of_disk"] = run["per_second"] / rates[-1][disk_rate]
                    if ROWS[name][1]:
                        run["peak_group_bytes"] = peak_of(group)
                    runs.append(run)
                    print(run, flush=True)
    finally:
        group.rmdir()
    own = {name: [rate[name] for rate in rates] for name in DISK}
    rows = [together([run for run in runs if run["row"] == name]) for name in ROWS]
    content = {
        "machine": machine(),
        "records": arguments.records,
        "limit_megabytes": arguments.limit_megabytes,
        "disk": own,
        "rows": rows,
    }
    print(write("bench_memory", content, [panel(rows)]))


def together(runs):
    """Medians of the runs of one row, and the values of each where they tell the spread."""
    row = {"row": runs[0]["row"]}
    for key in ("per_second", "distance", "near", "of_disk"):
        if key in runs[0]:
            row[key] = statistics.median(run[key] for run in runs)
    for key in ("per_second", "of_disk", "first_epoch_of_second"):
        if key in runs[0]:
            row[f"{key}_of_runs"] = [round(run[key], 3) for run in runs if key in run]
    for key in ("peak_resident_bytes", "peak_group_bytes"):
        if key in runs[0]:
            row[key] = max(run[key] for run in runs)
    return row


def panel(rows):
    first = rows[0]["per_second"]
    bars = [Bar(row["row"], row["per_second"] / first, f"{row['per_second'] / first:.3g}") for row in rows]
    return Panel("memory", f"images per second, relative to {rows[0]['row']}", bars)


if __name__ == "__main__":
    main()
