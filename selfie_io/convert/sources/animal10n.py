"""ANIMAL-10N as distributed: training/ and testing/, with the label before the first "_" of a file
name.
"""

# ruff: noqa: D102 - base.py documents the methods.

import re
from collections.abc import Iterator

from selfie_io.convert.sources.file_tree import Tree
from selfie_io.convert.sources.source import Item, Source, SourceOptions, read_image, refuse_options

_CLASS_NAMES = (
    "cat", "lynx", "wolf", "coyote", "cheetah", "jaguar", "chimpanzee", "orangutan", "hamster", "guinea pig",
)  # fmt: skip
_NAME = re.compile(r"((?:.*/)?)(training|testing)/(([0-9]{1,9})_[^/]*\.(?:jpg|jpeg|png))", re.ASCII | re.I)
_SPLITS = {"training": "train", "testing": "test"}


class Animal10N(Source):
    """Images in the order of their sorted names; ten animals, about 8 % of the labels are wrong."""

    kind = "animal10n"
    channels = 3

    @classmethod
    def recognise(cls, tree: Tree) -> str | None:
        found = {match[2]: name for name in tree.names if (match := _NAME.fullmatch(name))}
        return found["training"] if set(found) == set(_SPLITS) else None

    def __init__(self, tree: Tree, options: SourceOptions) -> None:
        refuse_options(type(self), options)
        self._tree = tree
        self._files: dict[str, list[tuple[str, int]]] = {"train": [], "test": []}
        roots = set()
        for name in tree.names:
            if match := _NAME.fullmatch(name):
                roots.add(match[1])
                self._files[_SPLITS[match[2].lower()]].append((name, int(match[4])))
            elif "/training/" in f"/{name}" or "/testing/" in f"/{name}":
                raise ValueError(f"{tree.place(name)}: images must be named <label>_<anything>.jpg")
        if len(roots) > 1:
            raise ValueError(
                f"{tree.path}: training/ and testing/ stand in more than one folder: {sorted(roots)}"
            )
        self.splits = {split: len(files) for split, files in self._files.items()}
        self.class_names = list(_CLASS_NAMES)

    def items(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[Item]:
        for name, label in self._files[split][start:stop]:
            yield Item(read_image(self._tree, name), label, name)
