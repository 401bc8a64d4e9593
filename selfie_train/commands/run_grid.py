"""Completes the runs of a grid by workers: whatever is finished is left, what others train is waited for."""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from selfie_train.commands.attempt import Outcome, is_finished
from selfie_train.commands.grid_workers import Workers
from selfie_train.config import TrainConfig
from selfie_train.runs.comparison import read_run
from selfie_train.runs.failure import read_failure
from selfie_train.runs.result import Stopped
from selfie_train.runs.run_lock import lock_holder

WAIT_SECONDS = 2.0


class GridRun:
    """The state of a grid while its runs are completed."""

    def __init__(self, configs: Sequence[TrainConfig], workers: Workers, say: Callable[[str], None]) -> None:
        self.workers, self.say = workers, say
        self.outcomes: dict[Path, Outcome] = {}
        self._numbers = {config.run_folder: number for number, config in enumerate(configs, 1)}
        self._waiting = deque(configs)
        self._running: dict[int, TrainConfig] = {}
        self._told_busy: set[Path] = set()
        self._begin, self._trained = time.monotonic(), 0
        self._begin_time = time.time()

    def run(self, after_each: Callable[[], None]) -> dict[Path, Outcome]:
        """Complete all runs and return their outcomes; `after_each` is called when a run has ended.

        Raises Stopped after Ctrl-C or SIGTERM, once every run has written its checkpoint.
        """
        try:
            with _terminate_as_interrupt():
                while self._waiting or self._running:
                    self._start_runs()
                    for slot, outcome in self.workers.ended(WAIT_SECONDS):
                        self._end(self._running.pop(slot), outcome)
                        after_each()
        except KeyboardInterrupt:
            self.say("stopping: every run writes a checkpoint")
            self.workers.stop()
            raise Stopped("stopped; the same command continues") from None
        return self.outcomes

    def _start_runs(self) -> None:
        """Give waiting runs to free slots, as far as nobody else trains them."""
        for slot in range(self.workers.slots):
            if slot in self._running:
                continue
            config = self._next()
            if config is None:
                return
            self.say(f"{self._label(config)} starts")
            self._running[slot] = config
            self.workers.start(slot, config)

    def _next(self) -> TrainConfig | None:
        """Take the first waiting run that is free out of the queue; those that are settled go, too."""
        for _ in range(len(self._waiting)):
            config = self._waiting.popleft()
            settled = self._settled(config)
            if settled is not None:
                self._end(config, settled)
            elif (holder := lock_holder(config.run_folder)) is not None:
                self._put_back(config, holder)
            else:
                return config
        return None

    def _settled(self, config: TrainConfig) -> Outcome | None:
        """The outcome of a run that needs no attempt: finished, or failed under another `reproduce`."""
        try:
            if is_finished(config):
                return Outcome("skipped")
        except (ValueError, OSError) as error:
            return Outcome("failed", str(error))
        failure = read_failure(config.run_folder)
        if failure is not None and failure.time > self._begin_time:
            return Outcome("failed", failure.reason)
        return None

    def _put_back(self, config: TrainConfig, holder: str) -> None:
        folder = config.run_folder
        if folder not in self._told_busy:
            self.say(f"{self._label(config)} is being trained by {holder}: it is looked at again later")
            self._told_busy.add(folder)
        self._waiting.append(config)

    def _end(self, config: TrainConfig, outcome: Outcome) -> None:
        if outcome.kind == "busy":  # somebody was faster
            self._put_back(config, outcome.reason)
            return
        if outcome.kind == "stopped" and self.workers.slots == 1:
            raise Stopped(outcome.reason)
        folder = config.run_folder
        self.outcomes[folder] = outcome
        words = {"finished": "finished", "skipped": "is finished already", "stopped": "was stopped"}
        text = f"{self._label(config)} {words.get(outcome.kind, outcome.kind)}"
        if outcome.is_whole and (summary := read_run(folder).summary):
            errors = [summary[f"{name}_test_error"] for name in ("best", "last")]
            if None not in errors:
                text += ": best error {:.2f} %, last {:.2f} %".format(*errors)
        elif outcome.reason:
            text += f": {outcome.reason}"
        if outcome.kind != "skipped":
            self._trained += 1
        self.say(text + self._time_left())

    def _time_left(self) -> str:
        left = len(self._waiting) + len(self._running)
        if not left or not self._trained:
            return ""
        seconds = (time.monotonic() - self._begin) / self._trained * left
        return f"; {left} left, about {seconds / 60:.0f} min"

    def _label(self, config: TrainConfig) -> str:
        folder = config.run_folder
        return f"[{self._numbers[folder]}/{len(self._numbers)}] {folder}"


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM interrupts like Ctrl-C; only the main thread can watch signals."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
