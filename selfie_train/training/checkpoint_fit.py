"""Whether what a checkpoint tells can be of this run: a digest says that it is whole, not that it is sane."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfie_train.runs.log import Row
from selfie_train.training.position import Position, checked_rate

Arrays = dict[str, NDArray[Any]]


def check_weights(own: Arrays, told: Arrays) -> None:
    """Raise ValueError unless `told` has the arrays of a `Learner`, with shapes and dtypes as its `own`.

    A momentum is laid out as its weight is; a network that made no step yet has none.
    """
    for name, array in own.items():
        if not name.startswith("momentum"):
            check_array(name, array, told)
    for name, array in told.items():
        number, dot, weight = name.partition(".")
        if number.startswith("momentum"):
            like = own.get(number.replace("momentum", "network") + dot + weight)
            if like is None:
                raise ValueError(f"{name} must be the momentum of a weight, and there is no weight {weight}")
            check_array(name, like, told)
        elif number.startswith("average") and weight == "steps" and array.min() < 0:
            raise ValueError(f"{name} must not be negative, got {array.min()}")


def check_array(name: str, own: NDArray[Any], told: Arrays, *, finite: bool = True) -> None:
    """Raise ValueError unless an array is there with the shape and dtype of `own`, and `finite`."""
    if name not in told:
        raise ValueError(f"it must have the array {name}, and has none")
    array = told[name]
    if (array.dtype, array.shape) != (own.dtype, own.shape):
        raise ValueError(f"{name} must be {own.dtype} {own.shape}, got {array.dtype} {array.shape}")
    if finite and array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array[~np.isfinite(array)].flat[0]}")


def check_place(
    position: Position, rows: list[Row], loader: dict[str, Any], *, runs: int, batches: int, batch_size: int
) -> None:
    """Raise ValueError unless the position, the rows of the log and the loader stand at one place.

    runs: training runs of the whole; batches: of an epoch; batch_size: samples over all processes.
    """
    last = min(position.run, runs - 1)  # after the last run the position is behind it
    told = [(row["run"], row["epoch"]) for row in rows]
    lengths = [sum(run == number for run, _ in told) for number in range(last + 1)]
    ordered = [(run, epoch + 1) for run, length in enumerate(lengths) for epoch in range(length)]
    if told != ordered or lengths[last] != position.epoch:
        raise ValueError(
            f"rows must be those of the epochs before run {position.run}, epoch {position.epoch + 1}, got "
            f"(run, epoch) {str(told)[:100]}"
        )
    epoch, batch = len(rows), position.batch
    if position.step != epoch * batches + batch:
        raise ValueError(
            f"step must be {epoch * batches + batch} after {epoch} epochs of {batches} batches and {batch} "
            f"more, got {position.step}"
        )
    if batch == batches:  # all of an epoch that is not tested yet
        epoch, batch = epoch + 1, 0
    if (loader["epoch"], loader["position"]) != (epoch, batch * batch_size):
        raise ValueError(
            f"loader must be at epoch {epoch}, position {batch * batch_size} as the run, got epoch "
            f"{loader['epoch']}, position {loader['position']}"
        )


def checked_rates(told: object, count: int) -> list[float]:
    """The noise rates of the runs so far; raises ValueError unless there are `count`, each in [0, 1]."""
    if not isinstance(told, list) or len(told) != count:
        raise ValueError(f"noise_rates must be a list of {count}, got {str(told)[:100]}")
    return [float(checked_rate(rate)) for rate in told]


def checked_sums(told: object) -> list[float]:
    """The sums of an epoch so far: losses, errors, samples; raises ValueError for what is none."""
    if (
        not isinstance(told, list)
        or len(told) != 3
        or not all(isinstance(value, int | float) and 0 <= value < math.inf for value in told)
    ):
        raise ValueError(f"sums must be three numbers that are not negative, got {str(told)[:100]}")
    return told


def checked_counts(told: object, names: list[str], networks: int) -> list[dict[str, int]]:
    """A dict of counts a network, called `names`; raises ValueError for what is none."""
    if not isinstance(told, list) or len(told) != networks:
        raise ValueError(f"selections must be a list of {networks}, got {str(told)[:100]}")
    for counts in told:
        if (
            not isinstance(counts, dict)
            or set(counts) != set(names)
            or not all(type(value) is int and value >= 0 for value in counts.values())
        ):
            raise ValueError(f"selections must have the counts {', '.join(names)}, got {str(counts)[:100]}")
    return told
