"""ANIMAL-10N as distributed: training/ and testing/, with the label before the first "_" of a file
name.
"""

# ruff: noqa: D102 - source.py documents the methods.

import re

from selfie_io.convert.sources.file_tree import Tree
from selfie_io.convert.sources.source import FileListSource, Seen, SourceOptions
from selfie_io.convert.sources.split_words import counted, some

_CLASS_NAMES = (
    "cat", "lynx", "wolf", "coyote", "cheetah", "jaguar", "chimpanzee", "orangutan", "hamster", "guinea pig",
)  # fmt: skip
_NAME = re.compile(r"((?:.*/)?)(training|testing)/(([0-9]{1,9})_[^/]*\.(?:jpg|jpeg|png))", re.ASCII | re.I)
_SPLITS = {"training": "train", "testing": "test"}


class Animal10N(FileListSource):
    """Images in the order of their sorted names; ten animals, about 8 % of the labels are wrong."""

    kind = "animal10n"
    wants = "training/ and testing/ with images named LABEL_anything.jpg"
    channels = 3

    @classmethod
    def recognise(cls, tree: Tree, options: SourceOptions) -> Seen | None:  # noqa: ARG003
        found = {match[2].lower(): name for name in tree.names if (match := _NAME.fullmatch(name))}
        return Seen(True, found["training"]) if set(found) == set(_SPLITS) else None

    def __init__(self, tree: Tree, options: SourceOptions) -> None:
        self._tree = tree
        self._files: dict[str, list[tuple[str, int]]] = {"train": [], "test": []}
        roots = set()
        strays: list[str] = []
        for name in tree.names:
            if match := _NAME.fullmatch(name):
                roots.add(match[1])
                self._files[_SPLITS[match[2].lower()]].append((name, int(match[4])))
            elif "/training/" in f"/{name}" or "/testing/" in f"/{name}":
                if not options.skip_bad:
                    raise ValueError(f"{tree.place(name)}: images must be named <label>_<anything>.jpg")
                strays.append(name)
        if len(roots) > 1:
            raise ValueError(
                f"{tree.path}: training/ and testing/ stand in more than one folder: {sorted(roots)}"
            )
        self._count()
        self.class_names = list(_CLASS_NAMES)
        if strays:
            self.notes = [
                f"{counted(len(strays), 'file')} without a label in the name left out ({some(strays)})"
            ]
