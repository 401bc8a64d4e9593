"""Records that show the same image: exactly, or re-encoded, mirrored, or shifted by a pixel.

Near duplicates are found in two steps. The absolute values of the lowest frequencies of the discrete cosine
transform do not see a mirror (a perceptual hash; Zauner, "Implementation and Benchmarking of Perceptual Image
Hash Functions", 2010), and a window that is moved by a pixel is the window of the moved image. A k-d tree
over these numbers, kept as numbers rather than bits, proposes pairs; the pixels decide.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from selfie_io.processors import available_processors
from selfie_io.records.split import RecordSplit

NEAR = 0.45  # of the images' contrast: of the 373 pairs found in CIFAR-10, looked at, about 5 show two images
# (down, right). The others are these, seen from the other image; (0, -1) is for mirrored ones.
_WINDOWS = ((0, 0), (0, 1), (1, 0), (1, 1), (1, -1), (0, -1))
_FREQUENCIES = 4
_TREE_DIMENSIONS, _TREE_LEAF = 10, 64  # measured on CIFAR-10; they change the time alone
# How far the numbers of one image may move when it is encoded again: brightness, two colour differences (in
# levels), log contrast, and amplitudes (in units of the contrast); and all of them together, in these units.
# At quality 50, 25,000 images of CIFAR-10 all moved less, and their pixels differed by less than NEAR.
_TOLERANCES = np.array([3.1, 6.25, 6.25, 0.25] + [0.075] * (_FREQUENCIES**2 - 1), np.float32)
_DISTANCE = 1.65
_COLOUR_LOSS = 0.1  # colours may differ by this much more than brightness: JPEG halves their resolution
_FLAT = 2.0  # levels of contrast, below which noise alone is seen
_CHUNK_BYTES = 1 << 25
_QUERIES = 4096
# Images that are alike by nature (trousers, handwritten ones) have many near ones at nearly one distance; a
# duplicate is much nearer than all but a few. Below _PLAIN, nothing else was ever seen.
_CROWD = 8
_PLAIN = 0.1
_PAIRS_PER_RECORD = 0.5  # more pairs than this tell that `near` is too wide for the set

Images = Callable[[npt.NDArray[np.int64]], npt.NDArray[np.uint8]]
Advance = Callable[[int], None]
# What shows the progress of a step, by its name and its number of records.
ShowProgress = Callable[[str, int], AbstractContextManager[Advance]]


def no_progress(what: str, total: int) -> AbstractContextManager[Advance]:  # noqa: ARG001
    """Show nothing."""
    return nullcontext(lambda steps: None)  # noqa: ARG005


@dataclass(frozen=True)
class Duplicates:
    """Pairs of records that show the same image, m of them; first < second, in order of (first, second).

    difference: float32 (m,), root mean square of the pixels' difference in units of the contrast, 0 if exact
    flat: int64, records whose contrast is below two levels; they are compared exactly alone
    constant: int64, those of them whose channels hold one value each
    """

    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    exact: npt.NDArray[np.bool_]
    difference: npt.NDArray[np.float32]
    flat: npt.NDArray[np.int64]
    constant: npt.NDArray[np.int64]


def images_of(splits: Sequence[RecordSplit]) -> tuple[int, Images]:
    """The number of records of several splits, and what reads them as one row of positions."""
    starts = np.cumsum([0, *(len(split) for split in splits)])

    def read(positions: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        pixels = np.empty((len(positions), *splits[0].layout.shape), np.uint8)
        for split, start, stop in zip(splits, starts, starts[1:], strict=False):
            here = (positions >= start) & (positions < stop)
            if here.any():
                pixels[here] = split.images(positions[here] - start)
        return pixels

    return int(starts[-1]), read


def find_duplicates(
    count: int, images: Images, *, near: float = NEAR, progress: ShowProgress = no_progress
) -> Duplicates:
    """Find the pairs among `count` records that `images` reads, uint8 (n, C, H, W), by positions 0..count-1.

    Of records that are equal byte for byte, the first is paired with each other one, and stands for all of
    them in the search for near duplicates: pairs whose pixels differ by less than `near` times their contrast
    after the best mirror (none, left-right, upside-down or both) and a shift by at most one pixel.
    near=0 leaves that search out; it needs SciPy. `progress` shows the two steps, read and compare.
    """
    digests = np.empty((count, 2), np.uint64)
    contrast = np.empty(count, np.float32)
    constant = []
    features = np.empty((0, 0, 0), np.float32)
    threads = available_processors()
    with progress("read", count) as advance, ThreadPoolExecutor(threads) as pool:
        pending: deque[tuple[npt.NDArray[np.int64], Future[npt.NDArray[np.float32]]]] = deque()

        def take_first() -> None:
            nonlocal features
            positions, one = pending.popleft()
            found = one.result()
            if not len(features):
                features = np.empty((count, *found.shape[1:]), np.float32)
            features[positions] = found

        for positions, pixels in _chunks(np.arange(count), images):
            flat_pixels = pixels.reshape(len(pixels), pixels.shape[1], -1)
            constant.append(positions[(flat_pixels.max(2) == flat_pixels.min(2)).all(1)])
            told = b"".join(
                hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in flat_pixels
            )
            digests[positions] = np.frombuffer(told, np.uint64).reshape(-1, 2)
            contrast[positions] = flat_pixels.std(2, dtype=np.float32).mean(1)
            if near > 0 and min(pixels.shape[2:]) > _FREQUENCIES + 2:
                pending.append((positions, pool.submit(_features, pixels)))
            if len(pending) > 2 * threads:
                take_first()
            advance(len(positions))
        while pending:
            take_first()
    owners = _owners(digests)
    second = np.flatnonzero(owners != np.arange(count))
    pairs = np.stack([owners[second], second], 1)
    differences = np.zeros(len(pairs), np.float32)
    exact = np.ones(len(pairs), bool)
    if len(features):
        ones = np.setdiff1d(np.unique(owners), np.flatnonzero(contrast < _FLAT))
        if len(ones) < count:
            features = features[ones]
        with progress("compare", len(_WINDOWS) * len(ones)) as advance:
            near_pairs, near_differences = _near_pairs(features, ones, images, near, advance)
        pairs = np.concatenate([pairs, near_pairs])
        differences = np.concatenate([differences, near_differences])
        exact = np.concatenate([exact, np.zeros(len(near_pairs), bool)])
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return Duplicates(
        pairs[order, 0],
        pairs[order, 1],
        exact[order],
        differences[order],
        np.flatnonzero(contrast < _FLAT),
        np.concatenate(constant) if constant else np.zeros(0, np.int64),
    )


def _owners(digests: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """For each row of (n, 2) the first position with the same two numbers, int64 (n,)."""
    order = np.lexsort((digests[:, 1], digests[:, 0]))  # stable: of equals the first position comes first
    ordered = digests[order]
    begins = np.ones(len(order), bool)
    begins[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    owners = np.empty(len(order), np.int64)
    owners[order] = order[np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))]
    return owners


def pixel_difference(
    one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8], window: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """How much pairs of images (b, C, H, W) differ at the best mirror, float32 (b,), in units of contrast.

    `one` without its border of a pixel is held against `other` without its border, moved by `window`: their
    brightness, and their channels less `_COLOUR_LOSS`, whichever differs more.
    """
    height, width = one.shape[2:]
    down, right = window
    a = one[:, :, 1 : height - 1, 1 : width - 1].astype(np.float32)
    b = other[:, :, 1 + down : height - 1 + down, 1 + right : width - 1 + right].astype(np.float32)
    differences = _least_difference(a, b)
    if a.shape[1] > 1:
        weights = _weights(a.shape[1])
        grey = [np.einsum("c,nchw->nhw", weights, side)[:, np.newaxis] for side in (a, b)]
        differences = np.maximum(_least_difference(*grey), differences - _COLOUR_LOSS)
    return differences


def _least_difference(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The root mean square of a - b (n, C, H, W) at the best mirror in units of contrast, float32 (n,)."""
    contrast = np.sqrt((a.var((2, 3)).mean(1) + b.var((2, 3)).mean(1)) / 2)
    mirrored = (b, b[:, :, :, ::-1], b[:, :, ::-1], b[:, :, ::-1, ::-1])
    squares = np.min([((a - seen) ** 2).mean((1, 2, 3)) for seen in mirrored], axis=0)
    differences: npt.NDArray[np.float32] = (np.sqrt(squares) / (contrast + _FLAT)).astype(np.float32)
    return differences


