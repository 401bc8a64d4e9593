"""Images in one folder per class, split into train and test or not; a folder, a zip or a tar."""

# ruff: noqa: D102 - source.py documents the methods.

import csv
from collections.abc import Iterable, Iterator

from selfie_io.convert.sources.file_tree import Tree
from selfie_io.convert.sources.folder_layout import FolderLayout, class_folders, find_layout
from selfie_io.convert.sources.image_files import is_image
from selfie_io.convert.sources.source import FileListSource, Seen, SourceOptions, read_classes, read_lines
from selfie_io.convert.sources.split_words import class_order, counted, some
from selfie_io.records.csv_cells import original_cell

# What an export to a folder writes beside the images: their order, and all class names in order.
RECORDS_NAME, CLASSES_NAME = "records.csv", "classes.txt"
RECORDS_HEADER = ("file", "split", "record_id", "label")


class ImageFolder(FileListSource):
    """`train/<class>/*` with `test/<class>/*` (or val), or a single tree of `<class>/*`.

    Classes are in the order of their sorted names (as numbers, if all are integers), images in the
    order of their class and sorted names. An exported folder has a records.csv, which tells the
    order and the labels instead.
    """

    kind = "image-folder"
    wants = "train/CLASS/*.jpg and test/CLASS/*.jpg, or CLASS/*.jpg"

    @classmethod
    def recognise(cls, tree: Tree, options: SourceOptions) -> Seen | None:
        try:
            layout = find_layout(tree)
        except ValueError as error:
            return Seen(False, str(error).removeprefix(f"{tree.path}: "))
        if layout is None:
            return None
        if f"{layout.prefix}wnids.txt" in tree:  # Tiny-ImageNet has its own order of classes
            return None
        if not options.lenient:
            if layout.doubts:
                return Seen(False, layout.doubts[0])
            if _exported(tree, layout) is None:
                for folder in layout.folders.values():
                    for name, _ in _labelled(tree, folder):
                        if not is_image(tree, name):
                            return Seen(
                                False,
                                f"{name} is no image (--skip-bad or --kind {cls.kind} leaves such files out)",
                            )
        first = next(_labelled(tree, layout.folders["train"]), None)
        return None if first is None else Seen(True, first[0])

    def __init__(self, tree: Tree, options: SourceOptions) -> None:
        self._tree = tree
        layout = find_layout(tree)
        if layout is None:
            raise ValueError(f"{tree.path}: must hold {self.wants}")
        if layout.doubts and not options.lenient:
            raise ValueError(f"{tree.path}: {layout.doubts[0]}")
        exported = _exported(tree, layout)
        if exported is not None:
            self.notes = [f"{exported}{RECORDS_NAME} tells the order and the labels"]
            self.class_names = read_classes(tree, exported + CLASSES_NAME)
            self._files = _read_records(tree, exported, layout.folders.values())
            self._count()
            return
        self.names_splits = not layout.pooled
        labelled = {split: list(_labelled(tree, folder)) for split, folder in layout.folders.items()}
        strays = {name for of_split in labelled.values() for name, _ in of_split if not is_image(tree, name)}
        labelled = {
            split: [one for one in of_split if one[0] not in strays] for split, of_split in labelled.items()
        }
        self.class_names, order_notes = class_order(name for _, name in labelled["train"])
        label_of = {name: label for label, name in enumerate(self.class_names)}
        unknown = [name for name, class_name in labelled.get("test", ()) if class_name not in label_of]
        if unknown and not options.skip_bad:
            class_name = next(one for name, one in labelled["test"] if name == unknown[0])
            raise ValueError(
                f"{tree.place(unknown[0])}: the class {class_name!r} is not in {layout.folders['train']}"
                " (--skip-bad leaves such images out)"
            )
        self._files = {
            split: [(name, label_of[class_name]) for name, class_name in of_split if class_name in label_of]
            for split, of_split in labelled.items()
        }
        self._count()
        self.notes = [*layout.notes, *order_notes, *_about(strays, unknown, self.class_names)]
        missing = {label_of[name] for name in self.class_names} - {
            label for _, label in self._files.get("test", ())
        }
        if missing and self._files.get("test"):
            names = [self.class_names[label] for label in sorted(missing)]
            self.notes.append(
                f"{layout.folders['test']} has no image of {counted(len(names), 'class')} ({some(names)})"
            )


def _about(strays: set[str], unknown: list[str], class_names: list[str]) -> list[str]:
    notes = []
    if strays:
        notes.append(f"{counted(len(strays), 'file')} without an image left out ({some(sorted(strays), 20)})")
    if unknown:
        notes.append(f"{counted(len(unknown), 'test image')} of no training class left out ({some(unknown)})")
    if len(class_names) == 1:
        notes.append(f"there is one class alone, {class_names[0]!r}")
    return notes


def _exported(tree: Tree, layout: FolderLayout) -> str | None:
    """The folder with the records.csv of an export, if that is what the tree is."""
    prefix = layout.prefix
    if prefix + RECORDS_NAME not in tree and prefix.count("/") == 1 and RECORDS_NAME in tree:
        prefix = ""  # an export without test split: train/ is the one folder
    return prefix if prefix + RECORDS_NAME in tree and prefix + CLASSES_NAME in tree else None


def _labelled(tree: Tree, folder: str) -> Iterator[tuple[str, str]]:
    """The files in the class folders of a folder, each with the name of its class."""
    for class_name in class_folders(tree, folder):
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
    """The files with their labels in the order of records.csv; raises ValueError if it does not "
    "fit them."""
    place = tree.place(prefix + RECORDS_NAME)
    files: dict[str, list[tuple[str, int]]] = {}
    rows = _rows(tree, prefix + RECORDS_NAME)
    if tuple(next(rows, ())) != RECORDS_HEADER:
        raise ValueError(f"{place}: line 1: the columns must be {','.join(RECORDS_HEADER)}")
    listed = set()
    for line, row in enumerate(rows, 2):
        if len(row) != len(RECORDS_HEADER) or row[1] not in ("train", "test") or not row[3].isdecimal():
            raise ValueError(
                f"{place}: line {line}: a row must be file, train or test, record id, label, got {row}"
            )
        name = prefix + original_cell(row[0])
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
