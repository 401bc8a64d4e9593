"""WebDataset shards: tar files in which key.jpg (or png, ...) and key.cls make one item."""

# ruff: noqa: D102 - source.py documents the methods.

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from selfie_io.convert.sources.archives import TarTree
from selfie_io.convert.sources.file_tree import Tree
from selfie_io.convert.sources.image_files import is_image, read_image
from selfie_io.convert.sources.source import (
    Entry,
    Item,
    Seen,
    Source,
    SourceOptions,
    missing_low_classes,
    read_classes,
)
from selfie_io.convert.sources.split_files import named_splits, split_files
from selfie_io.convert.sources.split_words import TRAIN, choose_splits, counted
from selfie_io.records.layout import MAX_CLASSES

_CLASS_NAMES = "classnames.txt"
_LABEL_BYTES = 20


class _Image(NamedTuple):
    shard: str
    name: str
    label: int
    problem: str | None = None


class WebDataset(Source):
    """Items in the order of the sorted shards and of their members; a shard's name tells its split."""

    kind = "webdataset"
    wants = "tar shards of KEY.jpg and KEY.cls"

    @classmethod
    def recognise(cls, tree: Tree, options: SourceOptions) -> Seen | None:  # noqa: ARG003
        if isinstance(tree, TarTree):
            labels = [name for name in tree.names if name.endswith(".cls")]
            images = _image_names(tree)[0] if labels else {}
            first = next((name for name in labels if images.get(_key(name))), None)
        else:
            shards = (name for name in tree.names if name.endswith(".tar"))
            first = next(shards, None) if tree.path.is_dir() else None
        return None if first is None else Seen(True, first)

    def __init__(self, tree: Tree, options: SourceOptions) -> None:
        self._tree = tree
        is_shard = isinstance(tree, TarTree)
        shards = [tree.path.name] if is_shard else [name for name in tree.names if name.endswith(".tar")]
        found, split_notes, pooled = split_files(tree, shards, options)
        self.names_splits = not pooled
        names, chosen = choose_splits(found, named_splits(found))
        self._images: dict[str, list[_Image]] = {}
        self._lost = 0
        for split, of_split in names.items():
            self._images[split] = []
            for name in of_split:
                with self._shard(name) as shard:
                    self._images[split] += self._read_shard(name, shard, skip_bad=options.skip_bad)
        self.splits = {split: len(of_split) for split, of_split in self._images.items()}
        every = [image.label for of_split in self._images.values() for image in of_split]
        if _CLASS_NAMES in tree:
            self.class_names = read_classes(tree, _CLASS_NAMES)
        else:
            self.class_names = [str(i) for i in range(max(every, default=0) + 1)]
        low = missing_low_classes([image.label for image in self._images[TRAIN] if image.problem is None])
        lost = [f"{counted(self._lost, 'label')} without an image left out"] if self._lost else []
        self.notes = [*split_notes, *chosen, *low, *lost]

    def items(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[Item]:
        return self._read(self._images[split][start:stop])

    def entries(self, split: str) -> Iterator[Entry]:
        for image in self._images[split]:
            yield Entry(image.label, f"{image.shard}:{image.name}")

    def items_at(self, split: str, positions: Sequence[int]) -> Iterator[Item]:
        return self._read([self._images[split][position] for position in positions])

    def _read(self, images: "list[_Image]") -> Iterator[Item]:
        for name, of_shard in groupby(images, key=attrgetter("shard")):
            with self._shard(name) as shard:
                for image in of_shard:
                    place = image.name if isinstance(self._tree, TarTree) else f"{name}/{image.name}"
                    if image.problem is not None:
                        yield Item(ValueError(image.problem), 0, place)
                    else:
                        yield Item(read_image(shard, image.name), image.label, place)

    def _shard(self, name: str) -> AbstractContextManager[TarTree]:
        """Open a shard; only one is open at a time, as there may be thousands."""
        if isinstance(self._tree, TarTree):
            return nullcontext(self._tree)
        return TarTree(self._tree.path / name)

    def _read_shard(self, shard_name: str, shard: TarTree, *, skip_bad: bool) -> "list[_Image]":
        """The items of a shard in stored order.

        Raises ValueError for a label without an image, an image without a label, or a bad label,
        unless `skip_bad`: then it is an item with a problem.
        """
        images, problems = _image_names(shard)
        label_of: dict[str, int] = {}
        for name in shard.names:
            if not name.endswith(".cls"):
                continue
            if _key(name) not in images:
                self._lost += 1
                if not skip_bad:
                    raise ValueError(f"{shard.place(name)}: there is no image of this key")
                continue
            content = shard.read(name) if shard.size(name) <= _LABEL_BYTES else b""
            if not content.strip().isdigit():
                problem = f"a label must be an integer, got {content!r}"
            elif int(content) >= MAX_CLASSES:  # a list of class names would grow as a damaged label says
                problem = f"a label must be below {MAX_CLASSES}, got {int(content)}"
            else:
                label_of[_key(name)] = int(content)
                continue
            if not skip_bad:
                raise ValueError(f"{shard.place(name)}: {problem}")
            problems[images[_key(name)]] = problem
        found = []
        for name in sorted(images.values(), key=shard.offset):
            if _key(name) not in label_of:
                problems.setdefault(name, f"there is no {_key(name)}.cls")
            if name in problems and not skip_bad:
                raise ValueError(f"{shard.place(name)}: {problems[name]}")
            found.append(_Image(shard_name, name, label_of.get(_key(name), 0), problems.get(name)))
        return found


def _image_names(shard: Tree) -> tuple[dict[str, str], dict[str, str]]:
    """The image of each key, and what is wrong with an image whose key has another."""
    names: dict[str, str] = {}
    problems: dict[str, str] = {}
    for name in shard.names:
        if name.endswith((".cls", ".json", ".txt")) or not is_image(shard, name):
            continue
        if names.setdefault(_key(name), name) != name:
            problems[names[_key(name)]] = f"the key {_key(name)!r} has another image, {name}"
    return names, problems


def _key(name: str) -> str:
    """The folder and the file name up to its first dot."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.split(".", 1)[0]
