"""The images that a network is to look at: arrays, splits, or image files, in batches of uint8."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from selfie_io.convert.decoding.images import Bad, ImageRule, decode_chunk
from selfie_io.convert.sources.archives import open_tree
from selfie_io.convert.sources.file_tree import FileTree, Tree
from selfie_io.convert.sources.image_files import is_image, read_image
from selfie_io.convert.sources.source import Item
from selfie_io.records.manifest import MANIFEST_NAME
from selfie_io.records.split import RecordSplit

Images: TypeAlias = (
    "NDArray[np.uint8] | torch.Tensor | RecordSplit | str | PathLike[str] | Sequence[str | PathLike[str]]"
)


@dataclass(frozen=True)
class NamedImages:
    """Images uint8 (n, C, H, W), where each came from, and those that could not be read."""

    images: NDArray[np.uint8]
    names: list[str]
    bad: list[Bad]


def batches(images: Images, shape: tuple[int, int, int], size: int) -> Iterator[NDArray[np.uint8]]:
    """The images in order, uint8 (n, C, H, W), `size` at a time.

    Raises ValueError for images of another shape or dtype, and for files that are no images, by name.
    """
    if isinstance(images, RecordSplit):
        check_shape(images, shape)
        indices = images.indices
        for begin in range(0, len(indices), size):
            yield images.images(indices[begin : begin + size])
        return
    array = as_array(images)
    if array is None:
        for named in file_batches(as_paths(images), shape, size):
            if named.bad:
                raise ValueError("; ".join(f"{name}: {reason}" for name, reason in named.bad))
            yield named.images
        return
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[1:] != shape:
        raise ValueError(
            f"images must be uint8 (n, {', '.join(map(str, shape))}), got {array.dtype} {array.shape}"
        )
    for begin in range(0, len(array), size):
        yield array[begin : begin + size]


def check_shape(split: RecordSplit, shape: tuple[int, int, int]) -> None:
    """Raise ValueError unless the records of `split` have the shape that the network takes."""
    if split.layout.shape != shape:
        raise ValueError(
            f"the network takes images of {_shape(shape)}, but {split.dataset_path} holds "
            f"{_shape(split.layout.shape)}: pack the images with --size {shape[1]}x{shape[2]}"
            + (f" --channels {shape[0]}" if split.layout.channels != shape[0] else "")
        )


def as_array(images: Any) -> NDArray[Any] | None:
    """The array of an array or a tensor; None for anything else."""
    if isinstance(images, torch.Tensor):
        found: NDArray[Any] = images.detach().cpu().numpy()
        return found
    return images if isinstance(images, np.ndarray) else None


def as_paths(images: Any) -> list[Path]:
    """The paths of one path or several; ValueError for anything else."""
    given = [images] if isinstance(images, str | PathLike) else images
    if isinstance(given, Sequence) and given and all(isinstance(one, str | PathLike) for one in given):
        return [Path(one) for one in given]
    raise ValueError(
        "images must be uint8 (n, C, H, W) in NumPy or torch, a split of a data set, or paths of image files "
        f"and folders; got {type(images).__name__}"
    )


def file_batches(paths: Sequence[Path], shape: tuple[int, int, int], size: int) -> Iterator[NamedImages]:
    """Decode image files as `selfie-convert pack` does and scale them to `shape`, `size` at a time.

    A path names an image, or a folder or an archive of images, which come in the order of their sorted
    names. Raises OSError for a path that is not there, ValueError for one without an image.
    """
    if shape[0] not in (1, 3):
        raise ValueError(
            f"image files have 1 or 3 channels, but the network takes {_shape(shape)}: give arrays"
        )
    rule = ImageRule(*shape, resize=True, to_grey=shape[0] == 1)
    waiting: list[Item] = []
    for path in paths:
        with _opened(path) as tree:
            for name in _image_names(tree):
                waiting.append(Item(read_image(tree, name), 0, tree.place(name)))
                if len(waiting) == size:
                    yield _decode(waiting, rule)
                    waiting = []
    if waiting:
        yield _decode(waiting, rule)


def count_files(paths: Sequence[Path]) -> int:
    """The number of images that `file_batches` will read; raises as it does."""
    total = 0
    for path in paths:
        with _opened(path) as tree:
            total += len(_image_names(tree))
    return total


def _image_names(tree: Tree) -> list[str]:
    names = [name for name in tree.names if isinstance(tree, FileTree) or is_image(tree, name)]
    if not names:
        raise ValueError(f"{tree.path}: holds no image")
    return names


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Tree]:
    if path.is_dir() and ((path / MANIFEST_NAME).exists() or any(path.glob("data_batch_*.bin"))):
        raise ValueError(
            f"{path} is a data set: `selfie-train evaluate` predicts its splits, and in Python "
            f"predict(run, open_dataset({str(path)!r}).test)"
        )
    with open_tree(path) as tree:
        yield tree


def _decode(items: list[Item], rule: ImageRule) -> NamedImages:
    decoded = decode_chunk(items, rule)
    return NamedImages(decoded.images, decoded.names, decoded.bad)


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
