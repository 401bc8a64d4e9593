"""Options of one method: a frozen dataclass, filled from texts "name=value" and checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar, get_type_hints

_Options = TypeVar("_Options")


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """The options of a method that has none of its own."""


def parse_options(method: str, options: type[_Options], texts: Sequence[str]) -> _Options:
    """The dataclass `options` of `method` with the values of `texts`, each "name=value".

    Raises ValueError for an unknown name (the known ones are listed), a name given twice, and a value
    of another type or out of range.
    """
    hints = get_type_hints(options)
    fields = {option_name(name): name for name in hints}
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if name not in fields:
            known = f"one of {', '.join(fields)}" if fields else "left out, since it has none"
            raise ValueError(f"an option of method {method} must be {known}; got {text!r}")
        if not equals:
            raise ValueError(f"an option must be name=value, got {text!r}")
        if fields[name] in values:
            raise ValueError(f"an option may be given once, got {name!r} twice")
        values[fields[name]] = _value(name, value, hints[fields[name]])
    return options(**values)


def option_texts(options: Any) -> list[str]:
    """Each option as "name=value", defaults included."""
    return [
        f"{option_name(field.name)}={getattr(options, field.name)}" for field in dataclasses.fields(options)
    ]


def option_name(field_name: str) -> str:
    """The name that users write: a field `lambda_` is the option lambda."""
    return field_name.rstrip("_")


def check_range(
    name: str, value: float, low: float, high: float = float("inf"), *, open_low: bool = False
) -> None:
    """Raise ValueError unless low <= value <= high (low < value with `open_low`)."""
    if not (low < value if open_low else low <= value) or not value <= high:
        bracket = "(" if open_low else "["
        raise ValueError(f"{name} must be inside {bracket}{low:g}, {high:g}], got {value:g}")


def _value(name: str, text: str, hint: Any) -> Any:
    if hint is str:
        return text
    try:
        return hint(text)  # int or float
    except ValueError:
        kind = "an integer" if hint is int else "a number"
        raise ValueError(f"{name} must be {kind}, got {text!r}") from None
