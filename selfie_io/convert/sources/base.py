"""The one interface of all sources: what a source says about itself, and its pictures one by one."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from selfie_io.convert.sources.tree import Tree


class Item(NamedTuple):
    """One labelled picture: an encoded image file, or uint8 (C, H, W); `name` is how messages call it."""

    picture: bytes | npt.NDArray[np.uint8]
    label: int
    name: str


@dataclass(frozen=True)
class SourceOptions:
    """What a user may say about a source; a source that has no use for what is said refuses it."""

    test_fraction: float | None = None


class Source(ABC):
    """A labelled set of pictures. `open` reads what is small (names, labels); `items` streams the rest."""

    kind: ClassVar[str]
    channels: int | None = None  # None: what the first picture has
    class_names: list[str]
    splits: dict[str, int]  # "train" and perhaps "test": number of items
    notes: Sequence[str] = ()  # what the user should know, a line each

    @classmethod
    @abstractmethod
    def recognise(cls, tree: Tree) -> str | None:
        """What in `tree` shows that it is of this kind, in a few words; None if nothing does."""

    @abstractmethod
    def __init__(self, tree: Tree, options: SourceOptions) -> None: ...

    @abstractmethod
    def items(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[Item]:
        """The items of a split from `start` up to `stop`, always in the same order."""


def missing_extra(package: str, needed_for: str) -> str:
    """The message for a package that is not installed."""
    return f"{needed_for} needs {package}: pip install 'selfie[sources]'"


def split_off_test(
    labels: Sequence[int], names: Sequence[str], fraction: float
) -> tuple[list[int], list[int]]:
    """Positions of the training and of the test items: `fraction` of each class, rounded, is for testing.

    Which ones hangs on their names alone (those with the lowest SHA-256), so that it is the same everywhere.
    Raises ValueError if `fraction` is outside [0, 1).
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"the test fraction is at least 0 and below 1, got {fraction}")
    of_class: dict[int, list[int]] = {}
    for position, label in enumerate(labels):
        of_class.setdefault(label, []).append(position)
    test: list[int] = []
    for positions in of_class.values():
        positions.sort(key=lambda position: hashlib.sha256(names[position].encode()).digest())
        test += positions[: round(fraction * len(positions))]
    chosen = set(test)
    return [position for position in range(len(labels)) if position not in chosen], sorted(test)


def refuse_options(source: type[Source], options: SourceOptions) -> None:
    """Raise ValueError if anything is said that `source` has no use for."""
    given: dict[str, Any] = {key: value for key, value in vars(options).items() if value is not None}
    if given:
        key, value = next(iter(given.items()))
        raise ValueError(f"{source.kind} has its own splits: {key}={value} has no meaning there")
