"""Tiny-ImageNet as distributed: wnids.txt, words.txt, train/<wnid>/images/, val/ with its
annotations.
"""

# ruff: noqa: D102 - base.py documents the methods.

from collections import Counter
from collections.abc import Iterator

from selfie_io.convert.sources.file_tree import Tree
from selfie_io.convert.sources.image_folder import is_image
from selfie_io.convert.sources.source import (
    Item,
    RootedSource,
    SourceOptions,
    read_classes,
    read_image,
    read_lines,
    refuse_options,
)

_ANNOTATIONS = "val/val_annotations.txt"


class TinyImageNet(RootedSource):
    """Classes in the order of wnids.txt; val is the test split; some images are grey and become
    colour.
    """

    kind = "tiny-imagenet"
    root_files = ("wnids.txt", _ANNOTATIONS)
    channels = 3

    def __init__(self, tree: Tree, options: SourceOptions) -> None:
        refuse_options(type(self), options)
        self._tree = tree
        root = self.root(tree)
        wnids = read_classes(tree, root + "wnids.txt")
        self._label_of = {wnid: label for label, wnid in enumerate(wnids)}
        if len(self._label_of) != len(wnids):
            raise ValueError(f"{tree.place(root + 'wnids.txt')}: a class is there twice")
        self.class_names = self._class_names(root + "words.txt", wnids)
        self._files = {"train": self._training_files(root + "train/"), "test": self._validation_files(root)}
        self.splits = {split: len(files) for split, files in self._files.items()}

    def items(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[Item]:
        for name, label in self._files[split][start:stop]:
            yield Item(read_image(self._tree, name), label, name)

    def _training_files(self, train: str) -> list[tuple[str, int]]:
        files: list[tuple[str, int]] = []
        for name in self._tree.under(train):
            if not is_image(name):  # <wnid>_boxes.txt is there, too
                continue
            wnid = name[len(train) :].split("/", 1)[0]
            if wnid not in self._label_of:
                raise ValueError(f"{self._tree.place(name)}: {wnid!r} is not in wnids.txt")
            files.append((name, self._label_of[wnid]))
        return sorted(files, key=lambda file: (file[1], file[0]))

    def _validation_files(self, root: str) -> list[tuple[str, int]]:
        place = self._tree.place(root + _ANNOTATIONS)
        label_of_file: dict[str, int] = {}
        for line, text in enumerate(read_lines(self._tree, root + _ANNOTATIONS), 1):
            name, wnid = [*text.split("\t"), "", ""][:2]
            if wnid not in self._label_of:
                raise ValueError(f"{place}: line {line}: {wnid!r} is not in wnids.txt")
            if f"{root}val/images/{name}" not in self._tree:
                raise ValueError(f"{place}: line {line}: there is no val/images/{name}")
            label_of_file[f"{root}val/images/{name}"] = self._label_of[wnid]
        for name in self._tree.under(f"{root}val/images/"):
            if name not in label_of_file:
                raise ValueError(f"{self._tree.place(name)}: is not in val_annotations.txt")
        return sorted(label_of_file.items())

    def _class_names(self, words: str, wnids: list[str]) -> list[str]:
        """The first word for each class, with its wnid where classes share one."""
        word_of = {}
        for line in read_lines(self._tree, words) if words in self._tree else ():
            wnid, _, text = line.partition("\t")
            if wnid in self._label_of:
                word_of[wnid] = text.split(",", 1)[0].strip()
        names = [word_of.get(wnid) or wnid for wnid in wnids]
        shared = Counter(names)
        return [
            f"{name} ({wnid})" if shared[name] > 1 else name for name, wnid in zip(names, wnids, strict=True)
        ]
