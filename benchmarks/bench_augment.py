"""Random resized crops, colour and views: this loader, torchvision v2 on batches, DALI on the CPU, and FFCV.

3x96x96 records become 3x64x64 float32, flipped and normalised per channel. The contenders take turns as in
bench_loader. Goals: "window" at least 10 times torchvision and 3 times DALI, colour at least 0.4 of the speed
without, two views at most 1.6 times the time of one.

Run: python benchmarks/bench_augment.py [--rounds 7] [--seconds 0.4] [--records 20000] [--threads 2]
    [--install]
"""

import argparse
import json
import tempfile
from pathlib import Path

from bar_chart import Bar, Panel
from contender import Contender, race
from environments import AUGMENTERS, install, python_of
from outcome import machine, write
from random_records import write_records

HERE = Path(__file__).parent
SIDE, CROP, BATCH = 96, 64, 256
TASKS = ("window", "plain", "colour")
OURS = {
    "window": {"resize_crop": (0.08, 1.0)},
    "plain": {},
    "colour": {
        "brightness": 51.0, "contrast": (0.6, 1.4), "saturation": (0.6, 1.4), "hue": 0.1, "grayscale": 0.1,
    },
}  # fmt: skip


def contender(script, label, folder, threads, options):
    command = [python_of(script), HERE / "rivals" / f"{script}.py", folder, SIDE, BATCH, threads]
    return Contender(label, [*map(str, command), json.dumps(options)], BATCH)


def ours(label, folder, threads, task, **options):
    augment = {"pad": 0, "crop": (CROP, CROP), **OURS[task]}
    return contender("selfie_loader", label, folder, threads, {"augment": augment, **options})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.4)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--install", action="store_true")
    arguments = parser.parse_args()
    if arguments.install:
        install(AUGMENTERS)
    tables = {}
    with tempfile.TemporaryDirectory() as folder:
        write_records(Path(folder), arguments.records, (3, SIDE, SIDE))
        work = (folder, arguments.threads)
        for task in TASKS:
            others = [contender(name, name, *work, {"task": task, "crop": CROP}) for name in AUGMENTERS]
            title = f"{task}: 3x{SIDE}x{SIDE} to {CROP}x{CROP}, {arguments.threads} threads"
            tables[task] = race(
                title, [ours("selfie", *work, task), *others], arguments.rounds, arguments.seconds
            )
        title = f"this loader's options, {arguments.threads} threads, records per second"
        options = [
            ours("crop", *work, "plain"),
            ours("colour", *work, "colour"),
            ours("views=2", *work, "plain", views=2),
            ours("window", *work, "window"),
        ]
        tables["options"] = race(title, options, arguments.rounds, arguments.seconds)
    content = {"machine": machine(), "threads": arguments.threads, "tables": tables}
    print(write("bench_augment", content, [panel(name, rows) for name, rows in tables.items()]))


def panel(name, rows):
    bars = [Bar(row["name"], row["of_first"], f"{row['median']:,.0f}") for row in rows]
    return Panel(name, f"images per second, relative to {rows[0]['name']}", bars)


if __name__ == "__main__":
    main()