def _weights(channels: int) -> npt.NDArray[np.float32]:
    """What each channel adds to the brightness; they sum to 1."""
    return np.array([0.299, 0.587, 0.114] if channels == 3 else [1 / channels] * channels, np.float32)


def _chunks(
    positions: npt.NDArray[np.int64], images: Images
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]]:
    if not len(positions):
        return
    record_bytes = images(positions[:1]).size
    step = max(1, _CHUNK_BYTES // (8 * record_bytes))
    for begin in range(0, len(positions), step):
        chosen = positions[begin : begin + step]
        yield chosen, images(chosen)


def _basis(length: int) -> npt.NDArray[np.float32]:
    """The lowest cosines over a window of length - 2 that begins at 0, 1 and 2, side by side."""
    size = length - 2
    frequencies = np.arange(_FREQUENCIES)[:, None]
    cosines = np.cos(np.pi * (np.arange(size) + 0.5) * frequencies / size) * np.sqrt(2) / size
    cosines[0] = 1 / size
    columns = np.zeros((length, 3 * _FREQUENCIES), np.float32)
    for start in range(3):
        columns[start : start + size, start * _FREQUENCIES : (start + 1) * _FREQUENCIES] = cosines.T
    return columns


def _features(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """What the tree compares, in units of the tolerances: float32 (n, windows, numbers)."""
    count, channels, height, width = pixels.shape
    values = pixels.astype(np.float32)
    rows = (values.reshape(-1, width) @ _basis(width)).reshape(count, channels, height, -1)
    both = np.ascontiguousarray(rows.swapaxes(2, 3)).reshape(-1, height) @ _basis(height)
    waves = both.reshape(count, channels, 3, _FREQUENCIES, 3, _FREQUENCIES)
    weights = _weights(channels)
    grey = np.einsum("c,nchw->nhw", weights, values)
    found = []
    for down, right in _WINDOWS:
        amplitudes = waves[:, :, 1 + right, :, 1 + down, :]
        mean = amplitudes[:, :, 0, 0]
        contrast = grey[:, 1 + down : height - 1 + down, 1 + right : width - 1 + right].std((1, 2))
        lowest = np.abs(np.einsum("c,ncuv->nuv", weights, amplitudes)).reshape(count, -1)[:, 1:]
        found.append(
            np.concatenate(
                [
                    (mean @ weights)[:, None],
                    (mean[:, 0] - mean[:, 1 % channels])[:, None],
                    (mean[:, -1] - mean[:, 1 % channels])[:, None],
                    np.log(contrast + 1)[:, None],
                    lowest / (contrast[:, None] + _FLAT),
                ],
                axis=1,
            )
        )
    return (np.stack(found, axis=1) / _TOLERANCES).astype(np.float32)


def _near_pairs(
    features: npt.NDArray[np.float32],
    positions: npt.NDArray[np.int64],
    images: Images,
    near: float,
    advance: Advance,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Near pairs among the records at `positions` (n,), whose features are (n, windows, numbers)."""
    try:
        from scipy.spatial import cKDTree
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "near duplicates need SciPy: pip install 'selfie-io[sources]', or ask for exact ones: --near 0"
        ) from error
    tree = cKDTree(features[:, 0, :_TREE_DIMENSIONS], leafsize=_TREE_LEAF)
    best: dict[tuple[int, int], float] = {}
    for number, window in enumerate(_WINDOWS):
        for begin in range(0, len(positions), _QUERIES):
            queries = features[begin : begin + _QUERIES, number]
            found = tree.query_ball_point(
                queries[:, :_TREE_DIMENSIONS], 1.0, p=np.inf, workers=-1, return_sorted=False
            )
            lengths = np.fromiter(map(len, found), np.int64, len(found))
            moved = np.repeat(np.arange(begin, begin + len(found)), lengths)
            still = np.concatenate([np.array(one, np.int64) for one in found]) if len(moved) else moved
            other = still < moved if number == 0 else still != moved
            still, moved = still[other], moved[other]
            apart = np.abs(features[still, 0] - features[moved, number])
            alike = (apart.max(axis=1) <= 1) & (np.square(apart).sum(axis=1) <= _DISTANCE**2)
            still, moved = positions[still[alike]], positions[moved[alike]]
            for at, chosen in _chunks(np.arange(len(still)), lambda rows, s=still: images(s[rows])):  # type: ignore[misc]
                differences = pixel_difference(chosen, images(moved[at]), window)
                for row in np.flatnonzero(differences < near):
                    one, two = int(still[at[row]]), int(moved[at[row]])
                    pair = (min(one, two), max(one, two))
                    best[pair] = min(best.get(pair, np.inf), float(differences[row]))
            while len(best) > _PAIRS_PER_RECORD * len(positions) + 1000:
                near *= 0.8  # the images are alike by nature
                best = {pair: difference for pair, difference in best.items() if difference < near}
            advance(len(queries))
    pairs = np.array(sorted(best), np.int64).reshape(-1, 2)
    differences = np.array([best[one, two] for one, two in pairs.tolist()], np.float32)
    stand_out = ~_crowded(pairs, differences) | (differences < _PLAIN)
    return pairs[stand_out], differences[stand_out]


def _crowded(pairs: npt.NDArray[np.int64], differences: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Which pairs (m, 2) are nothing special: a record of theirs has many others that are half as near."""
    records = pairs.T.ravel()
    both = np.concatenate([differences, differences])
    order = np.lexsort((both, records))
    ranks = records[order] * 16.0 + both[order]  # sorted; a difference is below 1
    starts = np.searchsorted(records[order], pairs)
    others = np.searchsorted(ranks, pairs * 16.0 + 2 * differences[:, None].astype(np.float64)) - starts - 1
    return np.asarray(others.max(axis=1, initial=0) > _CROWD)
