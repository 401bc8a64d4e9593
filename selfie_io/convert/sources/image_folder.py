"""Images in one folder per class, split into train and test or not; a folder, a zip or a tar."""

# ruff: noqa: D102 - base.py documents the methods.

import csv
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import PurePosixPath

from selfie_io.convert.sources.file_tree import Tree
from selfie_io.convert.sources.source import (
    Item,
    Source,
    SourceOptions,
    read_classes,
    read_image,
    read_lines,
    refuse_options,
    split_off_test,
)

IMAGE_SUFFIXES = {
    ".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm",
}  # fmt: skip
# What an export to a folder writes beside the images: their order, and all class names in order.
RECORDS_NAME, CLASSES_NAME = "records.csv", "classes.txt"
RECORDS_HEADER = ("file", "split", "record_id", "label")
_TEST_NAMES = ("test", "val", "valid", "validation")  # the first that is there


class ImageFolder(Source):
    """`train/<class>/*` with `test/<class>/*` (or val), or a single tree of `<class>/*`.

    Classes are in the order of their sorted names, images in the order of their class and sorted
    names; an exported folder has a records.csv, which tells the order and the labels instead.
    """

    kind = "image-folder"

    @classmethod
    def recognise(cls, tree: Tree) -> str | None:
        prefix, folders = _split_folders(tree)
        if f"{prefix}wnids.txt" in tree:  # Tiny-ImageNet, whose val/ is no folder of classes
            return None
        train = folders.get("train", folders.get(""))
        if train is None or set(_classes(tree, train)) <= {"train", "training", "test", "testing"}:
            return None
        some = list(islice(_labelled(tree, train), 100))
        if not all(is_image(name) for name, _ in some):
            return None
        name, class_name = some[0]
        return f"{train}{class_name}/{PurePosixPath(name).name}"

    def __init__(self, tree: Tree, options: SourceOptions) -> None:
        self._tree = tree
        prefix, folders = _split_folders(tree)
        if prefix + RECORDS_NAME in tree and prefix + CLASSES_NAME in tree:
            refuse_options(type(self), options)
            self.notes = [f"{prefix}{RECORDS_NAME} tells the order and the labels"]
            self.class_names = read_classes(tree, prefix + CLASSES_NAME)
            self._files = _read_records(tree, prefix, folders.values())
            self.splits = {split: len(of_split) for split, of_split in self._files.items()}
            return
        notes = []
        if "train" in folders:
            if options.test_fraction is not None:
                raise ValueError(f"{tree.path}: has {prefix}train/: a test fraction has no meaning there")
            test_names = [name for name in _TEST_NAMES if name in folders]
            used = {"train": folders["train"]}
            if test_names:
                used["test"] = folders[test_names[0]]
            notes = [
                f"{prefix}{name}/ is left out: {test_names[0]}/ is the test split" for name in test_names[1:]
            ]
        elif "" in folders:
            if options.test_fraction is None:
                raise ValueError(
                    f"{tree.path}: a single tree of classes needs --test-fraction (0 for no test split)"
                )
            used = {"train": folders[""]}
        else:
            raise ValueError(f"{tree.path}: no train/<class>/<image> and no <class>/<image> is there")
        self.notes: Sequence[str] = notes
        self.class_names = sorted(_classes(tree, used["train"]))
        label_of = {name: label for label, name in enumerate(self.class_names)}
        for name, class_name in _labelled(tree, used["test"]) if "test" in used else ():
            if class_name not in label_of:
                raise ValueError(f"{tree.place(name)}: the class {class_name!r} is not in train/")
        self._files = {
            split: [(name, label_of[class_name]) for name, class_name in _labelled(tree, folder)]
            for split, folder in used.items()
        }
        if "" in folders and options.test_fraction is not None:
            every = self._files["train"]
            parts = split_off_test(
                [label for _, label in every], [name for name, _ in every], options.test_fraction
            )
            self._files = {
                split: [every[position] for position in part]
                for split, part in zip(("train", "test"), parts, strict=True)
                if part
            }
        self.splits = {split: len(of_split) for split, of_split in self._files.items()}

    def items(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[Item]:
        for name, label in self._files[split][start:stop]:
            yield Item(read_image(self._tree, name), label, name)


def is_image(name: str) -> bool:
    """Whether a file name ends as those of images do."""
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def _split_folders(tree: Tree) -> tuple[str, dict[str, str]]:
    """The folders that stand above everything, and that of each split, or of all classes under "".

    Files that stand beside the folders (a README) are left out.
    """
    prefix = ""
    while True:
        tops = tree.folders(prefix)
        if prefix + "train/" in tops:
            splits = {split: f"{prefix}{split}/" for split in ("train", *_TEST_NAMES)}
            return prefix, {split: folder for split, folder in splits.items() if tree.folders(folder)}
        if len(tops) != 1 or not tree.folders(tops[0]):
            return prefix, {"": prefix} if tops else {}
        prefix = tops[0]


def _classes(tree: Tree, folder: str) -> list[str]:
    """The names of the classes whose folders stand in a folder."""
    return [name[len(folder) : -1] for name in tree.folders(folder)]


def _labelled(tree: Tree, folder: str) -> Iterator[tuple[str, str]]:
    """The files in those, each with the name of its class."""
    for class_name in _classes(tree, folder):
        for name in tree.under(f"{folder}{class_name}/"):
            yield name, class_name


def _rows(tree: Tree, name: str) -> Iterator[list[str]]:
    """The rows of a CSV file; raises ValueError if it is none."""
    reader = csv.reader(read_lines(tree, name))
    try:
        yield from reader
    except csv.Error as error:
        raise ValueError(f"{tree.place(name)}: line {reader.line_num}: {error}") from error


def _read_records(tree: Tree, prefix: str, folders: Iterable[str]) -> dict[str, list[tuple[str, int]]]:
    """The files with their labels in the order of records.csv; raises ValueError if it does not fit
    them.
    """
    place = tree.place(prefix + RECORDS_NAME)
    files: dict[str, list[tuple[str, int]]] = {}
    rows = _rows(tree, prefix + RECORDS_NAME)
    if tuple(next(rows, ())) != RECORDS_HEADER:
        raise ValueError(f"{place}: line 1: the columns are {','.join(RECORDS_HEADER)}")
    listed = set()
    for line, row in enumerate(rows, 2):
        if len(row) != len(RECORDS_HEADER) or row[1] not in ("train", "test") or not row[3].isdecimal():
            raise ValueError(
                f"{place}: line {line}: a row must be file, train or test, record id, label, got {row}"
            )
        name = prefix + row[0]
        if name not in tree or name in listed:
            raise ValueError(
                f"{place}: line {line}: {row[0]!r} is {'there twice' if name in listed else 'not there'}"
            )
        listed.add(name)
        files.setdefault(row[1], []).append((name, int(row[3])))
    for folder in folders:
        for name, _ in _labelled(tree, folder):
            if name not in listed:
                raise ValueError(f"{tree.place(name)}: is not in {RECORDS_NAME}")
    return files
