"""Part `training`: runs are killed at random and resumed; the end equals that of a run that nobody killed.

Log, labels, weights, momentum, memory and figures are compared bit for bit.
"""

import json
import shutil
import time

import numpy as np
from safetensors.numpy import load_file

from soak.starter import Starter
from soak.trial import Trial, expect

MODULES = ["selfie_train.training.loop", "selfie_train.report.run", "selfie_train.commands.resume"]
OPTIONS = (
    "--recipe", "paper", "--model", "convnet", "--noise", "pair:0.4", "--epochs", 3, "--warmup", 1,
    "--history", 2, "--restarts", 0, "--batch-size", 8, "--checkpoint-batches", 3, "--device", "cpu",
)  # fmt: skip
METHODS = ["selfie", "co-teaching", "active-bias"]


def files_that_matter(folder):
    """What must not depend on where a run stopped."""
    arrays = load_file(max((folder / "checkpoints").glob("*.safetensors")))
    summary = json.loads((folder / "summary.json").read_text())
    del summary["images_per_second"]
    texts = {name: (folder / name).read_bytes() for name in ("log.csv", "labels.csv")}
    return {**texts, **{name: array.tobytes() for name, array in arrays.items()}, "summary": summary}


class Training:
    """Whole runs to compare with, made on first use."""

    def __init__(self) -> None:
        self.starter: Starter | None = None
        self.whole: dict = {}

    def start(self, trial: Trial) -> Starter:
        """The process that starts the runs; the data set lies beside them."""
        if self.starter is None:
            import training  # tests/training.py

            folder = trial.folder("training")
            self.starter = Starter("selfie_train.cli:main", MODULES, folder)
            data = np.random.default_rng(0)
            pixels, labels = data.integers(0, 256, (48, 1, 8, 8), "u1"), np.arange(48) % 4
            training.pack(folder / "set", pixels, labels)
        return self.starter

    def command(self, method):
        return ("run", "--dataset", "set", "--out", "run", "--method", method, *OPTIONS)

    def __call__(self, trial: Trial) -> None:
        """Kill a run, resume it, perhaps kill it again, and let it finish."""
        random = trial.random
        starter, folder = self.start(trial), trial.scratch / "training"
        method = random.choice(METHODS)
        run = folder / "run"
        if method not in self.whole:
            shutil.rmtree(run, ignore_errors=True)
            begin = time.monotonic()
            expect(starter.run(self.command(method), folder) == 0, starter.output())
            self.whole[method] = files_that_matter(run), time.monotonic() - begin, starter.calls()
        wanted, seconds, calls = self.whole[method]
        shutil.rmtree(run, ignore_errors=True)
        command, killed = self.command(method), 0
        told = ""
        for _ in range(random.choice([1, 1, 2, 3])):
            how = random.choice(["moment", "call"])
            when = random.uniform(0, seconds) if how == "moment" else random.randrange(1, calls + 1)
            status = starter.run(command, folder, kill=(how, when))
            told += f"{method}, killed at {how} {when}: "
            expect(status in (0, -9), told + f"status {status}: {starter.output()}")
            killed += status == -9
            command = self.next_command(method, run)
        status = starter.run(command, folder)
        expect(status == 0, told + f"{command} gave {status}: {starter.output()}")
        found = files_that_matter(run)
        differing = [name for name in {*wanted, *found} if wanted.get(name) != found.get(name)]
        expect(not differing, told + f"resumed, other {differing}")
        trial.counts["kills"] += killed
        trial.counts["kills of training runs"] += killed
        trial.counts["resumes of runs, equal"] += killed > 0

    def next_command(self, method, run):
        """What a user types next: resume, or the run again where it had not begun."""
        return ("resume", "run") if (run / "config.json").exists() else self.command(method)

    def close(self) -> None:
        """End the process that starts the runs."""
        if self.starter is not None:
            self.starter.close()


run = Training()
