"""The options of a loader, checked where they are made."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from selfie_io.loading.augment import Augment
from selfie_io.loading.checks import boolean, choice, integer, plain
from selfie_io.processors import available_processors

Dtype = Literal["float32", "float16", "bfloat16", "uint8"]
Layout = Literal["NCHW", "NHWC"]
Order = Literal["permutation", "independent", "quasi"]
IoMode = Literal["auto", "mmap", "pread"]
BackendName = Literal["native", "dali", "resident"]

MAX_SEED = 2**64 - 1
MAX_EPOCH = 2**32 - 1
MAX_VIEWS = 256
MIN_STD = 1e-30  # float32 holds its reciprocal
MAX_COUNT = 2**31 - 1  # of records in a batch, and of ranks: their product fits 64 bits
_NUMBERS = ("batch_size", "views", "seed", "num_threads", "prefetch_batches", "world_size", "rank")

# (mean, std) of each channel, for pixels in 0..1: PerChannel(*CIFAR10_MEAN_STD).
CIFAR10_MEAN_STD = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
IMAGENET_MEAN_STD = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def check_epoch(epoch: int) -> None:
    """Raise ValueError unless the random draws are defined for the epoch: 0..2^32-1."""
    integer("epoch", epoch, 0, MAX_EPOCH)


def check_view(view: int, views: int) -> None:
    """Raise ValueError unless a record has a view of that number."""
    integer("view", view, 0, views - 1)


@dataclass(frozen=True)
class PerImage:
    """Standardise each image over all its values: (x - mean) / max(std, 1 / sqrt(C * H * W))."""


@dataclass(frozen=True, init=False)
class PerChannel:
    """Standardise each channel by a given mean and standard deviation, for pixels in 0..1 as in torchvision.

    One number per channel; a bare number is one channel. Raises ValueError unless both have the same length,
    every mean is in -1..1 and every std is in 0..1 and at least 1e-30.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]) -> None:
        for name, values in (("mean", mean), ("std", std)):
            try:
                numbers = tuple(map(float, np.atleast_1d(values)))
            except Exception:  # what is given may convert itself, and raise anything
                raise ValueError(f"{name} must have one number per channel, got {values!r}") from None
            object.__setattr__(self, name, numbers)
        if len(self.mean) != len(self.std):
            raise ValueError(
                f"mean and std must have one number per channel each, got {self.mean} and {self.std}"
            )
        if not all(map(math.isfinite, self.mean + self.std)) or min(self.std, default=0) < MIN_STD:
            raise ValueError(
                f"mean must be finite and std positive, at least {MIN_STD:g}, got {self.mean} and {self.std}"
            )
        if max(map(abs, self.mean + self.std), default=0) > 1:
            raise ValueError(
                "mean and std must be in torchvision's units, for pixels in 0..1, "
                f"got {self.mean} and {self.std}: divide by 255"
            )


@dataclass(frozen=True, kw_only=True)
class LoaderOptions:
    """The options of a Loader; Loader's docstring says what each does."""

    batch_size: int
    shuffle: bool
    drop_last: bool
    seed: int
    labels: npt.NDArray[np.int64] | None  # by index in the whole split
    indices: npt.NDArray[np.int64] | None  # ascending; None: all records
    weights: npt.NDArray[np.float64] | None  # one per record to choose from; None: each record once
    views: int
    augment: Augment
    normalize: PerImage | PerChannel | None
    dtype: Dtype
    layout: Layout
    order: Order
    num_threads: int
    prefetch_batches: int
    io: IoMode
    pin_memory: bool
    backend: BackendName
    device: str
    rank: int
    world_size: int

    def __post_init__(self) -> None:
        for name in _NUMBERS:
            object.__setattr__(self, name, plain(getattr(self, name)))
        integer("batch_size", self.batch_size, 1, MAX_COUNT)
        integer("views", self.views, 1, MAX_VIEWS)
        for name in ("shuffle", "drop_last", "pin_memory"):
            boolean(name, getattr(self, name))
        integer("seed", self.seed, 0, MAX_SEED)
        integer("num_threads", self.num_threads, 1)
        integer("prefetch_batches", self.prefetch_batches, 1)
        integer("world_size", self.world_size, 1, MAX_COUNT)
        integer("rank", self.rank, 0, self.world_size - 1)
        for name, known in (
            ("dtype", Dtype),
            ("layout", Layout),
            ("order", Order),
            ("io", IoMode),
            ("backend", BackendName),
        ):
            choice(name, getattr(self, name), known)
        if self.weights is not None and self.shuffle and self.order != "permutation":
            raise ValueError(
                f"weights draw each record by itself and have no other order, got order={self.order!r}"
            )
        if not isinstance(self.augment, Augment):
            raise ValueError(f"augment must be an Augment or None, got {self.augment!r}")
        if self.normalize is not None and not isinstance(self.normalize, PerImage | PerChannel):
            raise ValueError(f"normalize must be PerImage(), PerChannel(...) or None, got {self.normalize!r}")


def default_threads() -> int:
    """The processors that this process may use."""
    return available_processors()
