"""The loader as docs/determinism.md tells it, slow and obvious; written from the text, never from the C++."""

import math
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import torch
from reference_order import (  # noqa: F401 (the orders, for tests)
    ALTERNATE_FLIP,
    COLOUR,
    ERASE,
    GEOMETRY,
    PHOTOMETRY,
    RESIZE_CROP,
    epoch_order,
    random_words,
    subset_order,
    weighted_order,
)


@dataclass
class Draw:
    top: int
    left: int
    flip: bool
    brightness: np.float32
    contrast: np.float32
    cutout_top: int
    cutout_left: int
    height: int
    width: int
    saturation: np.float32 = field(default_factory=lambda: np.float32(1))
    hue: np.float32 = field(default_factory=lambda: np.float32(0))
    grayscale: bool = False
    erase_top: int = 0
    erase_left: int = 0
    erase_height: int = 0
    erase_width: int = 0
    colour: np.ndarray = field(default_factory=lambda: np.eye(3, dtype=np.float32))


def draw(augment, shape, seed, epoch, index, view=0):
    """One record's augmentation in one view."""
    height, width = resized_size(augment, shape)
    rows, columns = augment.crop or (height, width)
    words = random_words(seed, epoch, index, GEOMETRY, view)
    more = random_words(seed, epoch, index, PHOTOMETRY, view)
    flip = False
    if augment.flip == "random":
        flip = words[2] >= 2**31
    elif augment.flip == "alternate":
        first = random_words(seed, 0, index, ALTERNATE_FLIP, view)[0] >= 2**31
        flip = first != bool(epoch % 2)
    low, high = augment.contrast or (1.0, 1.0)
    half = augment.cutout // 2
    place = lambda word, room: round(room / 2) if augment.crop_at == "center" else below(word, room + 1)  # noqa: E731
    drawn = Draw(
        top=place(words[0], height + 2 * augment.pad - rows) - augment.pad if not augment.resize_crop else 0,
        left=place(words[1], width + 2 * augment.pad - columns) - augment.pad
        if not augment.resize_crop
        else 0,
        flip=flip,
        brightness=np.float32(augment.brightness * (2 * unit(words[3]) - 1)),
        contrast=np.float32(low + (high - low) * unit(more[0])),
        cutout_top=below(more[1], rows) - half if augment.cutout else 0,
        cutout_left=below(more[2], columns) - half if augment.cutout else 0,
        height=rows,
        width=columns,
    )
    attempts = lambda stream: (random_words(seed, epoch, index, stream + i, view) for i in range(10))  # noqa: E731
    if augment.resize_crop:
        window = resize_crop_window(augment, height, width, attempts(RESIZE_CROP))
        drawn.top, drawn.left, drawn.height, drawn.width = window
    if mixes(augment) or augment.erase:
        colour = random_words(seed, epoch, index, COLOUR, view)
        low, high = augment.saturation or (1.0, 1.0)
        drawn.saturation = np.float32(low + (high - low) * unit(colour[0]))
        drawn.hue = np.float32(augment.hue * (2 * unit(colour[1]) - 1))
        drawn.grayscale = unit(colour[2]) < augment.grayscale
        if mixes(augment):
            drawn.colour = colour_matrix(drawn)
        if unit(colour[3]) < augment.erase:
            drawn.erase_top, drawn.erase_left, drawn.erase_height, drawn.erase_width = erase_rectangle(
                augment, rows, columns, attempts(ERASE)
            )
    return drawn


def expect_draw(draws, place, wanted):
    """Whether a row of a loader's draws is the wanted one, field by field."""
    assert set(draws._fields) == set(vars(wanted))
    for name, values in draws._asdict().items():
        np.testing.assert_array_equal(values[place], getattr(wanted, name), err_msg=name)


def below(word, bound):
    return word * bound // 2**32


def unit(word):
    return (word >> 8) / 2**24


def mixes(augment):
    return augment.saturation not in (None, (1.0, 1.0)) or augment.hue > 0 or augment.grayscale > 0


