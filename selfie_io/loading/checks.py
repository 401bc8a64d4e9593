"""Checks that the options of a loader share: each raises ValueError with the rule and the value."""

from typing import get_args

import numpy as np


def choice(name: str, value: object, known: object) -> None:
    """One of the values of a Literal."""
    if value not in get_args(known):
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
