"""Pictures per second, tensors in hand: this loader, its options, its rivals, and the roof that memory sets.

Every contender runs in a process of its own and makes batches when told; all of them take turns, round by
round, so ratios within one run are fair. The roof is streaming stores of a batch's bytes, nothing computed.
A rival that is not installed is named and passed over; --install makes environments for all.

Run: python benchmarks/bench_loader.py [--rounds 7] [--seconds 0.4] [--records 50000] [--only WORK]
    [--install]
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass, field
from pathlib import Path

from random_records import write_records
from rich.console import Console
from rich.table import Table
from timing import save

HERE = Path(__file__).parent
ENVIRONMENTS = HERE / ".environments"
OURS = "selfie_loader"
# What each rival needs beside what this project needs.
RIVALS = {
    "resident_tensors": [],
    "airbench_style": [],
    "dali_cpu": ["nvidia-dali-cuda130==2.4.0"],
    "ffcv_loader": ["ffcv==1.0.2"],
    "tf_data": ["tensorflow-cpu==2.21.0"],
    "hf_datasets": ["datasets==5.2.0"],
    "webdataset_loader": ["webdataset==1.0.2"],
    "torchvision_loader": ["torch==2.14.1", "torchvision==0.29.1"],
}
# Keeps every picture as float32, twice: 11 GB of 3x64x64.
TOO_LARGE = {"airbench_style"}
# What the options cost, against float32 NCHW with pad, crop, flip and per-channel normalisation.
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


@dataclass
class Contender:
    """A process that makes batches when told."""

    name: str
    command: list[str]
    batch_size: int
    process: subprocess.Popen = None
    version: str = ""
    rates: list[float] = field(default_factory=list)  # pictures per second
    batches: int = 4

    def start(self):
        """Whether it is there."""
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self.process = subprocess.Popen(self.command, **pipes, text=True, start_new_session=True)
        answer = self.process.stdout.readline()
        if not answer.startswith("{"):
            reason = self.process.stderr.read().strip().splitlines()
            print(f"passed over: {self.name}: {reason[-1] if reason else 'no answer'}")
            self.stop()
            return False
        self.version = json.loads(answer)["ready"]
        return True

    def take(self, batches):
        """The seconds of so many batches. Out of turn its processes sleep: many go on to prefetch."""
        os.killpg(self.process.pid, signal.SIGCONT)
        self.process.stdin.write(f"{batches}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.name} died:\n{self.process.stderr.read()}")
        os.killpg(self.process.pid, signal.SIGSTOP)
        return json.loads(answer)["seconds"]

    def warm_up(self, seconds):
        """Find how many batches take about so long."""
        self.take(2)
        while (taken := self.take(self.batches)) < seconds / 4:
            self.batches *= 2
        self.batches = max(2, round(self.batches * seconds / taken))

    def measure(self):
        self.rates.append(self.batches * self.batch_size / self.take(self.batches))

    def row(self, first):
        median = statistics.median(self.rates)
        return {
            "name": self.name,
            "version": self.version,
            "median": round(median),
            "min": round(min(self.rates)),
            "max": round(max(self.rates)),
            "of_first": median / statistics.median(first.rates),
        }

    def stop(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


def rival(name, work, batch_size=256, options=None, label=None):
    folder, side, threads = work
    own = ENVIRONMENTS / name / "bin" / "python"
    python = str(own) if own.exists() else sys.executable
    arguments = [folder, side, batch_size, threads, json.dumps(options or {})]
    command = [python, str(HERE / "rivals" / f"{name}.py"), *map(str, arguments)]
    return Contender(label or name, command, batch_size)


def roof(program, side, threads, batch_size=256):
    command = [str(program), str(batch_size * 3 * side * side * 4), str(threads)]
    return Contender(f"roof, {threads} threads", command, batch_size)


def compile_roof(folder):
    program = Path(folder) / "roof"
    subprocess.run(["c++", "-O3", "-std=c++17", "-pthread", HERE / "roof.cpp", "-o", program], check=True)
    return program


def race(title, contenders, rounds, seconds):
    """Let them take turns: the rate of each, and what part it is of the first one's."""
    running = [one for one in contenders if one.start()]
    try:
        for one in running:
            one.warm_up(seconds)
        for number in range(rounds):
            shift = number % len(running)
            for one in running[shift:] + running[:shift]:
                one.measure()
    finally:
        for one in running:
            one.stop()
    result = {"title": title, "rows": [one.row(running[0]) for one in running]}
    table = Table("", "median", "min", "max", f"of {running[0].name}", title=f"{title}, pictures per second")
    for row in result["rows"]:
        rates = (f"{row[key]:,.0f}" for key in ("median", "min", "max"))
        table.add_row(f"{row['name']} {row['version']}", *rates, f"{row['of_first']:.3f}")
    Console().print(table)
    return result


def install():
    """Make an environment for each rival that needs one."""
    for name, needs in RIVALS.items():
        python = ENVIRONMENTS / name / "bin" / "python"
        if needs and not python.exists():
            venv.create(ENVIRONMENTS / name, with_pip=True)
            command = [python, "-m", "pip", "install", "--quiet", *needs, "numpy", "torch", HERE.parent]
            if subprocess.run(command).returncode:
                print(f"{name} cannot be installed here")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.4, help="of one turn")
    parser.add_argument("--records", type=int, default=50_000, help="of 3x32x32; twice as many of 3x64x64")
    parser.add_argument("--only", default="", help="run the works whose title contains this")
    parser.add_argument("--install", action="store_true", help="make environments for the rivals first")
    arguments = parser.parse_args()
    if arguments.install:
        install()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        program = compile_roof(folder)
        for side, records in ((32, arguments.records), (64, 2 * arguments.records)):
            data = Path(folder) / str(side)
            for threads in (1, 2):
                work = (data, side, threads)
                works = {
                    f"3x{side}x{side}, batch 256, {threads} threads: rivals": [
                        rival(OURS, work, label="selfie"),
                        roof(program, side, 1),
                        roof(program, side, 2),
                        *(rival(name, work) for name in RIVALS if name not in TOO_LARGE or side == 32),
                    ],
                    f"3x{side}x{side}, batch 256, {threads} threads: options": [
                        rival(OURS, work, label="selfie"),
                        *(
                            rival(OURS, work, options.get("batch_size", 256), without(options), label)
                            for label, options in VARIANTS.items()
                        ),
                    ],
                }
                for title, contenders in works.items():
                    if arguments.only in title:
                        if not data.exists():
                            write_records(data, records, (3, side, side))
                        results.append(race(title, contenders, arguments.rounds, arguments.seconds))
    print(save("bench_loader", [], works=results))


def without(options):
    return {key: value for key, value in options.items() if key != "batch_size"}


if __name__ == "__main__":
    main()
