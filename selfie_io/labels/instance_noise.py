"""Label noise that depends on the image: Xia et al., "Part-dependent label noise", NeurIPS 2020."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from selfie_io.labels import _kernels
from selfie_io.labels._threads import run_range
from selfie_io.labels._vectors import Vector, class_count, integer_vector, labels_of_classes
from selfie_io.labels.noise import keyed_bits, stream_base
from selfie_io.labels.transition import check_rate
from selfie_io.processors import available_processors

Floats = npt.NDArray[np.float64]

RATE_STD = 0.1  # of the flip rates around the asked one, as in the authors' program
CHUNK_BYTES = 1 << 24  # of images in memory, as float64

# Streams of draws beside MATRIX_STREAM; the attempts at a flip rate inside [0, 1] take all that follow.
_CHOICE_STREAM, _WEIGHT_STREAM, _FLIP_STREAM = 1, 2, 3


@runtime_checkable
class Images(Protocol):
    """What has images to look up, such as a RecordSplit."""

    def __len__(self) -> int:
        """Return the number of images."""

    def images(self, indices: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """Return the images of some indices, (n, ...)."""


def inject_instance_noise(
    images: npt.ArrayLike | Images,
    labels: npt.ArrayLike,
    num_classes: int,
    rate: float,
    *,
    seed: int = 0,
    record_ids: npt.ArrayLike | None = None,
) -> Vector:
    """Draw a noisy label for each image so that images that look alike tend to the same wrong
    label.

    `images` is an array (N, ...) or a RecordSplit, which is read in parts. Each image has its own
    flip rate, normal around `rate` with deviation 0.1 inside [0, 1]; where it goes follows
    softmax(image @ W[label]) over the other classes, with W standard normal and the image
    standardised. So a draw depends on the image, its label, the seed and its entry of `record_ids`
    (else its position) alone. Labels are in 0..num_classes-1. A rate of 0 changes nothing. Returns
    int64 (N,). Raises ValueError if the labels, the images or the rate are not what they should be.
    """
    class_count(num_classes)
    check_rate(rate)
    clean = labels_of_classes("labels", labels, num_classes)
    keys = (
        np.arange(clean.size) if record_ids is None else integer_vector("record_ids", record_ids, clean.size)
    )
    look_up = _look_up(images, clean.size)
    features = look_up(np.zeros(1, np.int64)).size
    noisy = clean.copy()
    if rate == 0:
        return noisy
    flip_rates = _flip_rates(rate, seed, keys)
    uniforms = _uniforms(keyed_bits(stream_base(seed, _CHOICE_STREAM), keys))
    step = max(CHUNK_BYTES // (8 * features), 1)
    # A class at a time: the weights of one are small, those of 200 classes of 64 x 64 images are 4 GB.
    for label in np.flatnonzero(np.bincount(clean)):
        members = np.flatnonzero(clean == label)
        size = features * num_classes
        bits = keyed_bits(stream_base(seed, _WEIGHT_STREAM), np.arange(label * size, (label + 1) * size))
        weights = _normals(bits).reshape(features, num_classes)
        for part in np.split(members, range(step, members.size, step)):
            pixels = np.ascontiguousarray(look_up(part)).reshape(part.size, features)
            noisy[part] = _flip(pixels, part, int(label), weights, flip_rates[part], uniforms[part])
    return noisy


def _look_up(images: npt.ArrayLike | Images, count: int) -> Callable[[Vector], npt.NDArray[Any]]:
    if isinstance(images, Images):
        if len(images) != count:
            raise ValueError(f"each label must have an image: {count} labels, got {len(images)} images")
        return images.images
    array: npt.NDArray[Any] = np.asarray(images)
    if array.dtype.kind not in "uif" or array.shape[:1] != (count,):
        raise ValueError(f"images must be numbers, ({count}, ...), got {array.dtype} of shape {array.shape}")
    return lambda indices: array[indices]


def _flip(
    pixels: npt.NDArray[Any], part: Vector, label: int, weights: Floats, flip_rates: Floats, uniforms: Floats
) -> Vector:
    drawn = np.empty(part.size, np.int64)
    bad = run_range(
        lambda start, stop: _kernels.flip_by_image(
            pixels, label, weights, flip_rates, uniforms, drawn, start, stop
        ),
        part.size,
        available_processors(),  # an image is worth thousands of labels
    )
    if bad >= 0:
        raise ValueError(f"pixels must be finite numbers, those of image {part[bad]} are not")
    return drawn


def _flip_rates(rate: float, seed: int, keys: Vector) -> Floats:
    """Draw from normal(rate, RATE_STD) until the draw is in [0, 1]: a truncated normal, as in the
    paper.
    """
    rates = np.full(keys.size, -1.0)
    stream = _FLIP_STREAM
    while (missing := np.flatnonzero((rates < 0) | (rates > 1))).size:
        normals = _normals(keyed_bits(stream_base(seed, stream), keys[missing]))
        rates[missing] = rate + RATE_STD * normals
        stream += 1
    return rates


def _uniforms(bits: npt.NDArray[np.uint64]) -> Floats:
    uniforms: Floats = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return uniforms


def _normals(bits: npt.NDArray[np.uint64]) -> Floats:
    """Make a standard normal number of two uniform ones of 32 bits (Box and Muller, 1958)."""
    radius = np.sqrt(-2 * np.log(((bits >> np.uint64(32)) + 0.5) * 2.0**-32))
    normals: Floats = radius * np.cos(2 * np.pi * ((bits & np.uint64(0xFFFFFFFF)) + 0.5) * 2.0**-32)
    return normals
