"""The options of a loader, checked where they are made."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from selfie_io.processors import available_processors
from selfie_io.records.layout import RecordLayout

PadMode = Literal["zeros", "reflect"]
Flip = Literal["none", "random", "alternate"]
Dtype = Literal["float32", "float16", "bfloat16", "uint8"]
Layout = Literal["NCHW", "NHWC"]
Order = Literal["permutation", "independent", "quasi"]
IoMode = Literal["mmap", "pread"]
BackendName = Literal["native", "dali", "resident"]

MAX_SEED = 2**64 - 1
MAX_EPOCH = 2**32 - 1
MAX_VIEWS = 256

# (mean, std) of each channel, for pixels in 0..1: PerChannel(*CIFAR10_MEAN_STD).
CIFAR10_MEAN_STD = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
IMAGENET_MEAN_STD = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def _choice(name: str, value: object, known: object) -> None:
    if value not in get_args(known):
        raise ValueError(f"{name} must be one of {', '.join(get_args(known))}, got {value!r}")


def _integer(name: str, value: object, least: int, most: int | None = None) -> None:
    is_integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_integer or value < least or (most is not None and value > most):  # type: ignore[operator]
        bound = f"of at least {least}" if most is None else f"in {least}..{most}"
        raise ValueError(f"{name} must be an integer {bound}, got {value!r}")


def _bool(name: str, value: object) -> None:
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, got {value!r}")


def check_epoch(epoch: int) -> None:
    """Raise ValueError unless the random draws are defined for the epoch: 0..2^32-1."""
    _integer("epoch", epoch, 0, MAX_EPOCH)


def check_view(view: int, views: int) -> None:
    """Raise ValueError unless a record has a view of that number."""
    _integer("view", view, 0, views - 1)


@dataclass(frozen=True)
class PerImage:
    """Standardise each image over all its values: (x - mean) / max(std, 1 / sqrt(C * H * W))."""


@dataclass(frozen=True, init=False)
class PerChannel:
    """Standardise each channel by a given mean and standard deviation, for pixels in 0..1 as in torchvision.

    One number per channel; a bare number is one channel. Raises ValueError unless both have the same length,
    every mean is in -1..1 and every std is in 0..1 and positive.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]) -> None:
        object.__setattr__(self, "mean", tuple(map(float, np.atleast_1d(mean))))
        object.__setattr__(self, "std", tuple(map(float, np.atleast_1d(std))))
        if len(self.mean) != len(self.std):
            raise ValueError(
                f"mean and std must have one number per channel each, got {self.mean} and {self.std}"
            )
        if not all(map(math.isfinite, self.mean + self.std)) or min(self.std, default=0) <= 0:
            raise ValueError(f"mean must be finite and std positive, got {self.mean} and {self.std}")
        if max(map(abs, self.mean + self.std), default=0) > 1:
            raise ValueError(
                "mean and std must be in torchvision's units, for pixels in 0..1, "
                f"got {self.mean} and {self.std}: divide by 255"
            )


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random changes of an image, in this order: pad, crop, flip, brightness, contrast, (normalise,) cutout.

    pad: pixels added on each side, with byte 0 or by reflection without repeating the edge
    crop: (height, width) of a window at a random place; None keeps the image's size
    flip: "random" mirrors half of the images; "alternate" mirrors each image in every other epoch
    brightness: adds a delta from [-brightness, brightness), in byte units, without clipping
    contrast: (low, high), scales each channel around its mean by a factor from that range
    cutout: side of a square that is set to 0.0 after normalisation; its centre is uniform over the image
    """

    pad: int = 0
    crop: tuple[int, int] | None = None
    pad_mode: PadMode = "zeros"
    flip: Flip = "none"
    brightness: float = 0.0
    contrast: tuple[float, float] | None = None
    cutout: int = 0

    def __post_init__(self) -> None:
        _integer("pad", self.pad, 0)
        _integer("cutout", self.cutout, 0)
        _choice("pad_mode", self.pad_mode, PadMode)
        _choice("flip", self.flip, Flip)
        if self.crop is not None:
            if not isinstance(self.crop, Sequence) or len(self.crop) != 2:
                raise ValueError(f"crop must be (height, width), got {self.crop!r}")
            _integer("crop height", self.crop[0], 1)
            _integer("crop width", self.crop[1], 1)
        if not (math.isfinite(self.brightness) and self.brightness >= 0):
            raise ValueError(f"brightness must be finite and not negative, got {self.brightness!r}")
        contrast = self.contrast or (1.0, 1.0)
        if len(contrast) != 2 or not 0 <= contrast[0] <= contrast[1] < math.inf:
            raise ValueError(f"contrast must be (low, high) with 0 <= low <= high, got {self.contrast!r}")


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
        _integer("batch_size", self.batch_size, 1)
        _integer("views", self.views, 1, MAX_VIEWS)
        for name in ("shuffle", "drop_last", "pin_memory"):
            _bool(name, getattr(self, name))
        _integer("seed", self.seed, 0, MAX_SEED)
        _integer("num_threads", self.num_threads, 1)
        _integer("prefetch_batches", self.prefetch_batches, 1)
        _integer("world_size", self.world_size, 1)
        _integer("rank", self.rank, 0, self.world_size - 1)
        for name, known in (
            ("dtype", Dtype),
            ("layout", Layout),
            ("order", Order),
            ("io", IoMode),
            ("backend", BackendName),
        ):
            _choice(name, getattr(self, name), known)
        if self.weights is not None and self.shuffle and self.order != "permutation":
            raise ValueError(
                f"weights draw each record by itself and have no other order, got order={self.order!r}"
            )
        if not isinstance(self.augment, Augment):
            raise ValueError(f"augment must be an Augment or None, got {self.augment!r}")
        if self.normalize is not None and not isinstance(self.normalize, PerImage | PerChannel):
            raise ValueError(f"normalize must be PerImage(), PerChannel(...) or None, got {self.normalize!r}")


def crop_size(augment: Augment, layout: RecordLayout) -> tuple[int, int]:
    """The (height, width) of the loader's images."""
    return augment.crop or (layout.height, layout.width)


def default_threads() -> int:
    """The processors that this process may use."""
    return available_processors()
