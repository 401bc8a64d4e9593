"""The training loop: `train` starts a run, `resume` goes on with one, exactly where its last checkpoint
stands.

On CPU a run is a pure function of its config, the data and torch's thread count, bit by bit: weights, order
and augmentation, and the dropout of each step draw from streams of their own, so that nothing hangs on where
it stopped.
"""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from selfie_io.records.atomic import atomic_path
from selfie_train.checkpoint import latest_checkpoint, write_checkpoint
from selfie_train.config import TrainConfig
from selfie_train.epoch_figures import EpochFigures
from selfie_train.learner import learning_rate
from selfie_train.logs import Row, RunLog
from selfie_train.methods.base import Choice, Scores
from selfie_train.parts import Parts
from selfie_train.results import TrainResult, write_results
from selfie_train.stopping import StopRequest

CHECKPOINT_SECONDS = 10.0  # after an epoch no checkpoint is written if the last one is younger
LOOK_EVERY = 20  # batches between looks at the loss and, with several processes, at a wish to stop


class Divergence(RuntimeError):
    """The loss or a weight is no longer finite; the message names the last good checkpoint."""


class Stopped(Exception):
    """A signal ended the run after a whole batch; the message names the checkpoint to go on from."""


def train(config: TrainConfig, *, quiet: bool = False) -> TrainResult:
    """Train as `config` says and leave everything in `config.run_folder`.

    Raises ValueError where config and data do not fit, FileExistsError if the folder holds a run already,
    Divergence if the loss is no longer finite, Stopped after Ctrl-C or SIGTERM.
    """
    folder = config.run_folder
    training = Training(config, folder, quiet=quiet)
    if (folder / "config.json").exists():
        raise FileExistsError(f"{folder} holds a run already: resume it, or choose another folder")
    training.group.wait()  # until every process has looked
    if training.group.is_first:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / "config.json") as temporary:
            temporary.write_text(json.dumps(config.to_json(), indent=1))
    return training.finish()


def resume(folder: str | Path, *, quiet: bool = False) -> TrainResult:
    """Go on with the run in `folder` at the batch after its last whole checkpoint; raises as `train` does.

    Raises OSError if there is no run. The number of processes may differ from before.
    """
    folder = Path(folder)
    config = TrainConfig.read(folder)
    training = Training(config, folder, quiet=quiet)
    training.restore()
    if training.last_checkpoint is not None:
        training.log.event("resume", checkpoint=training.last_checkpoint.name)
    return training.finish()


@dataclass
class Position:
    """Where a run stands, between two batches."""

    run: int = 0
    epoch: int = 0  # of the run
    batch: int = 0  # of the epoch
    step: int = 0  # batches over all runs
    images: int = 0  # trained on over all runs
    seconds: float = 0.0  # that took

    @property
    def images_per_second(self) -> float:
        """Over all runs; 0 before the first batch."""
        return self.images / self.seconds if self.seconds else 0.0


