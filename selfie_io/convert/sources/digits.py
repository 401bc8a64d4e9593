"""The handwritten digits of UCI and scikit-learn, part of this package (NOTICE): 1,797 images of 8x8."""

# ruff: noqa: D102 - base.py documents the methods.

import gzip
from collections.abc import Iterator
from importlib.resources import files

import numpy as np

from selfie_io.convert.sources.file_tree import Tree
from selfie_io.convert.sources.source import Item, Source, SourceOptions, split_off_test

_LEVELS = 16  # the values are 0..16


class Digits(Source):
    """The digits, scaled to 0..255; a fifth of each class is for testing unless told otherwise."""

    kind = "digits"
    channels = 1

    @classmethod
    def recognise(cls, tree: Tree) -> str | None:  # noqa: ARG003
        return None  # no file holds them: the source is the word "digits"

    def __init__(self, tree: Tree | None, options: SourceOptions) -> None:  # noqa: ARG002
        packed = files(__package__).joinpath("digits.csv.gz").read_bytes()
        rows = np.loadtxt(gzip.decompress(packed).decode().splitlines(), delimiter=",")
        scaled = np.rint(rows[:, :-1] * (255 / _LEVELS)).astype(np.uint8)
        self._images = scaled.reshape(-1, 1, 8, 8)
        self._labels = rows[:, -1].astype(int).tolist()
        fraction = 0.2 if options.test_fraction is None else options.test_fraction
        train, test = split_off_test(self._labels, [str(i) for i in range(len(self._labels))], fraction)
        self._positions = {"train": train, "test": test}
        self.splits = {split: len(positions) for split, positions in self._positions.items() if positions}
        self.class_names = [str(digit) for digit in range(10)]

    def items(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[Item]:
        for position in self._positions[split][start:stop]:
            yield Item(self._images[position], self._labels[position], f"digits#{position}")
