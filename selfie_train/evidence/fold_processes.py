"""Folds in processes of their own, or as tasks of a Ray cluster; each is told and tells by pipes.

    selfie_train.evidence.fold_processes.main() < a pickled FoldTask

A process prints a line for every epoch, so that one whose parent died ends at its next epoch.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import IO, Any, cast

from selfie_io.isolated_python import isolated_python
from selfie_io.termination import sigterm_handler_kept
from selfie_train.evidence.fold_training import FoldTask, complete_fold


def complete_in_processes(tasks: Sequence[FoldTask], workers: int, advance: Callable[[int], None]) -> None:
    """Complete all tasks, `workers` at a time. However this ends, no process is left, and what is done stays.

    Raises ChildProcessError with what a process said if it failed.
    """
    waiting = list(tasks)
    running: dict[IO[bytes], tuple[subprocess.Popen[bytes], IO[bytes]]] = {}
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        stack.callback(_end_all, running)
        while waiting or running:
            while waiting and len(running) < workers:
                process, said = _start(waiting.pop(0))
                output = cast(IO[bytes], process.stdout)
                running[output] = (process, said)
                selector.register(output, selectors.EVENT_READ)
            for key, _ in selector.select():
                pipe: Any = key.fileobj
                if lines := os.read(pipe.fileno(), 4096):
                    advance(lines.count(b"\n"))
                    continue
                selector.unregister(pipe)
                process, said = running[pipe]
                if process.wait() != 0:
                    said.seek(0)
                    last = said.read().decode(errors="replace").strip().splitlines()[-1:]
                    raise ChildProcessError(
                        f"a fold failed with status {process.returncode}: {' '.join(last)}"
                    )
                _end(*running.pop(pipe))


def _start(task: FoldTask) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    said = tempfile.TemporaryFile()  # noqa: SIM115
    threads = str(task.threads)
    process = subprocess.Popen(
        isolated_python("selfie_train.evidence.fold_processes"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        env={**os.environ, "OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "passive"},
        start_new_session=True,  # Ctrl-C is the parent's to handle
    )
    # A process that died already breaks the pipe: its status tells.
    with contextlib.suppress(BrokenPipeError), process.stdin as pipe:  # type: ignore[union-attr]
        pickle.dump(task, pipe, pickle.HIGHEST_PROTOCOL)
    return process, said


def _end_all(running: dict[IO[bytes], tuple[subprocess.Popen[bytes], IO[bytes]]]) -> None:
    for process, said in running.values():
        _end(process, said)


def _end(process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
    process.kill()
    process.wait()
    process.stdout.close()  # type: ignore[union-attr]
    said.close()


def complete_on_ray(tasks: Sequence[FoldTask], advance: Callable[[int], None]) -> None:
    """Complete all tasks on the Ray cluster that runs already; all machines must see data and cache.

    Raises ConnectionError where no cluster answers, ModuleNotFoundError without ray, ChildProcessError if a
    fold fails.
    """
    import ray

    started = not ray.is_initialized()
    if started:
        with sigterm_handler_kept():
            ray.init(address="auto", log_to_driver=False)
    try:
        remote = ray.remote(num_cpus=tasks[0].threads, max_retries=3)(_complete_quietly)
        waiting = {remote.remote(task): task for task in tasks}
        while waiting:
            done, _ = ray.wait(list(waiting))
            for one in done:
                try:
                    ray.get(one)
                except ray.exceptions.RayError as error:
                    raise ChildProcessError(f"a fold failed: {str(error).splitlines()[-1]}") from error
                advance(waiting.pop(one).epochs)
    finally:
        if started:
            ray.shutdown()


def _complete_quietly(task: FoldTask) -> None:
    if not task.path.parent.is_dir():
        raise FileNotFoundError(
            f"this machine has no folder {task.path.parent}: it must be on storage that all machines share"
        )
    complete_fold(task, lambda epochs: None)  # noqa: ARG005


def main() -> int:
    """Complete the fold that stdin describes."""
    task: FoldTask = pickle.load(sys.stdin.buffer)

    def tell(epochs: int) -> None:
        sys.stdout.write("\n" * epochs)
        sys.stdout.flush()

    with contextlib.suppress(BrokenPipeError):  # the parent is gone
        complete_fold(task, tell)
    return 0