class Training:
    """One run with everything it needs."""

    def __init__(self, config: TrainConfig, folder: Path, *, quiet: bool) -> None:
        self.config = config
        self.folder = folder
        self.parts = Parts(config)
        self.group, self.labels, self.method = self.parts.group, self.parts.labels, self.parts.method
        self.learner = self.parts.learner
        self.train_loader = self.parts.loader(self.parts.dataset.train, training=True)
        self.test_loader = self.parts.loader(self.parts.dataset.test, training=False)

        self.at = Position()
        self.figures = EpochFigures(self.group, self.labels, self.method)  # of the epoch so far
        self.rows: list[Row] = []
        self.noise_rates = [self.method.noise_rate]  # of each run so far
        self.last_checkpoint: Path | None = None
        self.checkpoint_time = time.monotonic()
        self.log = RunLog(folder, is_first=self.group.is_first, quiet=quiet, tensorboard=config.tensorboard)
        self.learner.start_run(0)

    def finish(self) -> TrainResult:
        """Train what is left, and write the results."""
        self.log.restore(self.rows)
        self.log.event("start", **self._circumstances())
        at = self.at
        try:
            with StopRequest() as self.stop:
                while at.run < self.config.num_runs:
                    while at.epoch < self.config.epochs:
                        self._train_epoch()
                        self._end_epoch()
                    self._next_run()
        except Divergence as error:
            self.log.event("divergence", message=str(error))
            raise
        finally:
            self.log.close()
            self.train_loader.close()
            self.test_loader.close()
        result = TrainResult(
            folder=self.folder,
            config=self.config,
            log=self.rows,
            networks=self.learner.networks,
            labels=self.labels,
            refurbished_labels=self.method.refurbished_labels(),
            noise_rates=self.noise_rates,
            images_per_second=at.images_per_second or None,
        )
        if self.group.is_first:
            write_results(result, self.parts.dataset, self.method, say=self.log.say)
            self.log.event("end", **result.summary)
        self.group.wait()
        return result

    def _train_epoch(self) -> None:
        at, config = self.at, self.config
        self.learner.set_learning_rate(learning_rate(config, at.epoch))
        title = f"run {at.run} epoch {at.epoch + 1}/{config.epochs}"
        self.log.start_epoch(title, len(self.train_loader), at.batch)
        started = time.perf_counter()
        # A checkpoint after the last batch has the loader in the next epoch already.
        batches = iter(self.train_loader) if at.batch < len(self.train_loader) else iter(())
        for batch in batches:
            global_size = self._global_size(len(batch.labels), at.batch)
            if global_size >= 2:  # batch norm needs two samples
                choose = self._choose if self.method.needs_scores or self.parts.estimate else None
                scores, choices, sums = self.learner.step(batch, at.epoch, at.step, global_size, choose)
                self.figures.add(sums, scores, choices)
            at.batch += 1
            at.step += 1
            at.images += global_size
            started, previous = time.perf_counter(), started
            at.seconds += started - previous
            self._look_around()
            started = time.perf_counter()
        self.log.end_epoch()

    def _choose(self, scores: Scores) -> list[Choice] | None:
        if not np.isfinite(scores.losses).all():
            self._diverged("a loss is not finite")
        if self.parts.estimate is not None:
            self.parts.estimate.record(scores)
        return self.method.choose(scores) if self.method.needs_scores else None

    def _look_around(self) -> None:
        """Between two batches: is the loss finite, has somebody asked to stop, is a checkpoint due?"""
        at, config = self.at, self.config
        last = at.batch == len(self.train_loader)
        look = at.batch % LOOK_EVERY == 0 or last
        stop = self.stop.asked if self.group.world_size == 1 else look and self.group.any(self.stop.asked)
        due = config.checkpoint_batches and at.batch % config.checkpoint_batches == 0 and not last
        if look or stop or due:
            loss, error = self.figures.means()
            if not self.figures.is_finite():
                self._diverged(f"the loss is {loss}")
            self.log.advance(at.batch, loss, error, at.images_per_second)
        if due or stop:
            self._checkpoint()
        if stop:
            self.log.event("stopped", run=at.run, epoch=at.epoch, batch=at.batch)
            raise Stopped(
                f"stopped at {self.last_checkpoint}; continue with: selfie-train resume {self.folder}"
            )

    def _end_epoch(self) -> None:
        at, config, method = self.at, self.config, self.method
        test_loss, test_error = self.learner.evaluate(
            self.test_loader, batch_means=config.variant == "official"
        )
        knows_rate = method.needs_noise_rate and self.parts.estimate is None
        row = self.figures.row(
            epoch=at.epoch + 1,
            run=at.run,
            lr=learning_rate(config, at.epoch),
            test_loss=test_loss,
            test_error=test_error,
            noise_rate=method.noise_rate if knows_rate else None,
        )
        self.rows.append(row)
        self.log.row(row, at.images_per_second, label_precisions=self.figures.label_precisions())

        at.epoch, at.batch = at.epoch + 1, 0
        self.figures = EpochFigures(self.group, self.labels, method)
        if self.parts.estimate is not None and at.epoch == config.warmup:
            method.noise_rate = self.parts.estimate.rate(self.labels.given)
            self.noise_rates[-1] = method.noise_rate
            self.parts.estimate = None
            self.log.event("noise_rate_estimated", noise_rate=method.noise_rate)
            self.log.say(f"noise rate estimated from the predictions of the warm-up: {method.noise_rate:.4f}")
        old = time.monotonic() - self.checkpoint_time >= CHECKPOINT_SECONDS
        if self.group.any(old) or at.epoch == config.epochs:
            self._checkpoint()

    def _next_run(self) -> None:
        at = self.at
        at.run += 1
        if at.run < self.config.num_runs:
            at.epoch = 0
            self.method.restart()
            self.learner.start_run(at.run)
            self.noise_rates.append(self.method.noise_rate)
            self.log.event("restart", run=at.run, noise_rate=self.method.noise_rate)
            self.log.say(f"run {at.run} starts with new weights and noise rate {self.method.noise_rate:.4f}")

    def _checkpoint(self) -> None:
        figures = self.figures.state()
        if not self.learner.is_finite():
            self._diverged("a weight is not finite")
        self.checkpoint_time = time.monotonic()
        if not self.group.is_first:
            return
        arrays, state = self.parts.state()
        values = {
            "position": dataclasses.asdict(self.at),
            "loader": self.train_loader.state_dict(),
            **figures,
            "rows": self.rows,
            "noise_rates": self.noise_rates,
            **state,
        }
        self.last_checkpoint = write_checkpoint(self.folder / "checkpoints", self.at.step, arrays, values)

    def restore(self) -> None:
        """Go to the last whole checkpoint; stay at the start where there is none."""
        checkpoint, defects = latest_checkpoint(self.folder / "checkpoints")
        for defect in defects:
            self.log.say(f"passed over: {defect}")
        if checkpoint is None:
            return
        self.parts.load_state(checkpoint)
        values = checkpoint.values
        self.noise_rates = values["noise_rates"]
        self.train_loader.load_state_dict(values["loader"])
        self.at = Position(**values["position"])
        self.figures.load_state(values)
        self.rows = values["rows"]
        self.last_checkpoint = checkpoint.path

    def _diverged(self, what: str) -> None:
        at = self.at
        good = self.last_checkpoint or "none was written yet"
        raise Divergence(
            f"{what} in run {at.run}, epoch {at.epoch + 1}, batch {at.batch}; last good checkpoint: {good}. "
            "A lower learning rate may help"
        )

    def _global_size(self, local_size: int, batch: int) -> int:
        """Samples of a batch over all processes; only the last batch of an epoch can be a smaller one."""
        if batch + 1 < len(self.train_loader) or self.group.world_size == 1:
            return local_size * self.group.world_size
        return int(self.group.sum(torch.tensor([local_size], device=self.group.device)).item())

    def _circumstances(self) -> dict[str, Any]:
        return {
            "torch": torch.__version__,
            "device": str(self.group.device),
            "world_size": self.group.world_size,
            "num_threads": torch.get_num_threads(),
            "parameters": self.learner.num_parameters,
            "observed_noise_rate": self.labels.observed_noise_rate,
            "noise_rate": self.labels.noise_rate,
            **{f"at_{name}": value for name, value in dataclasses.asdict(self.at).items()},
        }
