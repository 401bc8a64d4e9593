"""A process that completes one run of a grid: it reads a JSON task on stdin and prints its outcome.

    selfie_train.commands.grid_process.main() < {"config": {...}, "imports": [MODULE, ...]}

What the run prints goes to stderr, so that stdout holds the outcome alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from selfie_io.isolated_python import isolated_python
from selfie_io.records.plain_files import open_to_append
from selfie_train.commands.attempt import Outcome, attempt
from selfie_train.config import TrainConfig
from selfie_train.plugins import import_plugin
from selfie_train.runs.failure import write_failure


class RunProcess:
    """A run that is being completed in a process of its own, so that its death is that run's alone."""

    def __init__(self, config: TrainConfig, imports: list[str], environment: Mapping[str, str]) -> None:
        self.config = config
        folder = config.run_folder
        folder.mkdir(parents=True, exist_ok=True)
        self._output = folder / "output.txt"
        with open_to_append(self._output) as errors:
            self._process = subprocess.Popen(
                isolated_python("selfie_train.commands.grid_process"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **environment},
                start_new_session=True,  # Ctrl-C is passed on by the parent, once
            )
        task = json.dumps({"config": config.to_json(), "imports": imports})
        # A process that died already breaks the pipe: `outcome` tells.
        with contextlib.suppress(BrokenPipeError), self._process.stdin as pipe:  # type: ignore[union-attr]
            pipe.write(task.encode())

    def is_alive(self) -> bool:
        """Whether the process still works."""
        return self._process.poll() is None

    def wait(self, timeout_seconds: float | None = None) -> None:
        """Return when the process has ended; raises subprocess.TimeoutExpired."""
        self._process.wait(timeout_seconds)

    def stop(self) -> None:
        """Ask it to write a checkpoint after the current batch, and end."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End it at once: the last checkpoint stays."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def outcome(self) -> Outcome:
        """How it ended; waits for the end."""
        with self._process.stdout as pipe:  # type: ignore[union-attr]
            said = pipe.read()
        status = self._process.wait()
        with contextlib.suppress(ValueError, TypeError, KeyError):
            return Outcome(**json.loads(said))
        if status < 0:
            name = signal.Signals(-status).name
            hint = ", which is what a system without free memory sends" if name == "SIGKILL" else ""
            reason = f"its process was ended by {name}{hint}"
        else:
            reason = f"its process ended with status {status}; {self._output} has what it said"
        write_failure(self.config.run_folder, reason, self.config.to_json())
        return Outcome("failed", reason)


def main() -> int:
    """Complete the run that stdin describes."""
    task: dict[str, Any] = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):
        for module in task["imports"]:
            import_plugin(module)
        outcome = attempt(TrainConfig.from_json(task["config"]), quiet=True)
    print(json.dumps({"kind": outcome.kind, "reason": outcome.reason}))
    return 0
