"""Street View House Numbers, cropped: train_32x32.mat and test_32x32.mat."""

# ruff: noqa: D102 - source.py documents the methods.

from collections.abc import Iterator

import numpy as np

from selfie_io.convert.sources.file_tree import Tree
from selfie_io.convert.sources.mat5 import Matrix, matrices
from selfie_io.convert.sources.source import Item, RootedSource, SourceOptions
from selfie_io.records.layout import RecordLayout

_FILES = {"train": "train_32x32.mat", "test": "test_32x32.mat"}
_READ_IMAGES = 256
_MAX_LABELS = 1 << 24  # more than thirty times the largest of the published files
_ZERO = 10  # the label of the digit 0


class Svhn(RootedSource):
    """`X` uint8 (32, 32, 3, N) and `y` (N, 1), where 10 stands for the digit 0."""

    kind = "svhn"
    wants = "train_32x32.mat"
    published = True
    root_files = (_FILES["train"],)
    channels = 3

    def __init__(self, tree: Tree, options: SourceOptions) -> None:  # noqa: ARG002
        self._tree = tree
        root = self.root(tree)
        self._names = {split: root + name for split, name in _FILES.items() if root + name in tree}
        self._labels = {split: self._read_labels(name) for split, name in self._names.items()}
        self.splits = {split: len(labels) for split, labels in self._labels.items()}
        self.class_names = [str(digit) for digit in range(10)]
        if root + "extra_32x32.mat" in tree:
            self.notes = [f"{root}extra_32x32.mat is left out"]

    def items(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[Item]:
        name = self._names[split]
        labels = self._labels[split]
        stop = len(labels) if stop is None else stop
        with self._tree.open(name) as file:
            try:
                matrix = _find(matrices(file), "X")
                height, width, channels, count = _image_shape(matrix)
                if count != len(labels):
                    raise ValueError(f"X has {count} images, y {len(labels)} labels")
                size = RecordLayout(channels, height, width).pixel_bytes
                for first in range(0, stop, _READ_IMAGES):
                    some = matrix.read(min(_READ_IMAGES, count - first) * size).astype(np.uint8)
                    # the row changes fastest, then the column, the channel, the image
                    images = some.reshape(-1, channels, width, height).swapaxes(2, 3)
                    for position in range(max(start, first), min(stop, first + len(images))):
                        yield Item(images[position - first], labels[position], f"{name}#{position}")
            except ValueError as error:
                raise ValueError(f"{self._tree.place(name)}: {error}") from error

    def _read_labels(self, name: str) -> list[int]:
        with self._tree.open(name) as file:
            try:
                matrix = _find(matrices(file), "y")
                if max(matrix.shape) != int(np.prod([float(side) for side in matrix.shape])):
                    raise ValueError(f"y must be one row or column, got shape {matrix.shape}")
                if max(matrix.shape) > _MAX_LABELS:
                    raise ValueError(f"y has too many values: {max(matrix.shape)}")
                labels = matrix.read(max(matrix.shape)).astype(np.float64)
            except ValueError as error:
                raise ValueError(f"{self._tree.place(name)}: {error}") from error
        wrong = np.flatnonzero((labels < 1) | (labels > _ZERO) | (labels % 1 != 0))
        if wrong.size:
            raise ValueError(
                f"{self._tree.place(name)}: label {wrong[0]} of y must be in 1..10, got {labels[wrong[0]]:g}"
            )
        return [int(label) % _ZERO for label in labels]


def _find(arrays: Iterator[Matrix], name: str) -> Matrix:
    for matrix in arrays:
        if matrix.name == name:
            return matrix
    raise ValueError(f"there is no array {name}")


def _image_shape(matrix: Matrix) -> tuple[int, int, int, int]:
    if matrix.shape[:-1] != (32, 32, 3) or matrix.dtype.itemsize != 1:
        raise ValueError(
            f"X must be uint8 of shape (32, 32, 3, N), got {matrix.dtype} of shape {matrix.shape}"
        )
    height, width, channels, count = matrix.shape
    return height, width, channels, count
