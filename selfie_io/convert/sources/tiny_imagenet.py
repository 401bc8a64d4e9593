"""Tiny-ImageNet as distributed: wnids.txt, words.txt, train/<wnid>/images/, val/ with its
annotations.
"""

# ruff: noqa: D102 - source.py documents the methods.

from collections import Counter

from selfie_io.convert.sources.file_tree import Tree
from selfie_io.convert.sources.image_files import is_image
from selfie_io.convert.sources.source import (
    FileListSource,
    RootedSource,
    Seen,
    SourceOptions,
    read_classes,
    read_lines,
)
from selfie_io.convert.sources.split_words import counted, some

_ANNOTATIONS = "val/val_annotations.txt"


class TinyImageNet(FileListSource, RootedSource):
    """Classes in the order of wnids.txt; val is the test split; some images are grey and become
    colour.
    """

    kind = "tiny-imagenet"
    wants = "wnids.txt, train/<wnid>/images/ and val/ with val_annotations.txt, or val/<wnid>/"
    root_files = ("wnids.txt",)
    channels = 3
    published = True

    @classmethod
    def recognise(cls, tree: Tree, options: SourceOptions) -> Seen | None:
        seen = super().recognise(tree, options)
        if seen is None or not seen.fits:
            return seen
        root = seen.what.removesuffix("wnids.txt")
        if not tree.under(f"{root}train/"):
            return Seen(False, f"{root}train/ must hold the training images")
        return seen

    def __init__(self, tree: Tree, options: SourceOptions) -> None:
        self._tree = tree
        root = self.root(tree)
        wnids = read_classes(tree, root + "wnids.txt")
        self.folder_names = wnids
        self._label_of = {wnid: label for label, wnid in enumerate(wnids)}
        if len(self._label_of) != len(wnids):
            raise ValueError(f"{tree.place(root + 'wnids.txt')}: a class is there twice")
        self.class_names = self._class_names(root + "words.txt", wnids)
        self._skip_bad = options.skip_bad
        notes: list[str] = []
        self._files = {"train": self._files_of_folders(root + "train/", notes)}
        if root + _ANNOTATIONS in tree and tree.under(f"{root}val/images/"):
            self._files["test"] = self._annotated_files(root)
        elif tree.folders(f"{root}val/"):
            self._files["test"] = self._files_of_folders(root + "val/", notes)
            notes.append(f"{root}val/ has a folder for each class")
        unlabelled = [name for name in tree.under(f"{root}test/") if is_image(tree, name)]
        if unlabelled:
            notes.append(f"{root}test/ has no labels: {counted(len(unlabelled), 'image')} left out")
        if "test" in self._files:
            notes.append(f"{root}val/ is the test split")
        self._count()
        self.notes = notes

    def _files_of_folders(self, folder: str, notes: list[str]) -> list[tuple[str, int]]:
        """The images of `folder`/<wnid>/, with or without a folder images/ in between."""
        files: list[tuple[str, int]] = []
        strays: list[str] = []
        for name in self._tree.under(folder):
            if not is_image(self._tree, name):
                if not name.endswith("_boxes.txt") and not name.endswith(_ANNOTATIONS):
                    strays.append(name)
                continue
            wnid = name[len(folder) :].split("/", 1)[0]
            if wnid not in self._label_of:
                if self._skip_bad:  # not for --kind: another class is no stray file
                    strays.append(name)
                    continue
                raise ValueError(f"{self._tree.place(name)}: {wnid!r} is not in wnids.txt")
            files.append((name, self._label_of[wnid]))
        if strays:
            notes.append(
                f"{counted(len(strays), 'file')} that are no images of a class left out ({some(strays, 20)})"
            )
        return sorted(files, key=lambda file: (file[1], file[0]))

    def _annotated_files(self, root: str) -> list[tuple[str, int]]:
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