def resized_size(augment, shape):
    _, height, width = shape
    if augment.resize is None:
        return height, width
    if isinstance(augment.resize, int):
        return tuple(augment.resize * side // min(height, width) for side in (height, width))
    return augment.resize


def area_and_ratio(scale, ratio, words):
    """A random part of the area, and a ratio that is uniform in its logarithm."""
    area = scale[0] + (scale[1] - scale[0]) * unit(words[0])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    return area, math.exp(low + (high - low) * unit(words[1]))


def resize_crop_window(augment, height, width, attempts):
    """torchvision's RandomResizedCrop.get_params: (top, left, height, width)."""
    for words in attempts:
        area, ratio = area_and_ratio(augment.resize_crop, augment.ratio, words)
        target = height * width * area
        columns, rows = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
        if 0 < columns <= width and 0 < rows <= height:
            return below(words[2], height - rows + 1), below(words[3], width - columns + 1), rows, columns
    rows, columns = height, width
    if width / height < augment.ratio[0]:
        rows = min(max(round(width / augment.ratio[0]), 1), height)
    elif width / height > augment.ratio[1]:
        columns = min(max(round(height * augment.ratio[1]), 1), width)
    return (height - rows) // 2, (width - columns) // 2, rows, columns


def erase_rectangle(augment, rows, columns, attempts):
    """torchvision's RandomErasing.get_params: (top, left, height, width); height 0: none."""
    for words in attempts:
        area, ratio = area_and_ratio(augment.erase_scale, augment.erase_ratio, words)
        target = rows * columns * area
        height, width = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
        if height < rows and width < columns:
            return below(words[2], rows - height + 1), below(words[3], columns - width + 1), height, width
    return 0, 0, 0, 0


LUMA = (0.299, 0.587, 0.114)
HUE_SINE = (
    (0.167703, 0.329268, -0.496971),
    (-0.328131, 0.035521, 0.29261),
    (1.249733, -1.046508, -0.203224),
)


def colour_matrix(drawn):
    """Saturation, then hue, then grayscale, as one matrix: float32 (3, 3)."""
    if drawn.grayscale:
        return np.array([LUMA] * 3, np.float32)
    saturation, turn = float(drawn.saturation), 6.283185307179586 * float(drawn.hue)
    matrix = np.zeros((3, 3))
    for row in range(3):
        for column in range(3):
            for k in range(3):
                hue = LUMA[k] + math.cos(turn) * ((row == k) - LUMA[k]) + math.sin(turn) * HUE_SINE[row][k]
                saturated = (saturation if k == column else 0) + (1 - saturation) * LUMA[column]
                matrix[row, column] += hue * saturated
    return matrix.astype(np.float32)


def resize_axis(begin, length, side, resized, outputs):
    """(first neighbour, second neighbour, weight of the second in 1/2^15) of each output."""
    taps = []
    for output in range(outputs):
        if resized is None:
            wanted, low, high = begin + (output + 0.5) * (length / outputs) - 0.5, begin, begin + length - 1
        else:
            wanted, low, high = (
                begin * (side / resized) + (output + 0.5) * (side / resized) - 0.5,
                0,
                side - 1,
            )
        wanted = min(max(wanted, low), high)
        first = math.floor(wanted)
        taps.append((first, min(first + 1, high), int((wanted - first) * 32768)))
    return taps


def interpolated(a, b, weight):
    """a + (b - a) weight / 2^15, rounded: bytes times 128, as whole arrays."""
    return a + (((b - a) * weight + 2**14) >> 15)


def filter_axis(begin, length, side, resized, outputs):
    """Pillow's triangle: integers that add up to 2^14, (outputs, side)."""
    weights = np.zeros((outputs, side), np.int64)
    step = length / outputs if resized is None else side / resized
    low, high = (begin, begin + length - 1) if resized is None else (0, side - 1)
    scale = max(step, 1.0)
    for output in range(outputs):
        center = (begin if resized is None else begin * step) + (output + 0.5) * step
        first = max(low, math.floor(center - scale + 0.5))
        samples = range(first, min(high + 1, math.floor(center + scale + 0.5)))
        parts = [max(0.0, 1.0 - abs((sample - center + 0.5) / scale)) for sample in samples]
        total = 0.0
        for part in parts:
            total += part
        fixed = [math.floor(part / total * 2**14 + 0.5) for part in parts]
        fixed[fixed.index(max(fixed))] += 2**14 - sum(fixed)
        weights[output, list(samples)] = fixed
    return weights


def resized_window(pixels, augment, drawn):
    """The window of each plane, interpolated along the columns and then along the rows."""
    _, height, width = pixels.shape
    resized = resized_size(augment, pixels.shape) if augment.resize is not None else (None, None)
    rows, columns = augment.crop or (resized if augment.resize is not None else (height, width))
    if augment.antialias:
        across = filter_axis(drawn.left, drawn.width, width, resized[1], columns)
        down = filter_axis(drawn.top, drawn.height, height, resized[0], rows)
        lines = (pixels.astype(np.int64) @ across.T + 64) >> 7
        out = ((down @ lines + 2**20) >> 21).astype(np.uint8)
        return out[:, :, ::-1] if drawn.flip else out
    values = pixels.astype(np.int64) * 128
    taps = resize_axis(drawn.left, drawn.width, width, resized[1], columns)
    values = np.stack([interpolated(values[:, :, a], values[:, :, b], w) for a, b, w in taps], axis=2)
    taps = resize_axis(drawn.top, drawn.height, height, resized[0], rows)
    values = np.stack([interpolated(values[:, a], values[:, b], w) for a, b, w in taps], axis=1)
    out = ((values + 64) >> 7).astype(np.uint8)
    return out[:, :, ::-1] if drawn.flip else out


def window(pixels, augment, drawn):
    """Resize, pad, crop, flip: uint8 (C, crop height, crop width)."""
    if augment.resize is not None or augment.resize_crop:
        return resized_window(pixels, augment, drawn)
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


def mixing(cropped, drawn, normalize):
    """Photometry, mixing and normalisation, by fractions: float32 matrix (3, 3) and shift (3,)."""
    contrast, colour = (
        Fraction(float(drawn.contrast)),
        [[Fraction(float(x)) for x in row] for row in drawn.colour],
    )
    count = cropped[0].size
    planes = [[int(x) for x in plane.flat] for plane in cropped]
    offsets = [Fraction(float(drawn.brightness)) + (1 - contrast) * Fraction(sum(p), count) for p in planes]
    mixed = lambda row, values: sum(a * b for a, b in zip(row, values, strict=True))  # noqa: E731
    shifts = [mixed(row, offsets) for row in colour]
    units, origins, center = [1.0] * 3, [0.0] * 3, Fraction(0)
    if type(normalize).__name__ == "PerChannel":
        units = [255 * std for std in normalize.std]
        origins = [mean / std for mean, std in zip(normalize.mean, normalize.std, strict=True)]
    elif type(normalize).__name__ == "PerImage":
        changed = [
            contrast * mixed(row, values) + shift
            for row, shift in zip(colour, shifts, strict=True)
            for values in zip(*planes, strict=True)
        ]
        center = sum(changed) / len(changed)
        variance = sum((x - center) ** 2 for x in changed) / len(changed)
        units = [max(math.sqrt(variance), 1 / math.sqrt(3 * count))] * 3
    matrix = [[float(x * contrast) / unit for x in row] for row, unit in zip(colour, units, strict=True)]
    shift = [
        float(x - center) / unit - origin for x, unit, origin in zip(shifts, units, origins, strict=True)
    ]
    return np.array(matrix, np.float32), np.array(shift, np.float32)


def mixed_values(cropped, drawn, normalize):
    """fmaf(red, m0, fmaf(green, m1, fmaf(blue, m2, shift))) of every pixel and channel, float32."""
    matrix, shift = mixing(cropped, drawn, normalize)
    out = np.empty(cropped.shape, np.float32)
    for channel, y, x in np.ndindex(cropped.shape):
        value = shift[channel]
        for source in (2, 1, 0):
            value = fused(cropped[source, y, x], matrix[channel, source], value)
        out[channel, y, x] = value
    return out


def image(pixels, augment, drawn, normalize, dtype, layout):
    """One finished image, as float32 values that the dtype holds exactly."""
    cropped = window(pixels, augment, drawn)
    if mixes(augment):
        out = mixed_values(cropped, drawn, normalize)
    else:
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
    top, left = drawn.erase_top, drawn.erase_left
    out[:, top : top + drawn.erase_height, left : left + drawn.erase_width] = 0
    return out if layout == "NCHW" else out.transpose(1, 2, 0)
