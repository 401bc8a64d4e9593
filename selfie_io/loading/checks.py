"""Checks that the options of a loader share: each raises ValueError with the rule and the value."""

import math
from collections.abc import Sequence
from contextlib import suppress
from numbers import Real
from typing import Any, get_args

import numpy as np
import torch

FLOAT32_MAX = float(np.finfo(np.float32).max)


def choice(name: str, value: object, known: object) -> None:
    """One of the values of a Literal."""
    if not isinstance(value, str) or value not in get_args(known):
        raise ValueError(f"{name} must be one of {', '.join(get_args(known))}, got {value!r}")


def integer(name: str, value: Any, least: int, most: int | None = None) -> None:
    """An integer within bounds; a bool is none."""
    is_integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_integer or value < least or (most is not None and value > most):
        bound = f"of at least {least}" if most is None else f"in {least}..{most}"
        raise ValueError(f"{name} must be an integer {bound}, got {value!r}")


def boolean(name: str, value: object) -> None:
    """True or False, also NumPy's."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, got {value!r}")


def is_number(value: Any) -> bool:
    """Whether it is a real number that a float32 can hold: not a bool, not a text."""
    is_real = isinstance(value, Real) and not isinstance(value, bool)
    return is_real and bool(-FLOAT32_MAX <= value <= FLOAT32_MAX)  # not for NaN


def finite(name: str, value: Any, most: float) -> None:
    """A finite number in 0..most."""
    if not is_number(value) or not 0 <= value <= most:
        is_large = isinstance(value, int | float) and most < value < math.inf
        rule = f"at most {most:g}" if is_large else "finite and not negative"
        raise ValueError(f"{name} must be {rule}, got {value!r}")


def plain(value: Any) -> Any:
    """Numbers of NumPy and torch as Python's, which compute in any width and are JSON; several as a tuple."""
    if isinstance(value, np.generic | np.ndarray | torch.Tensor):
        with suppress(RuntimeError):  # a tensor without values: no check takes it
            value = value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return tuple(one.item() if isinstance(one, np.generic) else one for one in value)
    return value
