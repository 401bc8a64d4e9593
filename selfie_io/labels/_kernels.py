"""The loops over labels that NumPy cannot say in one pass, compiled by numba on first use, cached
on disk.

Nothing is checked here but what memory safety and the caller's errors need. The kernels release the
GIL and work on a range, so that plain threads share the work: numba's own thread pools do not
survive a fork.
"""
# mypy: allow-untyped-defs, no-check-untyped-defs

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop on first use: without the GIL, and cached where a folder can keep the cache."""
    try:
        compiled: Callable[..., Any] = njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither the package's folder nor the user's can keep the cache
        compiled = njit(nogil=True)(function)
    return compiled


# The generator is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA
# 2014): draw number `key` of the sequence that starts at `base`. It is a bijection of the key.
@kernel
def _draw(base, key):
    bits = base + (key + np.uint64(1)) * _GOLDEN
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


@kernel
def draw_bits(base, keys, bits):
    """Fill `bits` (uint64) with the draw of each key (int64)."""
    for i in range(keys.size):
        bits[i] = _draw(base, np.uint64(keys[i]))


@kernel
def alias_tables(weights, table):
    """Build the alias table of each row of `weights`: int64 (k, k), rows of sum k * 2^32; they are
    used up.

    Vose, "A linear algorithm for generating random numbers with a given distribution" (1991), in
    integers: nothing is lost to rounding, so a class of weight 0 is never drawn.
    """
    num_classes = weights.shape[0]
    full = np.int64(1) << 32
    waiting = np.empty(num_classes, np.int64)  # columns below full from the left, the others from the right
    for row in range(num_classes):
        below, others = 0, num_classes
        for column in range(num_classes):
            table[row * num_classes + column] = column
            if weights[row, column] < full:
                waiting[below] = column
                below += 1
            else:
                others -= 1
                waiting[others] = column
        while below > 0:
            below -= 1
            column, donor = waiting[below], waiting[others]
            table[row * num_classes + column] = weights[row, column] << 32 | donor
            weights[row, donor] -= full - weights[row, column]
            if weights[row, donor] < full:
                others += 1
                waiting[below] = donor
                below += 1


@kernel
def inject(base, table, num_classes, labels, keys, first, noisy):
    """Draw `noisy` from the alias tables of the labels' classes.

    `table[label * num_classes + column]` holds a 32-bit threshold (high half) and the alias (low
    half). No `keys` means first, first + 1, ... Returns the first position whose label is no class,
    or -1.
    """
    classes = np.uint64(num_classes)
    counting = keys.size == 0
    key = np.uint64(first)
    # Slices from 0 on rather than a range of the whole: so LLVM knows that no index is negative.
    for i in range(labels.size):
        label = np.uint64(labels[i])
        if label >= classes:
            return i
        if not counting:
            key = np.uint64(keys[i])
        bits = _draw(base, key)
        key += np.uint64(1)
        column = ((bits >> _HALF) * classes) >> _HALF
        entry = table[label * classes + column]
        noisy[i] = column if (bits & _LOW) < (entry >> _HALF) else entry & _LOW
    return -1


@kernel
def record_votes(ring, visits, sums, majorities, table, scratch, prefilled, indices, predicted):
    """Append `predicted` to the rings of `indices` in order, keeping sums and majorities up to
    date.

    `scratch` holds num_classes zeros and is left so. Returns the first position whose index or
    class is out of range, before anything is changed, or -1.
    """
    num_samples, length = ring.shape
    for i in range(indices.size):
        if not 0 <= indices[i] < num_samples or not 0 <= predicted[i] < scratch.size:
            return i
    for i in range(indices.size):
        index, new = indices[i], predicted[i]
        visit = np.int64(visits[index])
        visits[index] = visit + 1
        filled = length if prefilled or visit > length else visit
        slot = visit % length
        old = np.int64(ring[index, slot])
        evicts = filled == length
        if evicts and old == new:
            continue
        majority = np.int64(majorities[index])
        count_new = count_old = count_majority = 0
        for j in range(filled):
            vote = np.int64(ring[index, j])
            count_new += vote == new
            count_old += vote == old
            count_majority += vote == majority
        ring[index, slot] = new
        total = sums[index] + table[count_new + 1] - table[count_new]
        if evicts:
            total += table[count_old - 1] - table[count_old]
        sums[index] = total
        if evicts and old == majority:
            majorities[index] = _majority(ring, index, filled, scratch)
        elif count_new + 1 > count_majority or (count_new + 1 == count_majority and new < majority):
            majorities[index] = new
    return -1


@kernel
def _majority(ring, index, filled, scratch):
    best = best_count = 0
    for j in range(filled):
        vote = np.int64(ring[index, j])
        count = scratch[vote] + 1
        scratch[vote] = count
        if count > best_count or (count == best_count and vote < best):
            best, best_count = vote, count
    for j in range(filled):
        scratch[ring[index, j]] = 0
    return best


@kernel
def rebuild_votes(ring, visits, sums, majorities, table, scratch, prefilled):
    """Compute sums and majorities from the rings alone."""
    num_samples, length = ring.shape
    for index in range(num_samples):
        filled = length if prefilled or visits[index] > length else np.int64(visits[index])
        majorities[index] = _majority(ring, index, filled, scratch)
        total = np.int64(0)
        for j in range(filled):
            scratch[ring[index, j]] += 1
        for j in range(filled):
            total += table[scratch[ring[index, j]]]
            scratch[ring[index, j]] = 0
        sums[index] = total


@kernel
def count_votes(ring, visits, prefilled, indices, counts):
    """Count the votes of each class of `indices` into `counts`, which holds zeros."""
    length = ring.shape[1]
    for i in range(indices.size):
        index = indices[i]
        filled = length if prefilled or visits[index] > length else np.int64(visits[index])
        for j in range(filled):
            counts[i, ring[index, j]] += 1


@kernel
def vote_entropy(visits, sums, table, units, prefilled, indices, entropy, start, stop):
    """Fill `entropy[start:stop]` from the sums; no `indices` means every sample.

    Returns the first position whose index is out of range, or -1.
    """
    length = table.size - 1
    everyone = indices.size == 0
    for i in range(start, stop):
        index = i if everyone else indices[i]
        if not 0 <= index < sums.size:
            return i
        filled = length if prefilled or visits[index] > length else np.int64(visits[index])
        value = (table[filled] - sums[index]) * units[filled]
        entropy[i] = value if filled > 0 and value < 1.0 else 1.0
    return -1


@kernel
def gather(values, indices, gathered, start, stop):
    """Fill `gathered[start:stop]` with the values of `indices`, as `vote_entropy` does."""
    everyone = indices.size == 0
    for i in range(start, stop):
        index = i if everyone else indices[i]
        if not 0 <= index < values.size:
            return i
        gathered[i] = values[index]
    return -1


# Welford, "Note on a method for calculating corrected sums of squares and products" (1962).
@kernel
def record_moments(counts, means, squares, indices, values):
    """Add one value a time to the mean and the sum of squared deviations of its index, in order.

    Returns the first position whose index or value is out of range, before anything is changed, or
    -1.
    """
    for i in range(indices.size):
        if not 0 <= indices[i] < counts.size or not 0.0 <= values[i] <= 1.0:
            return i
    for i in range(indices.size):
        index = indices[i]
        counts[index] += 1
        deviation = values[i] - means[index]
        means[index] += deviation / counts[index]
        squares[index] += deviation * (values[i] - means[index])
    return -1


@kernel
def flip_by_image(pixels, label, weights, flip_rates, uniforms, noisy, start, stop):
    """Draw `noisy[start:stop]` for images (n, F) of one class from softmax(image @ weights (F, k)).

    An image is standardised over all its pixels; sums are in float64 and in order, so that an
    image's draw does not depend on its neighbours. Returns the first position whose pixels are not
    finite, or -1.
    """
    size, num_classes = weights.shape
    scores = np.empty(num_classes)
    for i in range(start, stop):
        mean = 0.0
        for j in range(size):
            mean += pixels[i, j]
        mean /= size
        square = 0.0
        for j in range(size):
            square += (pixels[i, j] - mean) * (pixels[i, j] - mean)
        if not math.isfinite(square):
            return i
        scale = math.sqrt(size / (square if square > 1.0 else 1.0))  # the deviation is at least 1 / sqrt(F)
        for k in range(num_classes):
            scores[k] = 0.0
        for j in range(size):
            value = (pixels[i, j] - mean) * scale
            for k in range(num_classes):
                scores[k] += value * weights[j, k]
        highest = -math.inf
        for k in range(num_classes):
            if k != label and scores[k] > highest:
                highest = scores[k]
        total = 0.0
        for k in range(num_classes):
            scores[k] = math.exp(scores[k] - highest) if k != label else 0.0
            total += scores[k]
        # Of the draw's range, [0, 1 - flip rate) keeps the label and the classes share the rest.
        kept = 1.0 - flip_rates[i]
        noisy[i] = label
        if uniforms[i] >= kept:
            left = (uniforms[i] - kept) / flip_rates[i] * total
            for k in range(num_classes):
                if scores[k] > 0.0:
                    noisy[i] = k
                    left -= scores[k]
                    if left < 0.0:
                        break
    return -1
