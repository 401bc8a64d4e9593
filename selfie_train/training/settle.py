"""Before a run: choose what its config leaves at auto, and say so and how long the run will take."""

from __future__ import annotations

import contextlib
import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from selfie_io.records.dataset import RecordDataset
from selfie_train.config import TrainConfig
from selfie_train.methods.method import method_class
from selfie_train.models.builder import model_builder
from selfie_train.models.exact_kernels import exact_kernels
from selfie_train.recipes import AUTO, Facts, resolve
from selfie_train.runs.data_identity import open_run_dataset
from selfie_train.training.distributed import ProcessGroup, join_processes
from selfie_train.training.kept_ways import CACHE, KeptWays, kept_ways
from selfie_train.training.machine import (
    SHORT_RUN,
    TIMED_SAMPLES,
    Way,
    fastest_way,
    step_operations,
    time_way,
)

EVALUATION_SHARE = 1 / 3  # of a training step's time, that a test image takes


@dataclass(frozen=True)
class Settled:
    """A config without auto, and what to say of it."""

    config: TrainConfig
    notes: list[str]


def settle(config: TrainConfig) -> Settled:
    """Choose everything that `config` leaves open; the same in every process.

    Raises ValueError where model and data do not fit, OSError if the data cannot be read.
    """
    group = join_processes(config.device, config.timeout)
    dataset = open_run_dataset(config)
    asked = config
    facts = Facts(len(dataset.train), dataset.layout.shape, group.device.type == "cuda")
    config = resolve(config, facts)
    way: Way | None = None
    ways: list[Way] = []
    is_kept = False
    if _operations(config, dataset) < SHORT_RUN:
        config = config.filled(precision="float32", channels_last=False)
    else:
        ways, is_kept = _timed_or_kept_ways(config, group, dataset, asked.run_folder.parent)
        way = fastest_way(ways)
        config = config.filled(precision=way.precision, channels_last=way.channels_last)
    if group.world_size > 1:  # what the first process measured counts for all
        chosen: list[Any] = [config.to_json(), way]
        dist.broadcast_object_list(chosen, device=group.device if group.device.type == "cuda" else None)
        config, way = TrainConfig.from_json(chosen[0]), chosen[1]
    notes = _notes(asked, config, way, ways, group, dataset)
    if is_kept:
        place = asked.run_folder.parent / CACHE
        taken = _way_name(config.precision, config.channels_last)
        notes.insert(-1, f"as earlier runs here, so that they can be compared: {taken} (kept in {place})")
    return Settled(config, notes)


def _operations(config: TrainConfig, dataset: RecordDataset) -> float:
    """Floating-point operations of the whole run."""
    per_image = step_operations(config.model, dataset.layout.shape, dataset.num_classes)
    if per_image is None:
        return math.inf
    networks = _passes(config)
    return float(per_image) * networks * config.num_runs * config.epochs * len(dataset.train)


def _passes(config: TrainConfig) -> int:
    """How many images go through networks for each image of a step."""
    method = method_class(config.method)
    return method.num_networks * method.num_views


def _timed_or_kept_ways(
    config: TrainConfig, group: ProcessGroup, dataset: RecordDataset, runs: Path
) -> tuple[list[Way], bool]:
    """The ways to choose from, timed; one alone, and True, if an earlier run in `runs` chose it."""
    with contextlib.ExitStack() as stack:
        kept: KeptWays = {}
        if group.is_first and config.auto_settings():
            kept = stack.enter_context(kept_ways(runs))
        key = _measured(config, group, dataset)
        is_kept = key in kept
        ways = _time_ways(config.filled(**kept.get(key, {})), group, dataset)
        way = fastest_way(ways)
        kept[key] = {"precision": way.precision, "channels_last": way.channels_last}
    return ways, is_kept


def _measured(config: TrainConfig, group: ProcessGroup, dataset: RecordDataset) -> str:
    """What a measurement hangs on."""
    on_gpu = group.device.type == "cuda"
    machine = torch.cuda.get_device_name(group.device) if on_gpu else f"{torch.get_num_threads()} CPU threads"
    return (
        f"{config.model}, {dataset.layout.shape}, {dataset.num_classes} classes, batch size "
        f"{config.batch_size}, {config.precision}, channels_last {config.channels_last}, "
        f"{group.world_size} x {machine}, torch {torch.__version__}"
    )


def _time_ways(config: TrainConfig, group: ProcessGroup, dataset: RecordDataset) -> list[Way]:
    precisions = ["float32", "bfloat16"] if config.precision == AUTO else [config.precision]
    orders = [False, True] if "channels_last" in config.auto_settings() else [config.channels_last]
    count = max(2, min(TIMED_SAMPLES, config.batch_size // group.world_size))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = model_builder(config.model)(dataset.layout.shape, dataset.num_classes)
        images = torch.randn(count, *dataset.layout.shape).to(group.device)
        labels = torch.randint(dataset.num_classes, (count,)).to(group.device)
        with exact_kernels(group.device):
            return [
                time_way(network, group.device, images, labels, precision=precision, channels_last=order)
                for precision, order in itertools.product(precisions, orders)
            ]


def _notes(
    asked: TrainConfig,
    config: TrainConfig,
    way: Way | None,
    ways: list[Way],
    group: ProcessGroup,
    dataset: RecordDataset,
) -> list[str]:
    notes = []
    chosen = [name for name in asked.auto_settings() if name not in ("precision", "channels_last")]
    if chosen:
        settings = ", ".join(f"{name} {getattr(config, name)}" for name in chosen)
        notes.append(f"chosen for {len(dataset.train):,} images on {group.device.type}: {settings}")
    if len(ways) > 1:
        speeds = ", ".join(_way_text(one) for one in ways)
        notes.append(f"measured: {speeds}; taken: {_way_name(config.precision, config.channels_last)}")
    elif not ways and asked.auto_settings() and AUTO in (asked.precision, asked.channels_last):
        notes.append("precision float32, channels_last False: the run is too short to gain by another choice")
    notes.append(_estimate(config, way, group, dataset))
    return notes


def _estimate(config: TrainConfig, way: Way | None, group: ProcessGroup, dataset: RecordDataset) -> str:
    epochs = config.num_runs * config.epochs
    size = f"{config.num_runs} x {config.epochs} epochs of {len(dataset.train):,} images"
    if way is None:
        return f"{size}: a minute or so"
    tested = len(dataset.test) if "test" in dataset.splits else 0
    images = len(dataset.train) + EVALUATION_SHARE * tested
    networks = _passes(config)
    seconds = epochs * images * networks / (way.images_per_second * group.world_size)
    return (
        f"{size}: about {duration(seconds)} at {way.images_per_second * group.world_size / networks:,.0f} "
        "images/s, if the machine stays as busy as it is"
    )


def duration(seconds: float) -> str:
    """In words, to a minute or an hour."""
    if seconds < 90:
        return f"{max(1, round(seconds))} seconds"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} minutes"
    return f"{seconds / 3600:.1f} hours"


def _way_name(precision: str, channels_last: bool) -> str:
    return f"{precision}, channels last" if channels_last else precision


def _way_text(way: Way) -> str:
    return f"{_way_name(way.precision, way.channels_last)} {way.images_per_second:,.0f} images/s"
