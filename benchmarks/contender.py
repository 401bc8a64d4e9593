"""A process that makes batches on request, and a race of several that take turns, round by round."""

import contextlib
import json
import os
import signal
import statistics
import subprocess
import tempfile
from dataclasses import dataclass, field
from typing import IO

from rich.console import Console
from rich.table import Table


@dataclass
class Contender:
    """Speaks the protocol of rivals/serving.py; its rates are images per second, one value a round."""

    name: str
    command: list[str]
    batch_size: int
    process: subprocess.Popen[str] = None
    errors: IO[str] = None
    version: str = ""
    rates: list[float] = field(default_factory=list)
    turn: int = 1  # the batches of a turn are a multiple of this
    batches: int = 4

    def start(self):
        """Start the process; False if the rival cannot run here."""
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (a pipe that nobody reads would fill up)
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
            start_new_session=True,
        )  # fmt: skip
        answer = self.process.stdout.readline()
        if not answer.startswith("{"):
            reason = self.complaint().strip().splitlines()
            print(f"skipped: {self.name}: {reason[-1] if reason else 'no answer'}")
            self.stop()
            return False
        told = json.loads(answer)
        self.version, self.turn = told["ready"], told.get("turn", 1)
        self.sleep()
        return True

    def complaint(self):
        self.errors.seek(0)
        return self.errors.read()

    def sleep(self):
        """Stop the processes between turns: many rivals would go on to prefetch."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def take(self, batches):
        """The seconds that `batches` batches take."""
        os.killpg(self.process.pid, signal.SIGCONT)
        self.process.stdin.write(f"{batches}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.name} died:\n{self.complaint()}")
        self.sleep()
        return json.loads(answer)["seconds"]

    def warm_up(self, seconds):
        """Find how many batches take about `seconds`."""
        self.batches = max(self.batches, self.turn)
        self.take(max(2, self.turn))
        while (taken := self.take(self.batches)) < seconds / 4:
            self.batches *= 2
        turns = max(1, round(self.batches / self.turn * seconds / taken))
        self.batches = max(2, turns * self.turn)

    def measure(self):
        """One turn. Half as many batches run untimed before it, to refill the caches that others emptied."""
        self.take(max(1, self.batches // self.turn // 2) * self.turn)
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
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()
        self.errors.close()


def race(title, contenders, rounds, seconds):
    """Let the contenders take turns; a row for each: its rate, and its rate relative to the first.

    Raises RuntimeError if the first contender does not start: the others are compared with it.
    """
    running = []
    try:
        for one in contenders:
            running.append(one)
            if not one.start():
                running.pop()
        if contenders[0] not in running:
            raise RuntimeError(f"{contenders[0].name} must run: the others are compared with it")
        for one in running:
            one.warm_up(seconds)
        for number in range(rounds):
            shift = number % len(running)
            for one in running[shift:] + running[:shift]:
                one.measure()
    finally:
        for one in running:
            one.stop()
    rows = [one.row(running[0]) for one in running]
    _show(title, rows)
    return rows


def _show(title, rows):
    table = Table(
        "", "median", "min", "max", f"relative to {rows[0]['name']}", title=f"{title}, images per second"
    )
    for row in rows:
        rates = (f"{row[key]:,.0f}" for key in ("median", "min", "max"))
        table.add_row(f"{row['name']} {row['version']}", *rates, f"{row['of_first']:.3f}")
    Console().print(table)
