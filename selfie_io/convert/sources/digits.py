"""The handwritten digits that come with scikit-learn: 1,797 grey images of 8x8."""

# ruff: noqa: D102 - base.py documents the methods.

from collections.abc import Iterator

import numpy as np

from selfie_io.convert.sources.file_tree import Tree
from selfie_io.convert.sources.source import Item, Source, SourceOptions, split_off_test

_LEVELS = 16  # the values are 0..16


class Digits(Source):
    """scikit-learn's digits, scaled to 0..255; a fifth of each class is for testing unless told
    otherwise.
    """

    kind = "digits"
    channels = 1

    @classmethod
    def recognise(cls, tree: Tree) -> str | None:  # noqa: ARG003
        return None  # no file holds them: the source is the word "digits"

    def __init__(self, tree: Tree | None, options: SourceOptions) -> None:  # noqa: ARG002
        from sklearn.datasets import load_digits  # a second of imports

        digits = load_digits()
        scaled = np.rint(digits.images * (255 / _LEVELS)).astype(np.uint8)
        self._images = scaled[:, np.newaxis]
        self._labels = digits.target.tolist()
        fraction = 0.2 if options.test_fraction is None else options.test_fraction
        train, test = split_off_test(self._labels, [str(i) for i in range(len(self._labels))], fraction)
        self._positions = {"train": train, "test": test}
        self.splits = {split: len(positions) for split, positions in self._positions.items() if positions}
        self.class_names = [str(digit) for digit in range(10)]

    def items(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[Item]:
        for position in self._positions[split][start:stop]:
            yield Item(self._images[position], self._labels[position], f"digit {position}")
