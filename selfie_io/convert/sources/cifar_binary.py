"""CIFAR-10 and CIFAR-100 as their binary files: label bytes, then 3,072 bytes of pixels, in a row."""

import re
from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from selfie_io.convert.sources.cifar_python import CIFAR10_NAMES
from selfie_io.convert.sources.file_tree import Tree
from selfie_io.convert.sources.source import Item, RootedSource, Seen, SourceOptions, read_classes

_SHAPE = (3, 32, 32)
_PIXEL_BYTES = 3072
_READ_RECORDS = 512


class _CifarBinary(RootedSource):
    """Records of `_label_bytes` label bytes, of which the last counts, and planes of R, G and B."""

    channels = 3
    published = True
    _label_bytes: ClassVar[int]
    _names_file: ClassVar[str]
    _default_names: ClassVar[tuple[str, ...]]

    def __init__(self, tree: Tree, options: SourceOptions) -> None:  # noqa: ARG002
        self._tree = tree
        root = self.root(tree)
        self._record_bytes = self._label_bytes + _PIXEL_BYTES
        self._files_of = self._files(root)
        for name in (name for names in self._files_of.values() for name in names):
            records, rest = divmod(tree.size(name), self._record_bytes)
            if rest:
                raise ValueError(
                    f"{tree.place(name)}: record {records}: byte {records * self._record_bytes}: "
                    f"ends after {rest} of the {self._record_bytes} bytes of a record"
                )
        self.splits = {
            split: sum(tree.size(name) // self._record_bytes for name in names)
            for split, names in self._files_of.items()
        }
        names = read_classes(tree, root + self._names_file) if root + self._names_file in tree else None
        self.class_names = names or list(self._default_names)

    @abstractmethod
    def _files(self, root: str) -> dict[str, list[str]]: ...

    def items(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[Item]:
        stop = self.splits[split] if stop is None else stop
        first = 0
        for name in self._files_of[split]:
            count = self._tree.size(name) // self._record_bytes
            begin, end = max(0, start - first), min(count, stop - first)
            if begin < end:
                yield from self._records(name, begin, end)
            first += count

    def _records(self, name: str, begin: int, end: int) -> Iterator[Item]:
        with self._tree.open(name) as file:
            if begin:
                file.seek(begin * self._record_bytes, 1)
            for first in range(begin, end, _READ_RECORDS):
                wanted = min(_READ_RECORDS, end - first) * self._record_bytes
                content = file.read(wanted)
                if len(content) < wanted:
                    byte = first * self._record_bytes + len(content)
                    raise ValueError(f"{self._tree.place(name)}: ends at byte {byte}, within a record")
                for offset, row in enumerate(
                    np.frombuffer(content, np.uint8).reshape(-1, self._record_bytes)
                ):
                    label = int(row[self._label_bytes - 1])
                    pixels = row[self._label_bytes :].reshape(_SHAPE)
                    yield Item(pixels, label, f"{name}#{first + offset}")


class Cifar10Binary(_CifarBinary):
    """`cifar-10-batches-bin/`: data_batch_1.bin ..., test_batch.bin, batches.meta.txt; one label
    byte.
    """

    kind = "cifar10-bin"
    wants = "data_batch_1.bin of records of 3,073 bytes"
    root_files = ("data_batch_1.bin",)
    _label_bytes = 1
    _names_file = "batches.meta.txt"
    _default_names = CIFAR10_NAMES

    @classmethod
    def recognise(cls, tree: Tree, options: SourceOptions) -> Seen | None:
        """Record files have the same names; theirs is another size, and they have no
        batches.meta.txt.
        """
        seen = super().recognise(tree, options)
        if seen is None or not seen.fits or tree.size(seen.what) % (1 + _PIXEL_BYTES) == 0:
            return seen
        return seen if seen.what.removesuffix(cls.root_files[0]) + cls._names_file in tree else None

    def _files(self, root: str) -> dict[str, list[str]]:
        batch = re.compile(re.escape(root) + r"data_batch_([1-9][0-9]{0,4})\.bin")
        numbered = {int(match[1]): match[0] for name in self._tree.names if (match := batch.fullmatch(name))}
        for number in range(1, len(numbered) + 1):
            if number not in numbered:
                raise ValueError(f"{self._tree.path}: {root}data_batch_{number}.bin is missing")
        files = {"train": [numbered[number] for number in sorted(numbered)]}
        if root + "test_batch.bin" in self._tree:
            files["test"] = [root + "test_batch.bin"]
        return files


class Cifar100Binary(_CifarBinary):
    """`cifar-100-binary/`: train.bin, test.bin, fine_label_names.txt; a coarse and a fine label
    byte.
    """

    kind = "cifar100-bin"
    wants = "train.bin and test.bin of records of 3,074 bytes"
    root_files = ("train.bin", "test.bin")
    _label_bytes = 2
    _names_file = "fine_label_names.txt"
    _default_names = tuple(str(label) for label in range(100))

    def _files(self, root: str) -> dict[str, list[str]]:
        return {"train": [root + "train.bin"], "test": [root + "test.bin"]}
