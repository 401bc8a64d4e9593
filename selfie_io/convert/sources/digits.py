"""The handwritten digits of UCI and scikit-learn, part of this package (NOTICE): 1,797 images of 8x8."""

# ruff: noqa: D102 - source.py documents the methods.

import gzip
from collections.abc import Iterator, Sequence
from importlib.resources import files

import numpy as np

from selfie_io.convert.sources.file_tree import Tree
from selfie_io.convert.sources.source import Entry, Item, Seen, Source, SourceOptions

_LEVELS = 16  # the values are 0..16


class Digits(Source):
    """The digits, scaled to 0..255; a fifth of each class is for testing unless told otherwise."""

    kind = "digits"
    wants = "the word digits"
    default_test_fraction = 0.2
    published = True
    channels = 1

    @classmethod
    def recognise(cls, tree: Tree, options: SourceOptions) -> Seen | None:  # noqa: ARG003
        return None  # no file holds them: the source is the word "digits"

    def __init__(self, tree: Tree | None, options: SourceOptions) -> None:  # noqa: ARG002
        packed = files(__package__).joinpath("digits.csv.gz").read_bytes()
        rows = np.loadtxt(gzip.decompress(packed).decode().splitlines(), delimiter=",")
        scaled = np.rint(rows[:, :-1] * (255 / _LEVELS)).astype(np.uint8)
        self._images = scaled.reshape(-1, 1, 8, 8)
        self._labels = rows[:, -1].astype(int).tolist()
        self.splits = {"train": len(self._labels)}
        self.class_names = [str(digit) for digit in range(10)]

    def items(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[Item]:
        return self.items_at(split, range(len(self._labels))[start:stop])

    def items_at(self, split: str, positions: Sequence[int]) -> Iterator[Item]:  # noqa: ARG002
        for position in positions:
            yield Item(self._images[position], self._labels[position], f"digits#{position}")

    def entries(self, split: str) -> Iterator[Entry]:  # noqa: ARG002
        for position, label in enumerate(self._labels):
            yield Entry(label, str(position))
