"""IDX files (MNIST, Fashion-MNIST, KMNIST): a header of big-endian sizes, then bytes; gzip or not."""

# ruff: noqa: D102 - source.py documents the methods.

import contextlib
import gzip
import hashlib
import re
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from selfie_io.convert.sources.file_tree import MAX_FILE_BYTES, Tree
from selfie_io.convert.sources.source import (
    Entry,
    Item,
    Seen,
    Source,
    SourceOptions,
    image_layout,
    missing_low_classes,
)
from selfie_io.convert.sources.split_words import counted

_NAME = re.compile(
    r"(?:.*[/-])?(?P<split>train|t10k|test)-(?P<what>images|labels)[-.]idx[13]-ubyte(?:\.gz)?",
    re.ASCII | re.I,
)
_UBYTE = 8  # the type code of unsigned bytes, the third byte of an IDX file
_CHUNK_BYTES = 1 << 20

# The SHA-256 of the training label file, decompressed; IDX itself knows no class names.
_FASHION_LABELS = "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
_FASHION_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


class Idx(Source):
    """`train-images-idx3-ubyte[.gz]`, `train-labels-idx1-ubyte[.gz]`, and the same of `t10k` or
    `test`.
    """

    kind = "idx"
    wants = "train-images-idx3-ubyte and train-labels-idx1-ubyte, or their .gz"
    channels = 1

    @classmethod
    def recognise(cls, tree: Tree, options: SourceOptions) -> Seen | None:  # noqa: ARG003
        files = _find(tree)
        if ("train", "images") in files:
            return Seen(True, files["train", "images"][0])
        other = next((names[0] for names in files.values()), None)
        return None if other is None else Seen(False, f"{other} is there, but no train-images-idx3-ubyte")

    def __init__(self, tree: Tree, options: SourceOptions) -> None:  # noqa: ARG002
        self._tree = tree
        self._images: dict[str, str] = {}
        self._labels: dict[str, npt.NDArray[np.uint8]] = {}
        files = _find(tree)
        again = [name for (split, what), names in files.items() for name in self._doubles(split, what, names)]
        if again:
            self.notes = [
                f"{counted(len(again), 'file')} with the content of others left out ({', '.join(again)})"
            ]
        for split in ("train", "test"):
            pair = [files.get((split, what), [""])[0] for what in ("images", "labels")]
            if split == "test" and pair == ["", ""]:
                continue
            if "" in pair:
                missing = "labels" if pair[0] else "images"
                raise ValueError(f"{tree.path}: there is no file of {split} {missing} in IDX format")
            self._images[split] = pair[0]
            self._labels[split] = self._read_labels(pair[1])
            with self._open(pair[0]) as file:
                count = _header(file, 3, tree.place(pair[0]))[0]
            if count != len(self._labels[split]):
                raise ValueError(
                    f"{tree.place(pair[0])}: {count} images, {pair[1]}: {self._labels[split].size} labels"
                )
        self.splits = {split: len(labels) for split, labels in self._labels.items()}
        digest = hashlib.sha256(_LABEL_HEADER.pack(0, _UBYTE, 1, self.splits["train"]))
        digest.update(self._labels["train"].data)
        num_classes = max(int(labels.max(initial=0)) for labels in self._labels.values()) + 1
        self.notes = [*self.notes, *missing_low_classes(self._labels["train"].astype(np.int64))]
        fashion = digest.hexdigest() == _FASHION_LABELS
        self.published = fashion
        self.class_names = list(_FASHION_NAMES) if fashion else [str(label) for label in range(num_classes)]

    def items(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[Item]:
        name = self._images[split]
        labels = self._labels[split]
        with self._open(name) as file:
            count, height, width = _header(file, 3, self._tree.place(name))
            size = image_layout(self._tree.place(name), 1, height, width).pixel_bytes
            stop = count if stop is None else min(stop, count)
            _skip(file, start * size)
            per_chunk = max(1, _CHUNK_BYTES // size)
            for first in range(start, stop, per_chunk):
                wanted = min(per_chunk, stop - first)
                content = file.read(wanted * size)
                if len(content) < wanted * size:
                    place = first + len(content) // size
                    raise ValueError(
                        f"{self._tree.place(name)}: image {place}: ends at byte "
                        f"{16 + first * size + len(content)}, {count} images were announced"
                    )
                images = np.frombuffer(content, np.uint8).reshape(wanted, 1, height, width)
                for offset, image in enumerate(images):
                    yield Item(image, int(labels[first + offset]), f"{name}#{first + offset}")
            if stop == count and file.read(1):
                raise ValueError(
                    f"{self._tree.place(name)}: byte {16 + count * size}: bytes after the last image"
                )

    def entries(self, split: str) -> Iterator[Entry]:
        for position, label in enumerate(self._labels[split].tolist()):
            yield Entry(label, f"{self._images[split]}#{position}")

    def _doubles(self, split: str, what: str, names: list[str]) -> list[str]:
        """The files after the first that hold the same; raises ValueError if one holds something
        else.
        """
        first = self._digest(names[0]) if len(names) > 1 else ""
        for name in names[1:]:
            if self._digest(name) != first:
                raise ValueError(
                    f"{self._tree.path}: one file must hold the {split} {what}, got {names[0]} and "
                    f"{name} with"
                    " different content; delete one of them"
                )
        return names[1:]

    def _digest(self, name: str) -> str:
        digest = hashlib.sha256()
        with self._open(name) as file:
            while content := file.read(_CHUNK_BYTES):
                digest.update(content)
        return digest.hexdigest()

    def _read_labels(self, name: str) -> npt.NDArray[np.uint8]:
        with self._open(name) as file:
            (count,) = _header(file, 1, self._tree.place(name))
            content = file.read(min(count + 1, MAX_FILE_BYTES))
        if len(content) != count:
            there = "more bytes follow" if len(content) > count else f"it ends at byte {8 + len(content)}"
            raise ValueError(f"{self._tree.place(name)}: {count} labels were announced, {there}")
        return np.frombuffer(content, np.uint8)

    @contextlib.contextmanager
    def _open(self, name: str) -> Iterator[BinaryIO]:
        with self._tree.open(name) as file:
            if self._tree.head(name)[:2] != b"\x1f\x8b":
                yield file
                return
            try:
                with gzip.open(file) as plain:
                    yield cast(BinaryIO, plain)
            except (EOFError, zlib.error) as error:
                raise ValueError(f"{self._tree.place(name)}: {error}") from error


_LABEL_HEADER = struct.Struct(">HBBI")


def _find(tree: Tree) -> dict[tuple[str, str], list[str]]:
    """The IDX files by (split, "images" or "labels")."""
    files: dict[tuple[str, str], list[str]] = {}
    for name in tree.names:
        if match := _NAME.fullmatch(name):
            split = "train" if match["split"].lower() == "train" else "test"
            files.setdefault((split, match["what"].lower()), []).append(name)
    return files


def _header(file: BinaryIO, dimensions: int, place: str) -> tuple[int, ...]:
    """The sizes that the header of an IDX file of unsigned bytes announces."""
    header = file.read(4 + 4 * dimensions)
    expected = bytes([0, 0, _UBYTE, dimensions])
    if header[:4] != expected:
        raise ValueError(
            f"{place}: byte 0: the magic number must be {expected.hex()}, got {header[:4].hex()}"
        )
    if len(header) < 4 + 4 * dimensions:
        raise ValueError(f"{place}: ends at byte {len(header)}, within the header")
    return struct.unpack(f">{dimensions}I", header[4:])


def _skip(file: BinaryIO, size: int) -> None:
    if size:
        file.seek(size, 1)
