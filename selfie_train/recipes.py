"""What settings at auto become: the paper's recipe, and what fits network, data and machine."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from selfie_train.config import TrainConfig

AUTO: Final[Literal["auto"]] = "auto"
Recipe = dict[str, Any]

# The optimisation of the SELFIE paper, which other networks than airnet start from.
CLASSIC: Recipe = {
    "batch_size": 128,
    "lr": 0.1,
    "schedule": "step",
    "lr_warmup": 0.0,
    "optimizer": "sgd",
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "label_smoothing": 0.0,
    "ema": 0.0,
}
PAPER: Recipe = {
    **CLASSIC,
    "model": "densenet-25-12",
    "epochs": 100,
    "warmup": 25,
    "history": 15,
    "augment": "none",
    "precision": "float32",
    "channels_last": False,
    "variant": "paper",
}

# Found by measuring: docs/performance.md has each step's gain.
AIRNET: Recipe = {
    "batch_size": 512,
    "lr": 0.12,
    "schedule": "one-cycle",
    "lr_warmup": 0.0,
    "optimizer": "muon",
    "momentum": 0.8,
    "weight_decay": 2.4e-3,
    "label_smoothing": 0.0,
    "ema": 0.0,
}

CPU_SAMPLES, GPU_SAMPLES = 600_000, 5_000_000  # that a run of the plain default trains on
FEWEST_EPOCHS, MOST_EPOCHS = 10, 40
AIRNET_STEPS, CLASSIC_STEPS = 20, 5  # of an epoch, at least; small data gets smaller batches
SMALLEST_BATCH = 16
SMALLEST_FLIPPED = 24  # pixels; colour images from this side on are taken for photographs


@dataclass(frozen=True)
class Facts:
    """What the defaults hang on."""

    num_samples: int
    shape: tuple[int, int, int]  # channels, height, width
    is_gpu: bool


def resolve(config: TrainConfig, facts: Facts) -> TrainConfig:
    """`config` with a value for each setting at auto but precision and channels_last, which are measured.

    Warm-up and history are in proportion to the epochs, the epochs to the data, the batch to both.
    """
    config = config.filled(model=_model(facts))
    is_airnet = config.model.startswith("airnet")
    recipe = dict(AIRNET if is_airnet else CLASSIC)
    make_batch_size = airnet_batch_size if is_airnet else _classic_batch_size
    config = config.filled(batch_size=make_batch_size(facts.num_samples))
    if is_airnet:
        recipe["lr"] = airnet_rate(config.batch_size)
        if config.method == "default" and config.noise == "none":
            recipe["label_smoothing"] = 0.2  # methods for noisy labels read the losses and probabilities
    samples = GPU_SAMPLES if facts.is_gpu else CPU_SAMPLES
    epochs = max(FEWEST_EPOCHS, min(MOST_EPOCHS, round(samples / max(1, facts.num_samples))))
    if "warmup" not in config.auto_settings():
        epochs = max(epochs, 2 * config.warmup)
    config = config.filled(epochs=epochs)
    if config.ramp is None and config.recipe != "paper":
        config = dataclasses.replace(config, ramp=max(1, round(config.epochs / 10)))
    return config.filled(
        **{name: value for name, value in recipe.items() if name != "batch_size"},
        warmup=min(config.epochs - 1, max(1, round(config.epochs / 4))),
        history=max(3, min(15, round(0.15 * config.epochs))),
        augment=_augment(config.model, facts.shape),
    )


def _model(facts: Facts) -> str:
    if min(facts.shape[1:]) < 8:
        return "convnet"  # it takes any size
    if facts.is_gpu:
        return "resnet-34"
    return "airnet" if max(facts.shape[1:]) >= 16 else "airnet-small"


def airnet_batch_size(num_samples: int) -> int:
    """The batch size for airnet on so many samples: 16 to 512, a power of two."""
    return _batch_size(num_samples, AIRNET["batch_size"], AIRNET_STEPS)


def _classic_batch_size(num_samples: int) -> int:
    return _batch_size(num_samples, CLASSIC["batch_size"], CLASSIC_STEPS)


def airnet_rate(batch_size: int) -> float:
    """Muon's learning rate. Muon takes a gradient's direction alone, which is noisier in a smaller batch."""
    rate: float = AIRNET["lr"] * math.sqrt(batch_size / AIRNET["batch_size"])
    return rate


def is_photograph(shape: tuple[int, int, int]) -> bool:
    """Whether images of this shape (channels, height, width) are taken for photographs."""
    return shape[0] == 3 and min(shape[1:]) >= SMALLEST_FLIPPED


def _batch_size(num_samples: int, usual: int, steps: int) -> int:
    """The largest power of two that leaves so many steps an epoch, between SMALLEST_BATCH and `usual`."""
    fits = max(1, num_samples // steps)
    return max(SMALLEST_BATCH, min(usual, 1 << (fits.bit_length() - 1)))


def _augment(model: str, shape: tuple[int, int, int]) -> str:
    """Photographs are moved and flipped, other images left alone: the flip of a digit is none."""
    if not is_photograph(shape):
        return "none"
    if model.startswith("airnet"):
        return "crop-alternate"
    return "crop-flip" if model.startswith(("resnet", "preact", "timm:")) else "none"
