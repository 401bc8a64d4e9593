"""The training loop: `train` starts a run, `resume` continues one exactly at its last checkpoint.

On CPU a run is a pure function of its config, the data and torch's thread count, bit by bit: weights, order
and augmentation, and the dropout of each step draw from streams of their own. So the result does not depend
on where the run stopped.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from selfie_io.loading.loader import Loader
from selfie_train.config import TrainConfig
from selfie_train.methods.method import Scores
from selfie_train.models.exact_kernels import exact_kernels
from selfie_train.runs.data_identity import check_identity, data_description, data_identity
from selfie_train.runs.log import Row, checked_rows
from selfie_train.runs.own_files import check_new_run
from selfie_train.runs.result import Divergence, Stopped, TrainResult
from selfie_train.training import continuing
from selfie_train.training.checkpoint import Checkpoint, write_checkpoint
from selfie_train.training.checkpoint_fit import check_place, checked_rates
from selfie_train.training.components import Components
from selfie_train.training.distributed import hold_run
from selfie_train.training.epoch_metrics import EpochMetrics
from selfie_train.training.kept_ways import CACHE
from selfie_train.training.position import Position
from selfie_train.training.report_record import ReportRecord
from selfie_train.training.result_files import write_results
from selfie_train.training.run_log import RunLog
from selfie_train.training.schedule import changes_within_epochs, learning_rate
from selfie_train.training.settle import settle
from selfie_train.training.stop_signal import StopSignal

CHECKPOINT_SECONDS = 10.0  # after an epoch no checkpoint is written if the last one is younger
CHECK_EVERY = 20  # batches between checks of the loss and, with several processes, of the stop signal


def train(config: TrainConfig, *, quiet: bool = False) -> TrainResult:
    """Train as `config` says and leave everything in its `run_folder`; `quiet` prints nothing.

    What the config leaves at auto is chosen first, said, and kept in config.json.

    Raises ValueError where config and data do not fit, FileExistsError if the folder holds a run already, or
    files of others that it would replace, RunBusy if another process trains it, Divergence if the loss is no
    longer finite, Stopped after Ctrl-C or SIGTERM.
    """
    if config.out is not None:  # before anything takes time
        check_new_run(config.run_folder)
    settled = settle(config)
    config = settled.config
    config.check_method()
    dataset = str(Path(config.dataset).absolute())  # to resume from anywhere
    config = dataclasses.replace(config, dataset=dataset)
    folder = config.run_folder
    training = Training(config, folder, quiet=quiet)
    with hold_run(folder, training.group):
        check_new_run(folder)
        training.group.barrier()  # until every process has looked
        if training.group.is_first:
            training.write_config()
        for note in settled.notes:
            training.log.say(note)
        return training.run()


def resume(
    folder: str | Path,
    *,
    dataset: str | Path | None = None,
    epochs: int | None = None,
    from_start: bool = False,
    quiet: bool = False,
) -> TrainResult:
    """Continue the run in `folder` at the batch after its last whole checkpoint; raises as `train` does.

    dataset: where its data set lies now, if it moved; epochs: to extend the run; from_start: train it again
    from the beginning; quiet: print nothing. Raises OSError if there is no run, ValueError if data, labels or
    settings are not those that the run learnt with, or if no checkpoint is whole.
    """
    folder = Path(folder)
    config, earlier_epochs = continuing.config_to_continue(folder, dataset, epochs)
    training = Training(config, folder, quiet=quiet)
    with hold_run(folder, training.group):
        checkpoint = None
        if not from_start:
            checkpoint = continuing.find_checkpoint(folder, config, earlier_epochs, training.log.say)
        check_identity(folder, training.components.dataset, training.labels, config.noise)
        if checkpoint is not None:
            training.restore(checkpoint)
        training.group.barrier()  # until every process has looked
        if training.group.is_first:
            if from_start or epochs is not None:
                continuing.begin_again(folder, forget=from_start)
            if dataset is not None or epochs is not None:
                training.write_config(earlier_epochs)
        if checkpoint is not None:
            training.log.event("resume", checkpoint=checkpoint.path.name)
        return training.run()


class Training:
    """A run with everything it needs. It trains all epochs once, and again from new weights if asked."""

    def __init__(self, config: TrainConfig, folder: Path, *, quiet: bool) -> None:
        self.config = config
        self.folder, self.checkpoints = folder, folder / "checkpoints"
        self.components = Components(config)
        self.group, self.labels = self.components.group, self.components.labels
        self.method, self.learner = self.components.method, self.components.learner
        self.early_stopping, self.statistics = self.components.early_stopping, self.components.statistics
        self.num_runs = self.method.num_runs(config)
        self.train_loader = self.components.loader(self.components.dataset.train, training=True)
        self.test_loader: Loader | None = None
        if "test" in self.components.dataset.splits:
            self.test_loader = self.components.loader(self.components.dataset.test, training=False)

        self.position = Position()
        self.metrics = EpochMetrics(self.group, self.labels, self.method)  # of the epoch so far
        self.report = ReportRecord(self.group, len(self.labels.given), self.components.dataset.num_classes)
        self.rows: list[Row] = []
        self.noise_rates = [self.method.noise_rate]  # of each run so far
        self.last_checkpoint: Path | None = None
        self.checkpoint_time = time.monotonic()
        self.log = RunLog(folder, is_first=self.group.is_first, quiet=quiet, tensorboard=config.tensorboard)
        self.learner.start_run(0)
        if self.group.life is not None:
            self.group.life.advice = f"continue with: selfie-train resume {folder}"

    def write_config(self, earlier_epochs: Sequence[int] = ()) -> None:
        """Write config.json: the settings, and which data they were used on."""
        dataset = self.components.dataset
        data = data_identity(dataset, self.labels) | data_description(dataset)
        continuing.write_config(self.folder, self.config, data, earlier_epochs)

    def run(self) -> TrainResult:
        """Train what is left, and write the results."""
        try:
            self.log.restore(self.rows)
            at = {f"at_{name}": value for name, value in dataclasses.asdict(self.position).items()}
            self.log.event("start", **self.components.circumstances(), **at)
            for line in self.components.notes:
                self.log.say(line)
            if self.position.step == 0:
                self.components.find_noise_rate(self.folder.parent / CACHE, self.log)
                self.noise_rates[-1] = self.method.noise_rate
            with exact_kernels(self.group.device), StopSignal() as stop_signal:
                while self.position.run < self.num_runs:
                    while self.position.epoch < self.config.epochs and not self._should_stop_early:
                        self._train_epoch(stop_signal)
                        self._evaluate_and_log_epoch()
                        if self.position.epoch == self.config.warmup:
                            self.components.estimate_noise_rate(self.log)
                            self.noise_rates[-1] = self.method.noise_rate
                        self._checkpoint_after_epoch()
                    self._start_next_run()
            selected_epoch = self._select_epoch()
        except Divergence as error:
            self.log.write_row()
            self.log.event("divergence", message=str(error))
            raise
        except OSError as error:  # a full disk, a data set that is gone
            raise continuing.stopped_by(error, self.last_checkpoint, self.folder) from error
        finally:
            self.log.close()
            self.train_loader.close()
            if self.test_loader is not None:
                self.test_loader.close()
        result = TrainResult(
            folder=self.folder,
            config=self.config,
            log=self.rows,
            networks=self.learner.tested_networks,
            labels=self.labels,
            refurbished_labels=self.method.refurbished_labels(),
            noise_rates=self.noise_rates,
            images_per_second=self.position.images_per_second or None,
            selected_epoch=selected_epoch,
            choices=self.report.choices,
            confusion=self.report.confusion,
        )
        if self.group.is_first:
            columns = self.statistics.columns()
            write_results(result, self.components.dataset, self.method, statistics=columns, say=self.log.say)
            self.log.event("end", **result.summary)
        self.group.barrier()
        return result

    def _train_epoch(self, stop_signal: StopSignal) -> None:
        """Train the batches that are left of the epoch: score, choose, update."""
        config, position, learner, method = self.config, self.position, self.learner, self.method
        num_batches = len(self.train_loader)
        watching = self.components.estimate is not None or self.early_stopping is not None
        gather = method.needs_scores or watching
        gradients = not method.learns_anew(position.epoch)
        rate_changes = changes_within_epochs(config)
        learner.set_learning_rate(self._learning_rate())
        title = f"run {position.run} epoch {position.epoch + 1}/{config.epochs}"
        self.log.start_epoch(title, num_batches, position.batch)
        # A checkpoint after the last batch has the loader in the next epoch already.
        batches = iter(self.train_loader) if position.batch < num_batches else iter(())
        begin = time.perf_counter()
        for batch in batches:
            global_size = self._global_size(len(batch.labels), position.batch)
            if global_size >= 2:  # batch norm needs two samples
                scores = learner.score(
                    batch, position.epoch, position.step, global_size, gather=gather, gradients=gradients
                )
                self.statistics.record(learner.outputs())
                if scores is not None:
                    self._watch(scores)
                choices = method.choose(scores) if scores is not None and method.needs_scores else None
                sums = learner.update(choices)
                self.metrics.add(sums, scores, choices)
                self.report.record(scores, choices)
            position.batch += 1
            position.step += 1
            position.images += global_size
            position.seconds += time.perf_counter() - begin

            is_last = position.batch == num_batches
            check = position.batch % CHECK_EVERY == 0 or is_last
            due = bool(config.checkpoint_batches) and position.batch % config.checkpoint_batches == 0
            due = due and not is_last
            if self.group.world_size == 1:
                stop = stop_signal.asked
            else:
                stop = check and self.group.any(stop_signal.asked)
            if check or due or stop:
                self._check_loss_and_show_progress()
            if due or stop:
                self._checkpoint()
            if stop:
                self.log.event("stopped", run=position.run, epoch=position.epoch, batch=position.batch)
                raise Stopped(
                    f"stopped at {self.last_checkpoint or 'the checkpoint of rank 0'}; "
                    f"continue with: selfie-train resume {self.folder}"
                )
            begin = time.perf_counter()
            if rate_changes:
                learner.set_learning_rate(self._learning_rate())
        self.log.end_epoch()

    def _learning_rate(self) -> float:
        """The learning rate of the next batch."""
        done = self.position.batch / len(self.train_loader)
        return learning_rate(self.config, self.position.epoch, done)

    def _watch(self, scores: Scores) -> None:
        """Raise Divergence if a loss is not finite; let the noise rate's estimate see the scores."""
        if not np.isfinite(scores.losses).all():
            self._diverged("a loss is not finite")
        if self.components.estimate is not None:
            self.components.estimate.record(scores)
        if self.early_stopping is not None:
            self.early_stopping.record(scores)

    def _check_loss_and_show_progress(self) -> None:
        """Raise Divergence if the loss is not finite in some process, else update the progress bar."""
        loss, error = self.metrics.means()
        if not self.metrics.is_finite():
            self._diverged(f"the loss is {loss}")
        self.log.advance(self.position.batch, loss, error, self.position.images_per_second)

    def _evaluate_and_log_epoch(self) -> None:
        """Test the networks, log the epoch, and move on to the next one."""
        position, method = self.position, self.method
        self.statistics.end_epoch(self.group)
        test_loss = test_error = None
        if self.test_loader is not None:
            official = self.config.variant == "official"
            counts = self.report.counts()
            self.log.start_test(f"run {position.run} epoch {position.epoch + 1} test", len(self.test_loader))
            test_loss, test_error = self.learner.evaluate(
                self.test_loader, batch_means=official, counts=counts, advance=self.log.advance_test
            )
            self.log.end_epoch()
            self.report.end_test(counts, test_error)
        knows_rate = method.needs_noise_rate and self.components.estimate is None
        row = self.metrics.row(
            epoch=position.epoch + 1,
            run=position.run,
            lr=learning_rate(self.config, position.epoch),
            test_loss=test_loss,
            test_error=test_error,
            noise_rate=method.noise_rate if knows_rate else None,
        )
        self.rows.append(row)
        self.log.hold_row(row, position.images_per_second, self.metrics.label_precisions())
        position.epoch, position.batch = position.epoch + 1, 0
        self.metrics = EpochMetrics(self.group, self.labels, method)

    def _checkpoint_after_epoch(self) -> None:
        """Write a checkpoint if the last one is old, if the epoch is the best, or the run's last."""
        best = self.early_stopping is not None and self.early_stopping.end_epoch(
            self.learner, self.checkpoints
        )
        due = best or self._should_stop_early or self.position.epoch == self.config.epochs
        due = due or (self.group.is_first and self.last_checkpoint is None)
        if self.group.any(due or time.monotonic() - self.checkpoint_time >= CHECKPOINT_SECONDS):
            self._checkpoint()
            if self.early_stopping is not None and self.group.is_first:
                self.early_stopping.forget_older(self.checkpoints)
        self.log.write_row()  # only now: a killed run that has a log has a checkpoint

    @property
    def _should_stop_early(self) -> bool:
        return self.early_stopping is not None and self.early_stopping.wave.should_stop

    def _select_epoch(self) -> int | None:
        """With early stopping: go back to the weights of the best epoch; returns it, from 1."""
        if self.early_stopping is None:
            return None
        best = self.early_stopping.select(self.learner, self.checkpoints)
        if best is not None:
            self._checkpoint()
        self.early_stopping.tell(best, self.rows, self.log)
        return None if best is None else best + 1

    def _start_next_run(self) -> None:
        """Start the next run, if there is one, with new weights."""
        position = self.position
        position.run += 1
        if position.run < self.num_runs:
            position.epoch = 0
            self.method.restart()
            self.statistics.restart()
            self.learner.start_run(position.run)
            self.noise_rates.append(self.method.noise_rate)
            self.log.event("restart", run=position.run, noise_rate=self.method.noise_rate)
            self.log.say(
                f"run {position.run} starts with new weights and noise rate {self.method.noise_rate:.4f}"
            )

    def _checkpoint(self) -> None:
        """Write everything that `restore` needs; raises Divergence if a weight is not finite."""
        metrics = self.metrics.state()
        self.statistics.merge(self.group)
        if not self.learner.is_finite():
            self._diverged("a weight is not finite")
        self.checkpoint_time = time.monotonic()
        if not self.group.is_first:
            return
        arrays, state = self.components.state()
        arrays |= self.report.state()
        values = {
            "position": dataclasses.asdict(self.position),
            "settings": continuing.settings(self.config),
            "loader": self.train_loader.state_dict(),
            **metrics,
            "rows": self.rows,
            "noise_rates": self.noise_rates,
            **state,
        }
        self.last_checkpoint = write_checkpoint(self.checkpoints, self.position.step, arrays, values)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue at a checkpoint; raises ValueError if it does not fit."""
        values = checkpoint.values
        try:
            self.components.load_state(checkpoint)
            self.train_loader.load_state_dict(values["loader"])
            runs, batches = self.num_runs, len(self.train_loader)
            self.position = Position.read(
                values["position"], runs=runs, epochs=self.config.epochs, batches=batches
            )
            self.noise_rates = checked_rates(values["noise_rates"], min(self.position.run + 1, runs))
            self.metrics.load_state(values)
            self.rows = checked_rows(values["rows"])
            size = self.config.batch_size
            check_place(
                self.position, self.rows, values["loader"], runs=runs, batches=batches, batch_size=size
            )
            errors = [row["test_error"] for row in self.rows if row["test_error"] is not None]
            self.report.load_state(checkpoint.arrays, errors)
        except continuing.MISFITS as error:
            raise continuing.misfit(checkpoint, self.folder, error) from error
        self.last_checkpoint = checkpoint.path

    def _diverged(self, what: str) -> None:
        raise continuing.divergence(what, self.position, self.last_checkpoint)

    def _global_size(self, local_size: int, batch: int) -> int:
        """Samples of a batch over all processes; only the last batch of an epoch can be smaller."""
        if batch + 1 < len(self.train_loader) or self.group.world_size == 1:
            return local_size * self.group.world_size
        return int(self.group.sum(torch.tensor([local_size], device=self.group.device)).item())
