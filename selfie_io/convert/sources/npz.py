"""A .npz file of arrays, under the names of Keras (x_train, y_train, ...) or MedMNIST
(train_images, ...).
"""

# ruff: noqa: D102 - source.py documents the methods.

import re
from collections.abc import Iterator
from tokenize import TokenError
from typing import Any, BinaryIO, NamedTuple

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
from selfie_io.convert.sources.split_words import TEST, TRAIN, VALIDATION, choose_splits
from selfie_io.records.layout import MAX_CLASSES, RecordLayout

_SPLIT_KEYS = {TRAIN: ("train",), TEST: ("test",), VALIDATION: ("val", "valid", "validation")}
# Images and labels, {} being the split: Keras, MedMNIST, and others in use.
_NAMED_PAIRS = (("x_{}", "y_{}"), ("{}_images", "{}_labels"), ("{}_x", "{}_y"), ("{}_data", "{}_labels"))
_POOL_PAIRS = (
    ("images", "labels"),
    ("x", "y"),
    ("data", "labels"),
    ("image", "label"),
    ("images", "targets"),
)
_CLASS_NAMES = "class_names.npy"
_CHUNK_BYTES = 1 << 20
_HEADER_BYTES = 10_000
_HEADER_ERRORS = (
    ValueError,
    LookupError,
    SyntaxError,
    TypeError,
    ArithmeticError,
    RecursionError,
    TokenError,
)


class _Header(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]


