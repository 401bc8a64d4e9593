"""A run's folder belongs to one trainer at a time (selfie_io.records.lock)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from selfie_io.records.lock import LOCK_NAME, Busy, folder_lock, lock_holder

__all__ = ["LOCK_NAME", "RunBusy", "lock_holder", "run_lock"]


class RunBusy(Busy):
    """Another process trains the run; `holder` names it."""

    def __init__(self, folder: Path, holder: str) -> None:
        super().__init__(folder, holder, verb="trained")


@contextlib.contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of the run in `folder`, which is made if missing.

    Raises RunBusy if another process holds it. Where the file system has no locks, a line says so.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(folder_lock(folder, verb="trained"))
        except Busy as busy:
            raise RunBusy(folder, busy.holder) from None
        yield
