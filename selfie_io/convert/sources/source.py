"""The interface of all sources: splits, classes and notes, then the images one by one."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from selfie_io.convert.sources.file_tree import Tree
from selfie_io.convert.sources.image_files import read_image
from selfie_io.records.layout import MAX_CLASSES, RecordLayout

_MAX_LINE_BYTES = 1 << 20


class Item(NamedTuple):
    """One labelled image: an encoded image file, uint8 (C, H, W), or why there is none.

    `name` is its place in the source: a path, an archive member, or a row such as "train.npz#12".
    """

    image: bytes | npt.NDArray[np.uint8] | ValueError
    label: int
    name: str


class Entry(NamedTuple):
    """A record without its image: the label, and the text by which a held-out test split is drawn."""

    label: int
    key: str


class Seen(NamedTuple):
    """What shows that a source is of a kind; if it only comes close, what stands in the way."""

    fits: bool
    what: str


@dataclass(frozen=True)
class SourceOptions:
    """Options for a source.

    test_fraction: the fraction of each class to hold out, for a source without a test split
    test_seed: another seed holds out other records
    skip_bad: leave out what is bad and say so
    chosen: the user named the kind, so that files which do not belong to it are left out and listed
    join_folders: put tables of several folders together
    image_key, label_key: the names of the arrays or columns, where they are not the usual ones
    """

    test_fraction: float | None = None
    test_seed: int = 0
    skip_bad: bool = False
    chosen: bool = False
    join_folders: bool = False
    image_key: str | None = None
    label_key: str | None = None

    @property
    def lenient(self) -> bool:
        """Whether files that are no part of the source are left out instead of refused."""
        return self.skip_bad or self.chosen


class Source(ABC):
    """A labelled set of images. `open` reads what is small (names, labels); `items` streams the
    rest.
    """

    kind: ClassVar[str]
    wants: ClassVar[str]  # what it is made of, for messages
    takes_keys: ClassVar[bool] = False  # whether image_key and label_key mean something
    names_splits = True  # False: one pool of records, of which the user says how much is for testing
    default_test_fraction: ClassVar[float | None] = None
    folder_names: Sequence[str] | None = None  # of the classes, where they are not the class names
    published = False  # labels are those of a published set, held to be clean
    channels: int | None = None  # None: what the first image has
    tree: Tree | None = None  # its files; None if there are none
    class_names: list[str]
    splits: dict[str, int]  # "train" and perhaps "test": number of items
    notes: Sequence[str] = ()  # what the user should know, a line each

    @classmethod
    @abstractmethod
    def recognise(cls, tree: Tree, options: SourceOptions) -> Seen | None:
        """What in `tree` shows that it is of this kind, or comes close; None if nothing does."""

    @abstractmethod
    def __init__(self, tree: Tree, options: SourceOptions) -> None: ...

    @abstractmethod
    def items(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[Item]:
        """The items of a split from `start` up to `stop`, always in the same order."""

    def entries(self, split: str) -> Iterator[Entry]:
        """The label and key of each item of a split, in order."""
        for item in self.items(split):
            yield Entry(item.label, item.name)

    def items_at(self, split: str, positions: Sequence[int]) -> Iterator[Item]:
        """The items at some positions of a split, which are in ascending order."""
        if not positions:
            return
        wanted = iter(positions)
        following = next(wanted)
        for position, item in enumerate(self.items(split, positions[0], positions[-1] + 1), positions[0]):
            if position == following:
                yield item
                following = next(wanted, -1)


class FileListSource(Source):
    """A source of one image file a record, with its label known from names alone."""

    _tree: Tree
    _files: dict[str, list[tuple[str, int]]]  # by split: file and label

    def items(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[Item]:
        """The items of a split from `start` up to `stop`."""
        for name, label in self._files[split][start:stop]:
            yield Item(read_image(self._tree, name), label, name)

    def entries(self, split: str) -> Iterator[Entry]:
        """The label and file of each item of a split."""
        for name, label in self._files[split]:
            yield Entry(label, name)

    def items_at(self, split: str, positions: Sequence[int]) -> Iterator[Item]:
        """The items at some positions of a split."""
        files = self._files[split]
        for position in positions:
            name, label = files[position]
            yield Item(read_image(self._tree, name), label, name)

    def _count(self) -> None:
        self.splits = {split: len(files) for split, files in self._files.items()}


class RootedSource(Source):
    """A source recognised by files that lie in one folder, at any depth."""

    root_files: ClassVar[tuple[str, ...]]

    @classmethod
    def recognise(cls, tree: Tree, options: SourceOptions) -> Seen | None:  # noqa: ARG003
        """The first of `root_files`, if exactly one folder holds all of them."""
        roots = cls._roots(tree)
        if len(roots) > 1:
            return Seen(False, f"{cls.root_files[0]} must be in one folder, got {', '.join(roots[:3])}")
        return Seen(True, roots[0] + cls.root_files[0]) if roots else None

    @classmethod
    def root(cls, tree: Tree) -> str:
        """That folder: "" or one that ends in "/". Raises ValueError if there is none, or more."""
        roots = cls._roots(tree)
        if len(roots) != 1:
            raise ValueError(
                f"{tree.path}: one folder must hold {' and '.join(cls.root_files)}, got "
                f"{len(roots)} such folders"
            )
        return roots[0]

    @classmethod
    def _roots(cls, tree: Tree) -> list[str]:
        first = cls.root_files[0]
        folders = [
            name.removesuffix(first) for name in tree.names if name == first or name.endswith("/" + first)
        ]
        return [folder for folder in folders if all(folder + file in tree for file in cls.root_files)]


def image_layout(place: str, channels: int, height: int, width: int) -> RecordLayout:
    """The shape that a file says its images have; raises ValueError, with the file, if it is none."""
    try:
        return RecordLayout(channels, height, width)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def missing_extra(package: str, needed_for: str) -> str:
    """The message for a package that is not installed."""
    return f"{needed_for} needs {package}: pip install 'selfie-io[sources]'"


def read_lines(tree: Tree, name: str) -> Iterator[str]:
    """Yield the lines of a text file that hold anything; raises ValueError if it is not UTF-8."""
    begin = 0
    with tree.open(name) as file:
        while content := file.readline(_MAX_LINE_BYTES):
            try:
                line = content.decode("utf-8-sig" if begin == 0 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise ValueError(f"{tree.place(name)}: byte {begin + error.start}: not UTF-8") from error
            if len(content) == _MAX_LINE_BYTES:
                raise ValueError(f"{tree.place(name)}: byte {begin}: a line of {len(content)} bytes or more")
            begin += len(content)
            if line.strip():
                yield line


def read_classes(tree: Tree, name: str) -> list[str]:
    """The lines of a file of class names; raises ValueError if there are too many."""
    classes = list(islice(read_lines(tree, name), MAX_CLASSES + 1))
    if len(classes) > MAX_CLASSES:
        raise ValueError(f"{tree.place(name)}: must hold at most {MAX_CLASSES} classes")
    return classes


def missing_low_classes(labels: "npt.NDArray[np.int64] | Sequence[int]") -> list[str]:
    """A note if no label is 0: labels that count from 1 leave class 0 empty."""
    array = np.asarray(labels)
    if array.size and array.min() > 0:
        return [
            f"no training record has label 0: the labels are {array.min()}..{array.max()} and class "
            "0 is empty"
        ]
    return []