class Npz(Source):
    """Images (N, H, W), (N, H, W, 1 or 3) or (N, 1 or 3, H, W) of uint8; labels (N,) or (N, 1)."""

    kind = "npz"
    wants = "the arrays x_train and y_train, or train_images and train_labels, or images and labels"
    takes_keys = True

    @classmethod
    def recognise(cls, tree: Tree, options: SourceOptions) -> Seen | None:
        if not tree.names or not all(name.endswith(".npy") for name in tree.names) or tree.path.is_dir():
            return None
        try:
            pairs = _pairs(tree, options)[0]
        except ValueError as error:
            return Seen(False, str(error).removeprefix(f"{tree.path}: "))
        return Seen(True, ", ".join(name.removesuffix(".npy") for name in pairs[TRAIN]))

    def __init__(self, tree: Tree, options: SourceOptions) -> None:
        self._tree = tree
        pairs, self.names_splits = _pairs(tree, options)
        notes = []
        every = {split: self._read_labels(pair[1]) for split, pair in pairs.items()}
        for split in list(pairs):
            if split != TRAIN and every[split].size and (every[split] < 0).all():
                notes.append(
                    f"{pairs[split][0]} has no labels ({pairs[split][1]} is negative): it is left out"
                )
                del pairs[split]
        named = {split: pair[0].removesuffix(".npy") for split, pair in pairs.items()}
        self._keys, chosen = choose_splits(pairs, named)
        self._labels = {
            split: next(every[name] for name, one in pairs.items() if one == pair)
            for split, pair in self._keys.items()
        }
        shapes = {}
        for split, (images, labels) in self._keys.items():
            with tree.open(images) as file:
                header = self._header(file, images)
            shapes[split] = self._layout(images, header).shape
            if header.shape[0] != len(self._labels[split]):
                raise ValueError(
                    f"{tree.place(images)}: {header.shape[0]} images, "
                    f"{labels}: {len(self._labels[split])} labels"
                )
        self.channels = shapes[TRAIN][0]
        self.splits = {split: len(labels) for split, labels in self._labels.items()}
        num_classes = max(int(labels.max(initial=0)) for labels in self._labels.values()) + 1
        self.class_names = self._read_class_names() or [str(label) for label in range(num_classes)]
        used = {name for pair in pairs.values() for name in pair} | {_CLASS_NAMES}
        rest = [name.removesuffix(".npy") for name in tree.names if name not in used]
        rest = [name for name in rest if not name.startswith("record_ids_")]
        if rest:
            notes.append(f"the arrays {', '.join(rest[:20])} are left out")
        self.notes = [*notes, *chosen, *missing_low_classes(self._labels[TRAIN])]

    def entries(self, split: str) -> Iterator[Entry]:
        for position, label in enumerate(self._labels[split].tolist()):
            yield Entry(label, f"{self._keys[split][0]}#{position}")

    def items(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[Item]:
        name = self._keys[split][0]
        labels = self._labels[split]
        stop = len(labels) if stop is None else stop
        with self._tree.open(name) as file:
            header = self._header(file, name)
            layout = self._layout(name, header)
            size = layout.pixel_bytes
            planes_last = header.shape[-1] == layout.channels and len(header.shape) == 4
            if start:
                file.seek(start * size, 1)
            for first in range(start, stop, max(1, _CHUNK_BYTES // size)):
                wanted = min(max(1, _CHUNK_BYTES // size), stop - first)
                content = file.read(wanted * size)
                if len(content) < wanted * size:
                    raise ValueError(
                        f"{self._tree.place(name)}: ends within image {first + len(content) // size}"
                    )
                images = np.frombuffer(content, np.uint8)
                if planes_last:
                    images = images.reshape(wanted, layout.height, layout.width, layout.channels)
                    images = images.transpose(0, 3, 1, 2)
                for offset, image in enumerate(images.reshape(wanted, *layout.shape)):
                    yield Item(image, int(labels[first + offset]), f"{name}#{first + offset}")

    def _layout(self, name: str, header: _Header) -> RecordLayout:
        """The shape of an image: channels are last, or first, or there are none."""
        shape = header.shape[1:]
        if header.dtype != np.uint8:
            raise ValueError(f"{self._tree.place(name)}: images must be uint8, got {header.dtype}")
        if len(shape) == 2:
            return image_layout(self._tree.place(name), 1, *shape)
        if len(shape) == 3 and shape[2] in (1, 3):
            return image_layout(self._tree.place(name), shape[2], shape[0], shape[1])
        if len(shape) == 3 and shape[0] in (1, 3):
            return image_layout(self._tree.place(name), *shape)
        raise ValueError(
            f"{self._tree.place(name)}: images must have 1 or 3 channels, got shape {header.shape}"
        )

    def _read_labels(self, name: str) -> npt.NDArray[np.int64]:
        labels: npt.NDArray[Any] = self._read_array(name)
        if labels.dtype.kind not in "iu" or labels.size != (len(labels) if labels.ndim else -1):
            raise ValueError(
                f"{self._tree.place(name)}: labels must be one integer an image, "
                f"got {labels.dtype} of shape {labels.shape}"
            )
        labels = labels.reshape(-1)
        for row in np.flatnonzero(labels >= MAX_CLASSES)[:1]:  # as many class names there would be
            raise ValueError(
                f"{self._tree.place(name)}: label {row}: must be below {MAX_CLASSES}, got {labels[row]}"
            )
        return labels.astype(np.int64)

    def _read_class_names(self) -> list[str] | None:
        if _CLASS_NAMES not in self._tree:
            return None
        names = self._read_array(_CLASS_NAMES)
        if names.dtype.kind != "U" or names.ndim != 1:
            raise ValueError(f"{self._tree.place(_CLASS_NAMES)}: must be a row of text, got {names.dtype}")
        try:
            return [str(name) for name in names]
        except SystemError as error:  # of numpy, for a character beyond the last one
            raise ValueError(f"{self._tree.place(_CLASS_NAMES)}: {error}") from error

    def _read_array(self, name: str) -> npt.NDArray[np.generic]:
        with self._tree.open(name) as file:
            header = self._header(file, name)
            content = file.read(MAX_FILE_BYTES)
        return np.frombuffer(content, header.dtype).reshape(header.shape)

    def _header(self, file: BinaryIO, name: str) -> _Header:
        """Read the header of a .npy file and hold it against the size of the member."""
        place = self._tree.place(name)
        try:
            version = np.lib.format.read_magic(file)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, by_column, dtype = read(file, max_header_size=_HEADER_BYTES)
        except _HEADER_ERRORS as error:
            raise ValueError(f"{place}: {error}") from error
        if dtype.hasobject or dtype.names is not None:
            raise ValueError(f"{place}: must hold numbers or text, got {dtype}")
        if by_column and len(shape) > 1:
            raise ValueError(f"{place}: is in column order; save it again after numpy.ascontiguousarray")
        size = dtype.itemsize
        for side in shape:
            size *= side
        if min(shape, default=0) < 0 or file.tell() + size != self._tree.size(name):
            raise ValueError(
                f"{place}: {dtype} of shape {shape} is {size} bytes, "
                f"{self._tree.size(name) - file.tell()} follow the header"
            )
        return _Header(shape, dtype)


def _pairs(tree: Tree, options: SourceOptions) -> tuple[dict[str, tuple[str, str]], bool]:
    """The arrays of images and labels by split, and whether their names tell splits.

    Raises ValueError if there are none, listing the arrays that are there and those wanted.
    """
    stored = {name.removesuffix(".npy").lower(): name for name in tree.names}
    if options.image_key is not None or options.label_key is not None:
        return _chosen_pairs(tree, stored, options)
    found: dict[str, tuple[str, str]] = {}
    for split, words in _SPLIT_KEYS.items():
        for images, labels in _NAMED_PAIRS:
            for word in words:
                pair = images.format(word), labels.format(word)
                if split not in found and pair[0] in stored and pair[1] in stored:
                    found[split] = stored[pair[0]], stored[pair[1]]
    if TRAIN in found:
        return found, True
    for images, labels in _POOL_PAIRS:
        if images in stored and labels in stored:
            return {TRAIN: (stored[images], stored[labels])}, False
    there = ", ".join(name.removesuffix(".npy") for name in tree.names[:30])
    raise ValueError(
        f"{tree.path}: must hold {Npz.wants}, got {there}; --image-key and --label-key name other arrays"
    )


def _chosen_pairs(
    tree: Tree, stored: dict[str, str], options: SourceOptions
) -> tuple[dict[str, tuple[str, str]], bool]:
    """The arrays that the user named, and those that are called alike for another split."""
    keys = {"--image-key": options.image_key, "--label-key": options.label_key}
    for option, key in keys.items():
        if key is None or key.lower() not in stored:
            there = ", ".join(name.removesuffix(".npy") for name in tree.names[:30])
            raise ValueError(f"{tree.path}: {option} must be one of the arrays {there}, got {key}")
    image_key, label_key = (str(key).lower() for key in keys.values())
    found = {TRAIN: (stored[image_key], stored[label_key])}
    pattern = re.compile(r"train(ing)?")
    if not (pattern.search(image_key) and pattern.search(label_key)):
        return found, False
    for split, words in _SPLIT_KEYS.items():
        for word in (*words, f"{split}ing"):
            pair = pattern.sub(word, image_key), pattern.sub(word, label_key)
            if split != TRAIN and split not in found and pair[0] in stored and pair[1] in stored:
                found[split] = stored[pair[0]], stored[pair[1]]
    return found, True
