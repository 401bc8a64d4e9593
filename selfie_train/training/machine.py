"""How fast this machine trains a network, in which precision and memory order."""

from __future__ import annotations

import contextlib
import math
import os
import time
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from selfie_io.user_cache import user_cache
from selfie_train.models.builder import model_builder

TIMED_SAMPLES = 128  # a step of so many, or of the run's batch
TIMED_SECONDS = 0.25  # of each way to train
# Below this many floating-point operations a run takes seconds anyway: it stays with float32, and its result
# then hangs on no measurement.
SHORT_RUN = 5e12
LEAST_GAIN = 1.1  # another way must be so much faster than float32


@dataclass(frozen=True)
class Way:
    """A precision and a memory order, and how fast training is with them."""

    precision: str
    channels_last: bool
    images_per_second: float  # by the clock
    cost: float  # processor seconds an image (on a GPU seconds); other work on the machine changes it less


def step_operations(model: str, shape: tuple[int, int, int], num_classes: int) -> int | None:
    """Floating-point operations of one training step, per image, or None if they cannot be counted.

    Forward and backward, on tensors without data. Raises ValueError if the network cannot take the images.
    """
    try:
        with torch.device("meta"):
            network = model_builder(model)(shape, num_classes)
            images = torch.empty(2, *shape)
        with FlopCounterMode(display=False) as counter:
            network(images).sum().backward()
    except (RuntimeError, NotImplementedError):  # an operation that needs data
        return None
    return int(counter.get_total_flops()) // 2


def time_way(
    network: nn.Module,
    device: torch.device,
    images: Tensor,
    labels: Tensor,
    *,
    precision: str,
    channels_last: bool,
    seconds: float = TIMED_SECONDS,
) -> Way:
    """Time training steps of `network` on one batch for about `seconds`; its weights stay as they are."""
    network = network.to(device)
    order = torch.channels_last if channels_last else torch.contiguous_format
    network = network.to(memory_format=order)  # type: ignore[call-overload]
    images = images.contiguous(memory_format=order)
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    fastest, cheapest, spent = math.inf, math.inf, 0.0
    for number in range(100):
        begin, begin_cost = time.perf_counter(), clock()
        with autocast(device, precision):
            logits = network(images)
        F.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        took, cost = time.perf_counter() - begin, clock() - begin_cost
        network.zero_grad(set_to_none=True)
        if number:  # the first one makes its plans
            fastest, cheapest, spent = min(fastest, took), min(cheapest, cost), spent + took
        if spent >= seconds or (number and took >= 2 * seconds):
            break
    return Way(precision, channels_last, len(images) / fastest, cheapest / len(images))


def fastest_way(ways: list[Way]) -> Way:
    """The cheapest one; the first, float32 in torch's usual order, unless another is 1.1 times as cheap."""
    best = min(ways, key=lambda way: way.cost)
    return best if best.cost * LEAST_GAIN <= ways[0].cost else ways[0]


def own_compile_cache() -> None:
    """Let torch.compile keep its code in the user's own cache.

    By default that is a folder in TMPDIR whose name others can take first, and what it holds is run. Where
    there is no cache to write to, the default stays.
    """
    with contextlib.suppress(OSError, RuntimeError):
        place = user_cache() / "compiled"
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(place))


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    """The context of a forward pass in `precision`."""
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)
