"""Images per second as torch tensors: this loader, its options, its rivals, and the roof set by the memory.

Each contender runs in its own process and makes batches on request. The contenders take turns, round by
round, so that ratios within one table are fair. The roof only stores the bytes of a batch (streaming stores).
A rival that is not installed is named and skipped; --install makes an environment for each rival.

--side, --threads and --table choose the tables to measure; the JSON keeps the others. --data keeps the
records, and the files that rivals make of them. --until-quiet repeats each table until the rates of one
storing thread span at most 15 % of their median, for so many minutes a table at most, and keeps the quietest
attempt.

Run: python benchmarks/bench_loader.py [--side 32 64] [--threads 1 2] [--table rivals options]
    [--rounds 7] [--seconds 0.4] [--records 50000] [--data FOLDER] [--install] [--until-quiet MINUTES]
"""

import argparse
import itertools
import json
import signal
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from bar_chart import Bar, Panel
from contender import Contender, race
from environments import LOADERS, install, python_of
from outcome import machine, read, write
from quiet import spread, until_quiet
from random_records import write_records

HERE = Path(__file__).parent
OURS = "selfie_loader"
# Holds every image as float32, twice: 11 GB at 3x64x64.
TOO_LARGE = {"airbench_style"}
# Each is compared with float32 NCHW, pad, crop, flip and per-channel normalisation.
VARIANTS = {
    "float16": {"dtype": "float16"},
    "bfloat16": {"dtype": "bfloat16"},
    "uint8": {"dtype": "uint8"},
    "NHWC": {"layout": "NHWC"},
    "PerImage": {"per_image": True},
    "all augmentations": {"augment": {"brightness": 63.0, "contrast": [0.2, 1.8], "cutout": 8}},
    "pread": {"io": "pread"},
    "quasi": {"order": "quasi"},
    "batch 32": {"batch_size": 32},
}
SIDES, THREADS, TABLES = (32, 64), (1, 2), ("rivals", "options")


def title_of(side, threads, table):
    return f"3x{side}x{side}, batch 256, {threads} threads: {table}"


def contenders(data, side, threads, table, program):
    """The contenders of a table; this loader comes first."""
    work = (data, side, threads)
    ours = rival(OURS, work, label="selfie")
    roofs = [roof(program, side, number) for number in THREADS]
    if table == "rivals":
        return [ours, *roofs, *(rival(name, work) for name in LOADERS if side == 32 or name not in TOO_LARGE)]
    other = next(number for number in THREADS if number != threads)
    others = rival(OURS, (data, side, other), label=f"{other} threads")
    return [ours, *roofs, others, *(variant(work, label, options) for label, options in VARIANTS.items())]


def rival(name, work, batch_size=256, options=None, label=None):
    folder, side, threads = work
    arguments = [folder, side, batch_size, threads, json.dumps(options or {})]
    command = [python_of(name), str(HERE / "rivals" / f"{name}.py"), *map(str, arguments)]
    return Contender(label or name, command, batch_size)


def variant(work, label, options):
    others = {key: value for key, value in options.items() if key != "batch_size"}
    return rival(OURS, work, options.get("batch_size", 256), others, label)


def roof(program, side, threads, batch_size=256):
    command = [str(program), str(batch_size * 3 * side * side * 4), str(threads)]
    return Contender(f"roof, {threads} threads", command, batch_size)


def compile_roof(folder):
    program = Path(folder) / "roof"
    subprocess.run(["c++", "-O3", "-std=c++17", "-pthread", HERE / "roof.cpp", "-o", program], check=True)
    return program


def keep(work):
    """Replace the table of this title in the JSON and the chart."""
    works = {old["title"]: old for old in read("bench_loader").get("works", [])} | {work["title"]: work}
    titles = itertools.starmap(title_of, itertools.product(SIDES, THREADS, TABLES))
    ordered = [works[title] for title in titles if title in works]
    return write("bench_loader", {"works": ordered}, [panel(work) for work in ordered])


def panel(work):
    bars = [
        Bar(row["name"], row["of_first"], f"{row['of_first']:.3g} ({row['median']:,}/s)")
        for row in work["rows"]
    ]
    return Panel(work["title"], "images per second, relative to selfie", bars)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--side", type=int, nargs="+", choices=SIDES, default=SIDES, help="height and width of the images"
    )
    parser.add_argument("--threads", type=int, nargs="+", choices=THREADS, default=THREADS)
    parser.add_argument("--table", nargs="+", choices=TABLES, default=TABLES)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.4, help="of one turn")
    parser.add_argument("--records", type=int, default=50_000, help="of 3x32x32; twice as many of 3x64x64")
    parser.add_argument("--data", type=Path, help="keep the records here instead of in a temporary folder")
    parser.add_argument("--install", action="store_true", help="make environments for the rivals first")
    parser.add_argument("--until-quiet", type=float, metavar="MINUTES", help="repeat each table until then")
    arguments = parser.parse_args()
    if arguments.until_quiet is not None and not arguments.until_quiet > 0:
        parser.error(f"--until-quiet must be positive, got {arguments.until_quiet:g}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # ends the contenders, which are stopped
    if arguments.install:
        install(LOADERS)
    with tempfile.TemporaryDirectory() as temporary:
        program = compile_roof(temporary)
        for side in arguments.side:
            records = arguments.records * (2 if side == 64 else 1)
            data = (arguments.data or Path(temporary)) / f"{side}-{records}"
            if not data.exists():
                unfinished = data.with_name(f"{data.name}.partial")
                write_records(unfinished, records, (3, side, side))
                unfinished.rename(data)
            for threads, table in itertools.product(arguments.threads, arguments.table):
                title = title_of(side, threads, table)
                measure = partial(_measure, arguments, title, (data, side, threads, table, program))
                rows = until_quiet(measure, arguments.until_quiet) if arguments.until_quiet else measure()
                told = {"machine": machine(), "roof_spread": round(spread(rows), 3)}
                print(keep({"title": title, **told, "rows": rows}))


def _measure(arguments, title, work):
    return race(title, contenders(*work), arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
