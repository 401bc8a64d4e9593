"""Checks that the options of a loader share: each raises ValueError with the rule and the value."""

import math
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import numpy.typing as npt


def choice(name: str, value: object, known: object) -> None:
    """One of the values of a Literal."""
    if not isinstance(value, str) or value not in get_args(known):
        raise ValueError(f"{name} must be one of {', '.join(get_args(known))}, got {value!r}")


def integer(name: str, value: object, least: int, most: int | None = None) -> None:
    """An integer within bounds; a bool is none."""
    is_integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_integer or value < least or (most is not None and value > most):  # type: ignore[operator]
        bound = f"of at least {least}" if most is None else f"in {least}..{most}"
        raise ValueError(f"{name} must be an integer {bound}, got {value!r}")


def boolean(name: str, value: object) -> None:
    """True or False, also NumPy's."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, got {value!r}")


def finite(name: str, value: object, most: float) -> None:
    """A finite number in 0..most."""
    try:
        fits = math.isfinite(value) and value >= 0  # type: ignore[arg-type, operator]
    except (TypeError, OverflowError):
        fits = False
    if not fits:
        raise ValueError(f"{name} must be finite and not negative, got {value!r}")
    if value > most:  # type: ignore[operator]
        raise ValueError(f"{name} must be at most {most:g}, got {value!r}")


def plain(value: Any) -> Any:
    """NumPy's numbers and arrays, also in a sequence, as Python's: those compute in any width, are JSON."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return tuple(plain(one) for one in value)
    return value


def as_array(name: str, kind: str, values: object) -> npt.NDArray[Any]:
    """An array of what was given; raises ValueError for what is none."""
    try:
        return np.asarray(values)
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must be {kind}, got {type(values).__name__}: {error}") from error
