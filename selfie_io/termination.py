"""SIGTERM ends a command as Ctrl-C does: what it has begun is removed, and its locks are free."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

TERMINATED = 143  # 128 + SIGTERM, as of a program that the signal ended


class Termination:
    """Whether SIGTERM came."""

    def __init__(self) -> None:
        self.asked = False

    def status(self, status: int) -> int:
        """The exit status of a command that ended with `status`."""
        return TERMINATED if self.asked and status != 0 else status


@contextlib.contextmanager
def interrupted_by_sigterm() -> Iterator[Termination]:
    """Let SIGTERM raise KeyboardInterrupt within the block, in a main thread that has no handler."""
    termination = Termination()

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        termination.asked = True
        raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield termination
        return
    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield termination
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextlib.contextmanager
def sigterm_handler_kept() -> Iterator[None]:
    """Put back the handler of SIGTERM after the block: Ray leaves its own, which ends with another status."""
    kept = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if kept is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, kept)
