"""CIFAR-10 and CIFAR-100 as Python pickles; they are read without running them."""

import re
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from selfie_io.convert.sources.file_tree import Tree
from selfie_io.convert.sources.source import Item, RootedSource, SourceOptions
from selfie_io.labels import safe_pickle

CIFAR10_NAMES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
_SHAPE = (3, 32, 32)
_ROW_BYTES = 3072


class _CifarPython(RootedSource):
    """Batches: a dict of `data`, uint8 (n, 3072), planes of R, G and B, and of lists of labels and
    names.
    """

    channels = 3
    published = True
    _label_key: ClassVar[str]
    _names_file: ClassVar[str]
    _names_key: ClassVar[str]
    _num_classes: ClassVar[int]

    def __init__(self, tree: Tree, options: SourceOptions) -> None:  # noqa: ARG002
        self._tree = tree
        root = self.root(tree)
        self._batches = {
            split: [(name, len(self._read(name)[0])) for name in names]
            for split, names in self._files(root).items()
        }
        self.splits = {
            split: sum(count for _, count in of_split) for split, of_split in self._batches.items()
        }
        self.class_names = self._class_names(root + self._names_file)

    @abstractmethod
    def _files(self, root: str) -> dict[str, list[str]]: ...

    def items(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[Item]:
        stop = self.splits[split] if stop is None else stop
        first = 0
        for name, count in self._batches[split]:
            if start < first + count and first < stop:
                pixels, labels = self._read(name)
                for row in range(max(0, start - first), min(count, stop - first)):
                    yield Item(pixels[row].reshape(_SHAPE), labels[row], f"{name}#{row}")
            first += count

    def _read(self, name: str) -> tuple[npt.NDArray[np.uint8], list[int]]:
        """The pixels, uint8 (n, 3072), and labels of a batch, checked."""
        place = self._tree.place(name)
        batch = self._unpickle(name)
        pixels, labels = batch.get("data"), batch.get(self._label_key)
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 2:
            raise ValueError(
                f"{place}: 'data' must be a uint8 array of two dimensions, got {_described(pixels)}"
            )
        if pixels.shape[1] != _ROW_BYTES:
            raise ValueError(f"{place}: a row of 'data' must have {_ROW_BYTES} bytes, got {pixels.shape[1]}")
        if isinstance(labels, np.ndarray):
            labels = labels.tolist()
        if not isinstance(labels, list) or not all(type(label) is int for label in labels):
            raise ValueError(
                f"{place}: {self._label_key!r} must be a list of integers, got {_described(labels)}"
            )
        if len(labels) != len(pixels):
            raise ValueError(f"{place}: {len(pixels)} images, {len(labels)} labels")
        return pixels, labels

    def _unpickle(self, name: str) -> dict[str, Any]:
        try:
            content = safe_pickle.load(self._tree.read(name))
        except ValueError as error:
            raise ValueError(f"{self._tree.place(name)}: {error}") from error
        if not isinstance(content, dict):
            raise ValueError(f"{self._tree.place(name)}: must hold a dict, got {_described(content)}")
        return {_text(key): value for key, value in content.items()}

    def _class_names(self, name: str) -> list[str]:
        if name not in self._tree:
            return list(self._known_names())
        names = self._unpickle(name).get(self._names_key)
        if (
            not isinstance(names, list)
            or len(names) != self._num_classes
            or not all(isinstance(one, str | bytes) for one in names)
        ):
            raise ValueError(
                f"{self._tree.place(name)}: {self._names_key!r} must be a list of {self._num_classes} names"
            )
        return [_text(one) for one in names]

    def _known_names(self) -> tuple[str, ...]:
        return tuple(str(label) for label in range(self._num_classes))


class Cifar10Python(_CifarPython):
    """`cifar-10-batches-py/`: data_batch_1 ... data_batch_5, test_batch, batches.meta."""

    kind = "cifar10"
    wants = "data_batch_1 and test_batch, Python pickles"
    root_files = ("data_batch_1", "test_batch")
    _label_key = "labels"
    _names_file, _names_key = "batches.meta", "label_names"
    _num_classes = 10

    def _files(self, root: str) -> dict[str, list[str]]:
        batch = re.compile(re.escape(root) + "data_batch_([1-9][0-9]?)")
        numbered = {int(match[1]): match[0] for name in self._tree.names if (match := batch.fullmatch(name))}
        for number in range(1, len(numbered) + 1):
            if number not in numbered:
                raise ValueError(f"{self._tree.path}: {root}data_batch_{number} is missing")
        return {"train": [numbered[number] for number in sorted(numbered)], "test": [root + "test_batch"]}

    def _known_names(self) -> tuple[str, ...]:
        return CIFAR10_NAMES


class Cifar100Python(_CifarPython):
    """`cifar-100-python/`: train, test, meta; the labels are the fine ones."""

    kind = "cifar100"
    wants = "train, test and meta, Python pickles"
    root_files = ("train", "test", "meta")
    _label_key = "fine_labels"
    _names_file, _names_key = "meta", "fine_label_names"
    _num_classes = 100

    def _files(self, root: str) -> dict[str, list[str]]:
        return {"train": [root + "train"], "test": [root + "test"]}


def _text(key: object) -> str:
    """Keys and names are text, or bytes if Python 3 read and wrote the file again."""
    return key.decode("latin-1") if isinstance(key, bytes) else str(key)


def _described(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return "nothing" if value is None else type(value).__name__
