"""Signs of life of the processes of a run: one that is gone or stopped ends the others, by name, in time.

Each process writes a count into the store that all share, once a second, from a thread of its own. So work
that takes long is no silence, and a process that was killed or stopped is one. A process that waits for a
silent one sits in a call that nothing interrupts: it is ended from the watching thread.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from typing import NoReturn, Protocol

from selfie_train.training.stop_signal import StopSignal

BEAT_SECONDS = 1.0
_ENDED = b"ended"
_OF_EXCHANGES = ("gloo", "nccl", "connection", "timed out", "socket", "store")  # in torch's messages


class Store(Protocol):
    """What processes share: torch.distributed's stores."""

    def set(self, key: str, value: str) -> object:
        """Write a value."""

    def get(self, key: str) -> bytes:
        """Read a value."""


class LifeSigns:
    """This process's signs, and what it sees of the others."""

    def __init__(
        self,
        store: Store,
        rank: int,
        world_size: int,
        timeout: float,
        end: Callable[[str], object] | None = None,
    ) -> None:
        self._store = store
        self._rank = rank
        self._timeout = timeout
        self._end = end or _end_process
        now = time.monotonic()
        self._last = {other: (b"", now) for other in range(world_size) if other != rank}
        self._answered = now
        self._stop = threading.Event()
        self._writing = threading.Lock()  # no sign of life may follow the word that this process has ended
        self.advice = "start it again"
        store.set(_key(rank), "0")

    def start(self) -> None:
        """Begin to give and to watch signs."""
        atexit.register(self.close)
        for work in (self._exchange, self._watch):
            threading.Thread(target=work, daemon=True).start()

    def close(self) -> None:
        """Say that this process ends as it should."""
        if not self._stop.is_set():
            self._stop.set()
            free = self._writing.acquire(timeout=BEAT_SECONDS)  # a store that is gone may hold it
            with contextlib.suppress(Exception):  # who kept the store may be gone
                self._store.set(_key(self._rank), _ENDED.decode())
            if free:
                self._writing.release()

    def silent(self, seconds: float) -> list[int]:
        """The ranks that gave no sign for so many seconds; rank 0 too if the store did not answer."""
        now = time.monotonic()
        if now - self._answered > 3 * BEAT_SECONDS:
            # Nobody's signs are known: the store is gone, which rank 0 keeps, or torchrun.
            return [0] if now - self._answered > seconds else []
        return [rank for rank, (sign, seen) in self._last.items() if sign != _ENDED and now - seen > seconds]

    def explain(self, error: Exception) -> Exception:
        """The error for an exchange that failed: it names the processes that are gone. Others stay.

        torchrun sends SIGTERM to the processes that are left: the first one does not end the look for the
        lost ones, which takes four beats.
        """
        if not any(word in str(error).lower() for word in _OF_EXCHANGES):
            return error
        deadline = time.monotonic() + 4 * BEAT_SECONDS
        with StopSignal():
            while time.monotonic() < deadline:
                time.sleep(BEAT_SECONDS / 4)
        text = textwrap.shorten(str(error), 200, placeholder=" ...")
        gone = self.silent(3 * BEAT_SECONDS)
        gone += [rank for rank, (sign, _) in self._last.items() if sign == _ENDED]
        return OSError(f"{_named(sorted(set(gone)))}: {text}. When this is repaired, {self.advice}")

    def _exchange(self) -> None:
        beat = 0
        while not self._stop.wait(BEAT_SECONDS):
            beat += 1
            with contextlib.suppress(Exception):  # silence of the store is what counts
                with self._writing:
                    if self._stop.is_set():
                        return
                    self._store.set(_key(self._rank), str(beat))
                for rank, (sign, _) in self._last.items():
                    found = self._store.get(_key(rank))
                    if found != sign:
                        self._last[rank] = (found, time.monotonic())
                self._answered = time.monotonic()

    def _watch(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            if gone := self.silent(self._timeout):
                self._stop.set()
                silence = f"no sign of life for {self._timeout:g} s (--timeout)"
                self._end(f"{_named(gone)}: {silence}. When this is repaired, {self.advice}")


def _named(ranks: list[int]) -> str:
    if not ranks:
        return "another process of the run is gone or stopped"
    return f"rank {', '.join(map(str, ranks))} of the run is gone or stopped"


def _key(rank: int) -> str:
    return f"alive-{rank}"


def _end_process(message: str) -> NoReturn:
    """End with status 1: every file of a run is whole at any moment."""
    with contextlib.suppress(OSError):
        print(f"selfie-train: {message}", file=sys.stderr, flush=True)
    os._exit(1)
