"""Random words and orders as docs/determinism.md defines them, slow and obvious. See reference.py."""

import math

import numpy as np

GEOMETRY, PHOTOMETRY, ALTERNATE_FLIP, PERMUTATION, PERMUTATION_HIGH, ROTATION, WEIGHTED, COLOUR = range(8)
RESIZE_CROP, ERASE = 32, 64
MASK32 = 2**32 - 1


def random_words(seed, epoch, index, stream, view=0):
    """Philox4x32-10: counter (index low, index high, epoch, stream + 256 view), key (seed low, seed high)."""
    counter = [index & MASK32, index >> 32, epoch, stream + 256 * view]
    key = [seed & MASK32, seed >> 32]
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * counter[0], 2**32)
        high1, low1 = divmod(0xCD9E8D57 * counter[2], 2**32)
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0]
        key = [(key[0] + 0x9E3779B9) & MASK32, (key[1] + 0xBB67AE85) & MASK32]
    return counter


def mix(value):
    value = value * 0x9E3779B1 & MASK32
    value ^= value >> 15
    value = value * 0x85EBCA77 & MASK32
    return value ^ value >> 16


def permutation(size, seed, epoch, salt):
    """The whole keyed shuffle of 0..size-1, as a list."""
    bits = max(2, (size - 1).bit_length())
    low_bits = bits // 2
    low_mask, high_mask = 2**low_bits - 1, 2 ** (bits - low_bits) - 1
    keys = random_words(seed, epoch, salt, PERMUTATION) + random_words(seed, epoch, salt, PERMUTATION_HIGH)

    def encrypt(value):
        low, high = value & low_mask, value >> low_bits
        for even, odd in zip(keys[::2], keys[1::2], strict=True):
            high ^= mix(low ^ even) & high_mask
            low ^= mix(high ^ odd) & low_mask
        return high << low_bits | low

    def walk(position):
        value = encrypt(position)
        while value >= size:
            value = encrypt(value)
        return value

    return [walk(position) for position in range(size)]


def epoch_order(kind, size, seed, epoch, global_batch_size=1, block=1, window=1):
    """The record index at every position of an epoch."""
    if kind == "sequential":
        return list(range(size))
    if kind == "permutation":
        return permutation(size, seed, epoch, 0)
    if kind == "independent":
        draws = math.ceil(size / global_batch_size)
        return [
            index
            for draw in range(draws)
            for index in permutation(size, seed, epoch, draw + 1)[:global_batch_size]
        ]
    # quasi: rotate, cut into blocks, shuffle the full blocks, then shuffle inside each window of blocks
    rotation = random_words(seed, epoch, 0, ROTATION)[0] % size
    ring = [(rotation + place) % size for place in range(size)]
    full = size // block
    blocks = [ring[i * block : (i + 1) * block] for i in permutation(full, seed, epoch, 0)] if full else []
    row = [index for one in [*blocks, ring[full * block :]] for index in one]
    order = []
    for number, begin in enumerate(range(0, size, window)):
        part = row[begin : begin + window]
        order += [part[i] for i in permutation(len(part), seed, epoch, number + 1)]
    return order


def subset_order(kind, members, size, seed, epoch, **sizes):
    """The epoch's order of some records: as among all records, but independent draws are made among them."""
    if kind == "independent":
        members = sorted(members)
        return [members[i] for i in epoch_order(kind, len(members), seed, epoch, **sizes)]
    return [index for index in epoch_order(kind, size, seed, epoch, **sizes) if index in set(members)]


def weighted_order(weights, seed, epoch):
    """As many draws with replacement as there are weights: the places among them."""
    totals = np.cumsum(np.asarray(weights, np.float64))
    order = []
    for position in range(len(totals)):
        high, low, _, _ = random_words(seed, epoch, position, WEIGHTED)
        unit = ((high >> 5) * 2**26 + (low >> 6)) / 2**53
        order.append(next(i for i, total in enumerate(totals) if total > unit * totals[-1]))
    return order
