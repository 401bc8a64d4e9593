"""WebDataset shards: tar files in which key.jpg (or png, ...) and key.cls make one item."""

# ruff: noqa: D102 - base.py documents the methods.

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from selfie_io.convert.sources.archives import TarTree
from selfie_io.convert.sources.file_tree import Tree
from selfie_io.convert.sources.image_folder import is_image
from selfie_io.convert.sources.source import (
    Item,
    Source,
    SourceOptions,
    read_classes,
    read_image,
    split_by_name,
    split_off_test,
)
from selfie_io.records.layout import MAX_CLASSES

_CLASS_NAMES = "classnames.txt"
_LABEL_BYTES = 20


class _Image(NamedTuple):
    shard: str
    name: str
    label: int


class WebDataset(Source):
    """Items in the order of the sorted shards and of their members; a shard's name tells its split."""

    kind = "webdataset"

    @classmethod
    def recognise(cls, tree: Tree) -> str | None:
        if isinstance(tree, TarTree):
            labels = (name for name in tree.names if name.endswith(".cls"))
            return next((name for name in labels if _image_names(tree).get(_key(name))), None)
        return (
            next((name for name in tree.names if name.endswith(".tar")), None) if tree.path.is_dir() else None
        )

    def __init__(self, tree: Tree, options: SourceOptions) -> None:
        self._tree = tree
        is_shard = isinstance(tree, TarTree)
        shards = [tree.path.name] if is_shard else [name for name in tree.names if name.endswith(".tar")]
        names, self.notes, pooled = split_by_name(tree, shards, options)
        self._images: dict[str, list[_Image]] = {}
        for split, of_split in names.items():
            self._images[split] = []
            for name in of_split:
                with self._shard(name) as shard:
                    self._images[split] += _read_shard(name, shard)
        every = [image for of_split in self._images.values() for image in of_split]
        if pooled:
            parts = split_off_test(
                [image.label for image in every],
                [f"{image.shard}:{image.name}" for image in every],
                options.test_fraction or 0,
            )
            self._images = {
                split: [every[position] for position in part]
                for split, part in zip(("train", "test"), parts, strict=True)
                if part
            }
        self.splits = {split: len(of_split) for split, of_split in self._images.items()}
        if _CLASS_NAMES in tree:
            self.class_names = read_classes(tree, _CLASS_NAMES)
        else:
            self.class_names = [str(i) for i in range(max((one.label for one in every), default=0) + 1)]

    def items(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[Item]:
        for name, images in groupby(self._images[split][start:stop], key=attrgetter("shard")):
            with self._shard(name) as shard:
                for image in images:
                    place = image.name if isinstance(self._tree, TarTree) else f"{name}/{image.name}"
                    yield Item(read_image(shard, image.name), image.label, place)

    def _shard(self, name: str) -> AbstractContextManager[TarTree]:
        """Open a shard; only one is open at a time, as there may be thousands."""
        if isinstance(self._tree, TarTree):
            return nullcontext(self._tree)
        return TarTree(self._tree.path / name)


def _read_shard(shard_name: str, shard: TarTree) -> list[_Image]:
    """The items of a shard; raises ValueError for a label without an image or an image without a
    label.
    """
    images = _image_names(shard)
    label_of: dict[str, int] = {}
    for name in shard.names:
        if not name.endswith(".cls"):
            continue
        if _key(name) not in images:
            raise ValueError(f"{shard.place(name)}: there is no image of this key")
        content = shard.read(name) if shard.size(name) <= _LABEL_BYTES else b""
        if not content.strip().isdigit():
            raise ValueError(f"{shard.place(name)}: a label must be an integer, got {content!r}")
        if int(content) >= MAX_CLASSES:  # a list of class names would grow as a damaged label says
            raise ValueError(f"{shard.place(name)}: a label must be below {MAX_CLASSES}, got {int(content)}")
        label_of[_key(name)] = int(content)
    found = []
    for name in sorted(images.values(), key=shard.offset):
        if _key(name) not in label_of:
            raise ValueError(f"{shard.place(name)}: there is no {_key(name)}.cls")
        found.append(_Image(shard_name, name, label_of[_key(name)]))
    return found


def _image_names(shard: Tree) -> dict[str, str]:
    """The image of each key; raises ValueError if a key has two."""
    names: dict[str, str] = {}
    for name in shard.names:
        if is_image(name) and names.setdefault(_key(name), name) != name:
            raise ValueError(f"{shard.place(name)}: the key {_key(name)!r} has another image")
    return names


def _key(name: str) -> str:
    """The folder and the file name up to its first dot."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.split(".", 1)[0]
