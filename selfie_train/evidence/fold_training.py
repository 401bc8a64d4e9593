"""One fold: a network learns the records outside it and says of each record inside it which class it is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from selfie_io.loading.augment import Augment
from selfie_io.loading.loader import Loader
from selfie_io.loading.options import PerImage
from selfie_io.records.atomic import atomic_path
from selfie_io.records.npy_file import write_npy
from selfie_io.records.split import RecordSplit
from selfie_train.models.airnet import AirNet
from selfie_train.models.builder import STEM_IMAGES, model_builder
from selfie_train.models.exact_kernels import exact_kernels
from selfie_train.models.muon import Muon, set_learning_rate
from selfie_train.recipes import AIRNET, airnet_batch_size, airnet_rate, is_photograph

SGD_RATE, SGD_DECAY = 0.05, 5e-4
LAST_RATE = 0.02  # share of the rate at the end
LABEL_SMOOTHING = 0.1
SNAPSHOTS, SNAPSHOTS_FROM = 10, 1 / 3
ERASE, ERASE_SCALE = 0.5, (0.05, 0.2)  # rectangles of photographs


@dataclass(frozen=True)
class FoldTask:
    """What a process needs to complete one fold; it can be pickled."""

    split: RecordSplit
    given: NDArray[np.int64]  # (N,)
    num_classes: int
    learnt: NDArray[np.int64]  # positions that are trained on
    judged: NDArray[np.int64]  # positions whose probabilities are wanted
    model: str
    epochs: int
    seed: int
    threads: int  # of torch: the result's last bits depend on it
    path: Path  # float32 (len(judged), k) as .npy


def complete_fold(task: FoldTask, advance: Callable[[int], None]) -> None:
    """Train, and write the probabilities to the task's path; `advance` is told of every epoch."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with _threads(task.threads), torch.random.fork_rng(devices=[]), exact_kernels(device):
        torch.manual_seed(task.seed)
        way = _Way(device)
        network = model_builder(task.model)(task.split.layout.shape, task.num_classes)
        prepare = getattr(network, "prepare", None)  # airnet makes its stem from images
        if prepare is not None:
            count = min(len(task.learnt), STEM_IMAGES)
            chosen = task.learnt[np.linspace(0, len(task.learnt) - 1, count).astype(np.int64)]
            with Loader(task.split, batch_size=count, normalize=PerImage(), indices=chosen) as stem:
                prepare(next(iter(stem)).images)
        network = way.place(network)
        judging = snapshot_epochs(task.epochs)
        found = np.zeros((len(task.judged), task.num_classes), np.float32)
        with _training_loader(task, way) as loader:
            for epoch in _train(network, loader, task.epochs, way):
                if epoch in judging:
                    found += _judge(network, task, way) / np.float32(len(judging))
                advance(1)
    with atomic_path(task.path) as temporary, temporary.open("wb") as file:
        write_npy(file, found)


class _Way:
    """Device, precision and memory order: by what the processor can do, never by a clock."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        # NHWC is the faster order of airnet everywhere that was measured.
        self.half = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()

    def place(self, network: nn.Module) -> nn.Module:
        placed: nn.Module = network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return placed

    def images(self, images: Tensor) -> Tensor:
        """NCHW in name, NHWC in memory."""
        return images.to(self.device, non_blocking=True).permute(0, 3, 1, 2)

    def logits(self, network: nn.Module, images: Tensor) -> Tensor:
        """float32 (b, k)."""
        if not self.half:
            return network(images).float()  # type: ignore[no-any-return]
        with torch.autocast(self.device.type, torch.bfloat16):
            logits: Tensor = network(images)
        return logits.float()


def _training_loader(task: FoldTask, way: _Way) -> Loader:
    height, width = task.split.layout.height, task.split.layout.width
    # As runs augment photographs; the flip of a digit is none.
    photographs = is_photograph(task.split.layout.shape)
    augment = Augment(
        pad=max(height // 8, 1),
        crop=(height, width),
        pad_mode="reflect",
        flip="alternate" if photographs else "none",
        erase=ERASE if photographs else 0.0,
        erase_scale=ERASE_SCALE,
    )
    return Loader(
        task.split,
        batch_size=min(airnet_batch_size(len(task.learnt)), len(task.learnt)),
        shuffle=True,
        drop_last=True,
        seed=task.seed,
        labels=task.given,
        augment=augment,
        normalize=PerImage(),
        indices=task.learnt,
        layout="NHWC",
        pin_memory=way.device.type == "cuda",
    )


def snapshot_epochs(epochs: int) -> set[int]:
    """The epochs, from 1, after which the network judges: its word is their mean, as of an ensemble.

    At most SNAPSHOTS, spread evenly from SNAPSHOTS_FROM on, with the last. One network's last word is surer
    than it is right, and more so the longer it learns wrong labels.
    """
    first = max(1, round(SNAPSHOTS_FROM * epochs))
    return set(np.linspace(first, epochs, min(SNAPSHOTS, epochs - first + 1)).round().astype(int).tolist())


def _train(network: nn.Module, loader: Loader, epochs: int, way: _Way) -> Iterator[int]:
    """Yield every epoch, from 1. Muon on airnets, SGD on others; the learning rate falls in a line."""
    optimizer: torch.optim.Optimizer
    if isinstance(network, AirNet):
        rate = airnet_rate(loader.batch_size)
        optimizer = Muon(network, rate, AIRNET["momentum"], AIRNET["weight_decay"])
    else:
        rate = SGD_RATE
        optimizer = torch.optim.SGD(
            network.parameters(), lr=rate, momentum=0.9, nesterov=True, weight_decay=SGD_DECAY
        )
    steps, step = max(epochs * len(loader), 1), 0
    for epoch in range(epochs):
        network.train()
        for batch in loader:
            set_learning_rate(optimizer, rate * (1 + (LAST_RATE - 1) * step / steps))
            optimizer.zero_grad(set_to_none=True)
            logits = way.logits(network, way.images(batch.images))
            labels = batch.labels.to(way.device, non_blocking=True)
            loss = F.cross_entropy(logits, labels, label_smoothing=LABEL_SMOOTHING)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            step += 1
        yield epoch + 1


def _judge(network: nn.Module, task: FoldTask, way: _Way) -> NDArray[np.float32]:
    """The probabilities of the judged records: means over each image and its mirror image."""
    network.eval()
    found = np.empty((len(task.judged), task.num_classes), np.float32)
    done = 0
    with (
        torch.inference_mode(),
        Loader(
            task.split, batch_size=256, normalize=PerImage(), indices=task.judged, layout="NHWC"
        ) as loader,
    ):
        for batch in loader:
            images = way.images(batch.images)
            shares = F.softmax(way.logits(network, images), 1)
            shares = shares + F.softmax(way.logits(network, images.flip(3)), 1)
            found[done : done + len(images)] = (shares / 2).cpu().numpy()
            done += len(images)
    return found


@contextlib.contextmanager
def _threads(count: int) -> Iterator[Any]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
