"""What a config names, put together: data, labels, method, networks; and their state as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfie_io.loading.augment import Augment
from selfie_io.loading.loader import Loader
from selfie_io.loading.options import PerImage
from selfie_io.records.split import RecordSplit
from selfie_train.config import TrainConfig
from selfie_train.evidence.training import TrainingStatistics
from selfie_train.methods.method import method_class
from selfie_train.models.builder import STEM_IMAGES
from selfie_train.runs.data_identity import open_run_dataset
from selfie_train.runs.training_labels import training_labels
from selfie_train.training.checkpoint import Checkpoint, flatten_state, unflatten_state
from selfie_train.training.distributed import join_processes
from selfie_train.training.early_stopping import EarlyStopping
from selfie_train.training.learner import Learner
from selfie_train.training.machine import own_compile_cache
from selfie_train.training.noise_estimate import NoiseRateEstimate, rate_before_training
from selfie_train.training.position import checked_rate
from selfie_train.training.run_log import RunLog

STATISTICS = "statistics"  # in a checkpoint


class Components:
    """What a run trains with: everything that learns or remembers, but not the position of the run.

    Raises ValueError where config, data and processes do not fit, OSError if the data cannot be read.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.group = join_processes(config.device, config.timeout)
        if config.batch_size % self.group.world_size:
            raise ValueError(
                f"batch_size must be a multiple of the number of processes, {self.group.world_size}, "
                f"because it counts the samples of all of them; got {config.batch_size}"
            )
        if config.sync_batchnorm and self.group.world_size > 1 and self.group.device.type != "cuda":
            raise ValueError(f"sync_batchnorm needs CUDA, got device {self.group.device}: leave it out")
        self.dataset = open_run_dataset(config)
        self.notes: list[str] = []  # for the user, a line each
        self.labels = training_labels(self.dataset, config, say=self.notes.append)
        if "test" not in self.dataset.splits:
            self.notes.append(f"{self.dataset.name} has no test split: test figures are n/a")
        num_samples, num_classes = len(self.labels.given), self.dataset.num_classes
        make_method = method_class(config.method)
        self.method = make_method(config, num_samples, num_classes, self.labels.noise_rate or 0.0)
        self.method.given_labels = self.labels.given
        self.statistics = TrainingStatistics(num_samples, num_classes, shared=self.group.world_size > 1)
        self.estimate: NoiseRateEstimate | None = None  # while the noise rate is being estimated
        if self.labels.noise_rate is None and make_method.needs_noise_rate:
            if not 1 <= config.warmup < config.epochs:
                raise ValueError(
                    "1 <= warmup < epochs must hold because the unknown noise rate is estimated after the "
                    f"warm-up, got warmup {config.warmup} of epochs {config.epochs}: change them, or set "
                    "noise_rate"
                )
            self.estimate = NoiseRateEstimate(
                num_samples, num_classes, history_length=config.history, threshold=config.threshold
            )
        if make_method.num_views > 1 and config.augment == "none":
            self.notes.append(
                f"{config.method} compares {make_method.num_views} views of each image, which are equal with "
                "--augment none: --augment crop-flip makes them differ"
            )
        self.early_stopping: EarlyStopping | None = None
        if config.early_stopping == "label-wave":
            if config.num_runs > 1:
                raise ValueError(
                    f"early stopping works on one training run, got {config.num_runs}: set --restarts 0"
                )
            self.early_stopping = EarlyStopping(num_samples, num_classes, patience=config.patience)
        if config.compile:
            own_compile_cache()
        shape = self.dataset.layout.shape
        self.learner = Learner(
            config,
            self.group,
            shape,
            num_classes,
            make_method.num_networks,
            needs_probabilities=make_method.needs_probabilities,
            num_views=make_method.num_views,
            stem_images=self._stem_images,
        )

    def loader(self, split: RecordSplit, *, training: bool) -> Loader:
        """A loader of this process's part: for training shuffled, augmented and with the given labels."""
        config, layout = self.config, split.layout
        augment = _augment(config.augment, (layout.height, layout.width)) if training else None
        return Loader(
            split,
            batch_size=config.batch_size // self.group.world_size,
            shuffle=training,
            order="independent" if config.variant == "official" else "permutation",
            seed=config.seed,
            labels=self.labels.given if training else None,
            views=self.method.num_views if training else 1,
            indices=np.flatnonzero(self.labels.given >= 0) if training and self.labels.left_out else None,
            augment=augment,
            normalize=PerImage(),
            layout="NHWC" if config.channels_last else "NCHW",
            pin_memory=self.group.device.type == "cuda",
            rank=self.group.rank,
            world_size=self.group.world_size,
        )

    def _stem_images(self) -> Tensor:
        """Up to 2,000 training images, evenly spaced and normalised: the same in every process and run."""
        split = self.dataset.train
        chosen = np.linspace(0, len(split) - 1, min(len(split), STEM_IMAGES)).astype(np.int64)
        return self.normalised(np.unique(chosen))

    def normalised(self, indices: NDArray[np.int64]) -> Tensor:
        """Training images float32 (n, C, H, W), normalised as the loader does it with PerImage."""
        images = torch.from_numpy(self.dataset.train.images(indices)).float()
        flat = images.flatten(1)
        std = flat.std(1, correction=0).clamp_min(flat.shape[1] ** -0.5)
        return (images - flat.mean(1)[:, None, None, None]) / std[:, None, None, None]

    def find_noise_rate(self, cache: Path, log: RunLog) -> None:
        """Before the first step: an unknown rate from evidence that is out of sample, if it gives one."""
        if self.estimate is None:
            return
        log.say(f"the noise rate is unknown and is estimated first; {cache} keeps it")
        given = self.labels.given
        rate, source = rate_before_training(self.dataset, given, cache, self.config.seed, self.group)
        if rate is None:
            log.say(f"no evidence gives a noise rate ({source}): the predictions of the warm-up will")
        else:
            self._take_noise_rate(rate, source, log)

    def estimate_noise_rate(self, log: RunLog) -> None:
        """After the warm-up: a rate that is still unknown, from the warm-up's predictions."""
        if self.estimate is not None:
            rate = self.estimate.rate(self.labels.given)
            self._take_noise_rate(rate, "the predictions of the warm-up (rough)", log)

    def _take_noise_rate(self, rate: float, source: str, log: RunLog) -> None:
        self.method.noise_rate = rate
        self.estimate = None
        log.event("noise_rate_estimated", noise_rate=rate, source=source)
        log.say(f"noise rate estimated from {source}: {rate:.4f}")

    def circumstances(self) -> dict[str, Any]:
        """What a reader of events.jsonl wants to know of the machine and the run."""
        return {
            "torch": torch.__version__,
            "device": str(self.group.device),
            "world_size": self.group.world_size,
            "num_threads": torch.get_num_threads(),
            "parameters": self.learner.num_parameters,
            "observed_noise_rate": self.labels.observed_noise_rate,
            "noise_rate": self.labels.noise_rate,
        }

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Everything learnt and remembered, as arrays and JSON values by name."""
        arrays, values = flatten_state(self.method.state_dict(), "method")
        arrays |= flatten_state(self.statistics.state_dict(), STATISTICS)[0]
        if self.estimate is not None:
            estimate_arrays, estimate_values = flatten_state(self.estimate.state_dict(), "estimate")
            arrays, values = arrays | estimate_arrays, values | estimate_values
        if self.early_stopping is not None:
            wave_arrays, wave_values = flatten_state(self.early_stopping.state_dict(), "label_wave")
            arrays, values = arrays | wave_arrays, values | wave_values
        known = {"noise_rate": self.method.noise_rate, "estimating": self.estimate is not None}
        return self.learner.state() | arrays, {"memory": values, **known}

    def load_state(self, checkpoint: Checkpoint) -> None:
        """Restore the `state` that a checkpoint holds; raises ValueError or KeyError if it does not fit."""
        memory = checkpoint.values["memory"]
        if not isinstance(memory, dict):
            raise ValueError(f"memory must be an object, got {str(memory)[:100]}")
        memory = memory | checkpoint.arrays
        self.learner.load_state(checkpoint.arrays)
        self.method.load_state_dict(unflatten_state(memory, "method"))
        self.method.noise_rate = checked_rate(checkpoint.values["noise_rate"])
        if kept := unflatten_state(checkpoint.arrays, STATISTICS):
            self.statistics.load_state_dict(kept)
        else:  # of version 0.1
            self.notes.append("the checkpoint has no statistics of the records: they begin here")
        if self.early_stopping is not None:
            self.early_stopping.load_state_dict(unflatten_state(memory, "label_wave"))
        estimating = checkpoint.values["estimating"]
        if not isinstance(estimating, bool) or (estimating and self.estimate is None):
            told = "true or false" if self.estimate is not None else "false where the noise rate is known"
            raise ValueError(f"estimating must be {told}, got {estimating!r}")
        if estimating and self.estimate is not None:
            self.estimate.load_state_dict(unflatten_state(memory, "estimate"))
        else:
            self.estimate = None


def _augment(name: str, crop: tuple[int, int]) -> Augment | None:
    if name == "none":
        return None
    if name == "crop-alternate":
        return Augment(pad=2, crop=crop, pad_mode="reflect", flip="alternate")
    return Augment(pad=4, crop=crop, flip="random" if name == "crop-flip" else "none")
