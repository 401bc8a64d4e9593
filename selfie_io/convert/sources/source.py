"""The interface of all sources: splits, classes and notes, then the images one by one."""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from selfie_io.convert.sources.file_tree import Tree
from selfie_io.records.layout import MAX_CLASSES, RecordLayout

_MAX_IMAGE_BYTES = 1 << 26  # of a file: several wait for each worker
_MAX_LINE_BYTES = 1 << 20
_SPLIT_WORDS = {
    "train": "train", "training": "train", "test": "test", "testing": "test",
    "val": "validation", "valid": "validation", "validation": "validation",
}  # fmt: skip


class Item(NamedTuple):
    """One labelled image: an encoded image file, uint8 (C, H, W), or why there is none.

    `name` is its place in the source: a path, an archive member, or a row such as "train.npz#12".
    """

    image: bytes | npt.NDArray[np.uint8] | ValueError
    label: int
    name: str


@dataclass(frozen=True)
class SourceOptions:
    """Options for a source; a source refuses an option that it has no use for."""

    test_fraction: float | None = None


class Source(ABC):
    """A labelled set of images. `open` reads what is small (names, labels); `items` streams the
    rest.
    """

    kind: ClassVar[str]
    channels: int | None = None  # None: what the first image has
    class_names: list[str]
    splits: dict[str, int]  # "train" and perhaps "test": number of items
    notes: Sequence[str] = ()  # what the user should know, a line each

    @classmethod
    @abstractmethod
    def recognise(cls, tree: Tree) -> str | None:
        """What in `tree` shows that it is of this kind, in a few words; None if it is not."""

    @abstractmethod
    def __init__(self, tree: Tree, options: SourceOptions) -> None: ...

    @abstractmethod
    def items(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[Item]:
        """The items of a split from `start` up to `stop`, always in the same order."""


class RootedSource(Source):
    """A source recognised by files that lie in one folder, at any depth."""

    root_files: ClassVar[tuple[str, ...]]

    @classmethod
    def recognise(cls, tree: Tree) -> str | None:
        """The first of `root_files`, if exactly one folder holds all of them."""
        roots = cls._roots(tree)
        return roots[0] + cls.root_files[0] if len(roots) == 1 else None

    @classmethod
    def root(cls, tree: Tree) -> str:
        """That folder: "" or one that ends in "/". Raises ValueError if there is none, or more."""
        roots = cls._roots(tree)
        if len(roots) != 1:
            raise ValueError(
                f"{tree.path}: {len(roots)} folders hold {' and '.join(cls.root_files)}, not one"
            )
        return roots[0]

    @classmethod
    def _roots(cls, tree: Tree) -> list[str]:
        first = cls.root_files[0]
        folders = [
            name.removesuffix(first) for name in tree.names if name == first or name.endswith("/" + first)
        ]
        return [folder for folder in folders if all(folder + file in tree for file in cls.root_files)]


def read_image(tree: Tree, name: str) -> bytes | ValueError:
    """The content of an image file, or why it cannot be read; one bad image does not spoil a
    source.
    """
    if tree.size(name) > _MAX_IMAGE_BYTES:
        return ValueError(f"an image must have at most {_MAX_IMAGE_BYTES} bytes, got {tree.size(name)}")
    try:
        return tree.read(name)
    except ValueError as error:
        return ValueError(str(error).removeprefix(f"{tree.place(name)}: "))
    except OSError as error:
        return ValueError(error.strerror or str(error))


def image_layout(place: str, channels: int, height: int, width: int) -> RecordLayout:
    """The shape that a file says its images have; raises ValueError, with the file, if it is none."""
    try:
        return RecordLayout(channels, height, width)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def missing_extra(package: str, needed_for: str) -> str:
    """The message for a package that is not installed."""
    return f"{needed_for} needs {package}: pip install 'selfie-io[sources]'"


def split_off_test(
    labels: Sequence[int], names: Sequence[str], fraction: float
) -> tuple[list[int], list[int]]:
    """Positions of the training and of the test items: `fraction` of each class, rounded, is for
    testing.

    Their names alone decide which (the lowest SHA-256), so the choice is the same everywhere.
    Raises ValueError if `fraction` is outside [0, 1).
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"the test fraction must be at least 0 and below 1, got {fraction}")
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
    """Raise ValueError for an option that `source` has no use for."""
    given: dict[str, Any] = {key: value for key, value in vars(options).items() if value is not None}
    if given:
        key, value = next(iter(given.items()))
        raise ValueError(f"{source.kind} has its own splits: {key}={value} has no meaning there")


def read_lines(tree: Tree, name: str) -> Iterator[str]:
    """Yield the lines of a text file that hold anything; raises ValueError if it is not UTF-8."""
    begin = 0
    with tree.open(name) as file:
        while content := file.readline(_MAX_LINE_BYTES):
            try:
                line = content.decode("utf-8").rstrip("\r\n")
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
        raise ValueError(f"{tree.place(name)}: there are at most {MAX_CLASSES} classes")
    return classes


def split_by_name(
    tree: Tree, names: Sequence[str], options: SourceOptions
) -> tuple[dict[str, list[str]], list[str], bool]:
    """Sort files (shards, tables) into splits by the word train, test or validation in their names.

    Returns the names by split, notes about what is left out, and whether all are one pool of which
    a test fraction is to be split off. Raises ValueError if that has to be said, or is said where
    it means nothing.
    """
    found: dict[str, list[str]] = {}
    for name in names:
        words = re.split(r"[^a-z]+", name.lower())
        split = next((_SPLIT_WORDS[word] for word in words if word in _SPLIT_WORDS), "")
        found.setdefault(split, []).append(name)
    if "train" in found and "" not in found:
        if options.test_fraction is not None:
            raise ValueError(f"{tree.path}: has splits of its own: a test fraction has no meaning there")
        test = next((split for split in ("test", "validation") if split in found), None)
        left_out = [split for split in found if split not in ("train", test)]
        splits = {"train": found["train"], **({"test": found[test]} if test else {})}
        return splits, [f"the {split} split is left out" for split in left_out], False
    if set(found) <= {"", "train"} and len(found) == 1:
        if options.test_fraction is None:
            raise ValueError(
                f"{tree.path}: no split is named, --test-fraction is needed (0 for no test split)"
            )
        return {"train": list(names)}, [], True
    raise ValueError(f"{tree.path}: which files are for training? Their names: {', '.join(names[:5])}")
