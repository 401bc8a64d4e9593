"""The loader as docs/determinism.md tells it, slow and obvious; written from the text, never from the C++."""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch

GEOMETRY, PHOTOMETRY, ALTERNATE_FLIP, PERMUTATION, PERMUTATION_HIGH, ROTATION, WEIGHTED = range(7)
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


@dataclass
class Draw:
    top: int
    left: int
    flip: bool
    brightness: np.float32
    contrast: np.float32
    cutout_top: int
    cutout_left: int


def draw(augment, shape, seed, epoch, index, view=0):
    """One record's augmentation in one view."""
    _, height, width = shape
    rows, columns = augment.crop or (height, width)
    words = random_words(seed, epoch, index, GEOMETRY, view)
    more = random_words(seed, epoch, index, PHOTOMETRY, view)
    below = lambda word, bound: word * bound // 2**32  # noqa: E731
    unit = lambda word: (word >> 8) / 2**24  # noqa: E731
    flip = False
    if augment.flip == "random":
        flip = words[2] >= 2**31
    elif augment.flip == "alternate":
        first = random_words(seed, 0, index, ALTERNATE_FLIP, view)[0] >= 2**31
        flip = first != bool(epoch % 2)
    low, high = augment.contrast or (1.0, 1.0)
    half = augment.cutout // 2
    return Draw(
        top=below(words[0], height + 2 * augment.pad - rows + 1) - augment.pad,
        left=below(words[1], width + 2 * augment.pad - columns + 1) - augment.pad,
        flip=flip,
        brightness=np.float32(augment.brightness * (2 * unit(words[3]) - 1)),
        contrast=np.float32(low + (high - low) * unit(more[0])),
        cutout_top=below(more[1], rows) - half if augment.cutout else 0,
        cutout_left=below(more[2], columns) - half if augment.cutout else 0,
    )


def window(pixels, augment, drawn):
    """Pad, crop, flip: uint8 (C, crop height, crop width)."""
    pad = augment.pad
    rows, columns = augment.crop or pixels.shape[1:]
    mode = (
        {"mode": "reflect"} if augment.pad_mode == "reflect" else {"mode": "constant", "constant_values": 0}
    )
    padded = np.pad(pixels, ((0, 0), (pad, pad), (pad, pad)), **mode)
    top, left = drawn.top + pad, drawn.left + pad
    cropped = padded[:, top : top + rows, left : left + columns]
    return cropped[:, :, ::-1] if drawn.flip else cropped


def scale_and_shift(cropped, drawn, normalize):
    """Brightness, contrast and normalisation as one map per channel: float32 (C,) each."""
    contrast, brightness = float(drawn.contrast), float(drawn.brightness)
    channels, rows, columns = cropped.shape
    values = cropped.astype(object)
    gain = Fraction(contrast)
    offsets = []
    for plane in values:
        mean = Fraction(int(plane.sum()), rows * columns) + Fraction(brightness)
        offsets.append(Fraction(brightness) * gain + (1 - gain) * mean)
    if type(normalize).__name__ == "PerImage":
        count = channels * rows * columns
        changed = [
            gain * int(x) + offset for plane, offset in zip(values, offsets, strict=True) for x in plane.flat
        ]
        mean = sum(changed) / count
        variance = sum((x - mean) ** 2 for x in changed) / count
        std = max(math.sqrt(variance), 1 / math.sqrt(count))
        scales = [contrast / std] * channels
        shifts = [float(offset - mean) / std for offset in offsets]
    elif type(normalize).__name__ == "PerChannel":
        scales = [contrast / (255 * std) for std in normalize.std]
        shifts = [
            float(offset) / (255 * std) - mean / std
            for offset, mean, std in zip(offsets, normalize.mean, normalize.std, strict=True)
        ]
    else:
        scales, shifts = [contrast] * channels, [float(offset) for offset in offsets]
    return np.array(scales, np.float32), np.array(shifts, np.float32)


def fused(value, scale, shift):
    """value * scale + shift, rounded once to float32: the nearest of three candidates, ties to even."""
    exact = Fraction(int(value)) * Fraction(float(scale)) + Fraction(float(shift))
    near = np.float32(float(exact))
    candidates = [np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))]
    distance = lambda one: (abs(Fraction(float(one)) - exact), int(one.view(np.uint32)) & 1)  # noqa: E731
    return min(candidates, key=distance)


def image(pixels, augment, drawn, normalize, dtype, layout):
    """One finished image, as float32 values that the dtype holds exactly."""
    cropped = window(pixels, augment, drawn)
    scale, shift = scale_and_shift(cropped, drawn, normalize)
    tables = [[fused(byte, a, b) for byte in range(256)] for a, b in zip(scale, shift, strict=True)]
    out = np.stack([np.array(table)[plane] for table, plane in zip(tables, cropped, strict=True)])
    if dtype == "uint8":
        out = np.clip(np.rint(out), 0, 255)
    else:
        out = torch.from_numpy(out).to(getattr(torch, dtype)).float().numpy()
    if augment.cutout:
        top, left = drawn.cutout_top, drawn.cutout_left
        out[:, max(top, 0) : max(top + augment.cutout, 0), max(left, 0) : max(left + augment.cutout, 0)] = 0
    return out if layout == "NCHW" else out.transpose(1, 2, 0)
