"""Who completes the runs of a grid: this process, several processes of this machine, or a Ray cluster.

Workers have slots. `start` gives a run to a free slot, `ended` tells which slots have an outcome.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from selfie_io.processors import available_processors
from selfie_io.termination import sigterm_handler_kept
from selfie_train.commands.attempt import Outcome, attempt
from selfie_train.commands.grid_process import RunProcess
from selfie_train.config import TrainConfig

POLL_SECONDS = 0.2
STOP_SECONDS = 120.0  # for a checkpoint after the current batch


class Workers(ABC):
    """Up to `slots` runs at a time."""

    slots: int

    @abstractmethod
    def start(self, slot: int, config: TrainConfig) -> None:
        """Begin to complete a run in a free slot."""

    @abstractmethod
    def ended(self, timeout_seconds: float) -> list[tuple[int, Outcome]]:
        """The slots whose runs have ended, which are free then; waits up to the timeout for one."""

    @abstractmethod
    def stop(self) -> None:
        """Let every run write a checkpoint and end."""


class ThisProcess(Workers):
    """One run after the other, with its progress on the terminal."""

    slots = 1

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._outcome: Outcome | None = None

    def start(self, slot: int, config: TrainConfig) -> None:  # noqa: ARG002
        """Complete the run."""
        self._outcome = attempt(config, quiet=self._quiet)

    def ended(self, timeout_seconds: float) -> list[tuple[int, Outcome]]:
        """The run that `start` completed."""
        outcome, self._outcome = self._outcome, None
        if outcome is None:
            time.sleep(timeout_seconds)
        return [] if outcome is None else [(0, outcome)]

    def stop(self) -> None:
        """Nothing runs beside this."""


class LocalProcesses(Workers):
    """Several processes of this machine, which share its CPU cores and GPUs evenly."""

    def __init__(self, slots: int, *, imports: Sequence[str] = (), gpus: Sequence[str] = ()) -> None:
        self.slots = slots
        self._imports, self._gpus = list(imports), list(gpus)
        self._running: dict[int, RunProcess] = {}

    def start(self, slot: int, config: TrainConfig) -> None:
        """Begin the run in a process of its own."""
        environment = worker_environment(max(1, available_processors() // self.slots))
        if self._gpus and config.device in ("auto", "cuda"):
            environment["CUDA_VISIBLE_DEVICES"] = self._gpus[slot % len(self._gpus)]
        self._running[slot] = RunProcess(config, self._imports, environment)

    def ended(self, timeout_seconds: float) -> list[tuple[int, Outcome]]:
        """The runs whose process has ended."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            slots = [slot for slot, process in self._running.items() if not process.is_alive()]
            if slots or time.monotonic() >= deadline:
                return [(slot, self._running.pop(slot).outcome()) for slot in slots]
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Interrupt every process and wait; after two minutes, or another Ctrl-C, kill them."""
        for process in self._running.values():
            process.stop()
        try:
            for process in self._running.values():
                process.wait(STOP_SECONDS)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            for process in self._running.values():
                process.kill()
        for process in self._running.values():
            process.outcome()
        self._running.clear()


class RayTasks(Workers):
    """Tasks of a Ray cluster that runs already; each takes a GPU where the cluster has some.

    OUT and the data sets must lie on storage that all machines share: a task checks that.
    Raises ConnectionError where no cluster answers, ModuleNotFoundError without ray.
    """

    def __init__(self, slots: int | None, out: Path, *, imports: Sequence[str] = ()) -> None:
        import ray

        self._ray = ray
        self._started = not ray.is_initialized()
        if self._started:
            with sigterm_handler_kept():
                ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        gpus = int(sum(node.get("GPU", 0) for node in nodes))
        self.slots = slots or gpus or len(nodes)
        per_node = -(-self.slots // max(1, len(nodes)))
        self._cores = max(1, int(min(node.get("CPU", 1) for node in nodes)) // per_node)
        self._task = ray.remote(num_cpus=self._cores, num_gpus=1 if gpus else 0, max_retries=3)(_run_in_task)
        self._imports, self._out = list(imports), out.resolve()
        out.mkdir(parents=True, exist_ok=True)
        self._running: dict[Any, int] = {}

    def start(self, slot: int, config: TrainConfig) -> None:
        """Submit the run; Ray starts it where there is room, and again if its machine dies."""
        values = {
            **config.to_json(),
            "dataset": str(Path(config.dataset).resolve()),
            "out": str(config.run_folder.resolve()),
        }
        task = self._task.remote(values, self._imports, str(self._out), self._cores, str(Path.cwd()))
        self._running[task] = slot

    def ended(self, timeout_seconds: float) -> list[tuple[int, Outcome]]:
        """The tasks that have ended."""
        if not self._running:
            time.sleep(timeout_seconds)
            return []
        done, _ = self._ray.wait(list(self._running), timeout=timeout_seconds)
        found = []
        for task in done:
            try:
                outcome = Outcome(*self._ray.get(task))
            except self._ray.exceptions.RayError as error:
                outcome = Outcome("failed", f"its Ray task failed: {str(error).splitlines()[-1]}")
            found.append((self._running.pop(task), outcome))
        return found

    def stop(self) -> None:
        """Cancel the tasks: each lets its run write a checkpoint."""
        for task in self._running:
            self._ray.cancel(task, force=False)
        with contextlib.suppress(self._ray.exceptions.RayError, KeyboardInterrupt):
            self._ray.wait(list(self._running), num_returns=len(self._running), timeout=STOP_SECONDS)
        self._running.clear()
        if self._started:
            self._ray.shutdown()


def choose_workers(
    workers: int | None,
    *,
    ray: bool,
    out: Path,
    imports: Sequence[str],
    quiet: bool,
    say: Callable[[str], None],
) -> Workers:
    """The workers that `--workers` and `--ray` ask for; where no cluster answers, those of this machine."""
    if ray:
        try:
            return RayTasks(workers, out, imports=imports)
        except ModuleNotFoundError:
            say("--ray needs the package ray: pip install 'selfie-io[ray]'. The runs stay on this machine.")
        except ConnectionError:
            say(
                "No Ray cluster answers here. Start one with: ray start --head, and add machines with: "
                "ray start --address HEAD:6379. The runs stay on this machine."
            )
    if workers is None or workers == 1:
        return ThisProcess(quiet=quiet)
    return LocalProcesses(workers, imports=imports, gpus=visible_gpus())


def worker_environment(num_threads: int) -> dict[str, str]:
    """Environment variables of a run that has so many cores; what the user has set stays."""
    threads = str(num_threads)
    return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads), "OMP_WAIT_POLICY": "passive"}


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; none without a driver."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in visible.split(",") if name and name != "-1"]
    try:
        listing = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return []
    return listing.stdout.split()


def _run_in_task(
    values: dict[str, Any], imports: list[str], out: str, cores: int, folder: str
) -> tuple[str, str]:
    """On a machine of the cluster: complete the run in a process of its own; kind and reason."""
    import socket

    if not Path(out).is_dir():
        return "failed", f"{socket.gethostname()} has no folder {out}: OUT must be on storage that all share"
    with contextlib.suppress(OSError):
        os.chdir(folder)
    process = RunProcess(TrainConfig.from_json(values), imports, worker_environment(cores))
    try:
        process.wait()
    except BaseException:  # cancelled
        process.stop()
        process.wait(STOP_SECONDS)
        raise
    outcome = process.outcome()
    return outcome.kind, outcome.reason
