"""The pixel work of the native core in torch, for backends whose pixels are on another device.

The results equal the native core's bit for bit, on every device (docs/gpu.md says why).
"""

import math
import os
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from selfie_io.loading.augment import crop_size, resized_size
from selfie_io.loading.batch import Batch
from selfie_io.loading.options import PerChannel, PerImage
from selfie_io.loading.reader import Draws, Reader, Records
from selfie_io.loading.torch_colour import Mixing, cross_sums
from selfie_io.loading.torch_resize import resize

UNSHARED_VALUES = 32767  # torch's threads share loops of one more

_PROCESS = os.getpid()


def check_not_forked() -> None:
    """Raise RuntimeError in a child forked after this module was loaded.

    torch's threads do not exist there, and its next parallel loop would wait for them for ever.
    """
    if os.getpid() != _PROCESS:
        raise RuntimeError(
            'backend="dali" and "resident" do not survive a fork: start the process by "spawn", '
            'or use backend="native"'
        )


class RecordNumbers(NamedTuple):
    """The n records of a batch without their pixels, (n,) each, on one device.

    int64; brightness, contrast and colour are float64, colour (9, n)
    """

    labels: torch.Tensor
    record_ids: torch.Tensor
    indices: torch.Tensor
    top: torch.Tensor
    left: torch.Tensor
    flip: torch.Tensor
    cutout_top: torch.Tensor
    cutout_left: torch.Tensor
    height: torch.Tensor
    width: torch.Tensor
    erase_top: torch.Tensor
    erase_left: torch.Tensor
    erase_height: torch.Tensor
    erase_width: torch.Tensor
    brightness: torch.Tensor
    contrast: torch.Tensor
    colour: torch.Tensor


def number_table(records: Records, draws: Draws) -> npt.NDArray[np.int64]:
    """The RecordNumbers of one view of a batch as the rows of one table, which one copy moves to a device.

    The float64 rows are stored as their bits.
    """
    stored = (records.labels, records.record_ids, records.indices)
    geometry = (draws.top, draws.left, draws.flip, draws.cutout_top, draws.cutout_left)
    erase = (draws.erase_top, draws.erase_left, draws.erase_height, draws.erase_width)
    numbers = (draws.brightness, draws.contrast, *draws.colour.reshape(-1, 9).T)
    photometry = (values.astype(np.float64).view(np.int64) for values in numbers)
    return np.stack([*stored, *geometry, draws.height, draws.width, *erase, *photometry])


def unpack(table: torch.Tensor) -> RecordNumbers:
    """The rows of a number_table, as views of it."""
    *rows, brightness, contrast = table[:-9].unbind()
    return RecordNumbers(*rows, *(bits.view(torch.float64) for bits in (brightness, contrast, table[-9:])))


class TorchPixels:
    """What happens to the images of one loader, on one device; RuntimeError in a forked child."""

    def __init__(self, reader: Reader, device: torch.device) -> None:
        check_not_forked()
        self._options = reader.options
        self._augment = reader.options.augment
        self._layout = reader.split.layout
        self._device = device
        self._rows, self._columns = crop_size(self._augment, self._layout)
        self._resized = resized_size(self._augment, self._layout) if self._augment.resize else None
        self._dtype: torch.dtype = getattr(torch, self._options.dtype)
        self._channels_last = self._options.layout == "NHWC"
        self._keeps_bytes = (
            self._options.normalize is None
            and not self._augment.brightness
            and not self._augment.contrast
            and not self._augment.mixes_channels
        )
        self._addcmul_is_fused = _addcmul_is_fused(device)
        if isinstance(self._options.normalize, PerChannel):
            mean, std = (
                torch.tensor(values, dtype=torch.float64)
                for values in (self._options.normalize.mean, self._options.normalize.std)
            )
            self._unit, self._mean_in_units = (255 * std).to(device), (mean / std).to(device)
        self._constant_scale_and_shift: tuple[torch.Tensor, torch.Tensor] | None = None
        if isinstance(self._options.normalize, PerChannel) and not (
            self._augment.brightness or self._augment.contrast
        ):
            # Laid out like an image, so that torch's loop uses vectors.
            scale, shift = ((1 / self._unit).float()[None], (-self._mean_in_units).float()[None])
            plane = (1, self._rows, 1) if self._channels_last else (1, 1, self._rows, self._columns)
            self._constant_scale_and_shift = (
                self._spread(scale).repeat(plane),
                self._spread(shift).repeat(plane),
            )

    def batch(self, pixels: torch.Tensor, records: Records, *, are_windows: bool) -> Batch:
        """The batch of images uint8 (n, C, H, W), contiguous, on the device; they are overwritten.

        are_windows: the images are padded, cropped and flipped already
        """
        views = [self.send(records, draws) for draws in records.draws]
        if len(views) == 1:
            images = self.finish(pixels if are_windows else self.cut(pixels, views[0]), views[0])
        else:
            images = torch.stack([self.finish(self.cut(pixels.clone(), view), view) for view in views])
        numbers = views[0]
        batch = Batch(images, numbers.labels, numbers.record_ids, numbers.indices)
        if self._options.pin_memory and self._device.type == "cpu":
            batch = batch.pin_memory()
        return batch

    def send(self, records: Records, draws: Draws) -> RecordNumbers:
        """Copy the records' numbers to the device."""
        check_not_forked()
        numbers = torch.from_numpy(number_table(records, draws))
        if self._device.type == "cuda":
            numbers = numbers.pin_memory()  # or the copy would wait for the work before it
        return unpack(numbers.to(self._device, non_blocking=True))

    def cut(self, pixels: torch.Tensor, numbers: RecordNumbers) -> torch.Tensor:
        """Resize, pad, crop and flip: uint8 (n, C, H, W) -> uint8 (n, C, h, w), contiguous."""
        if self._augment.resizes:
            windows = (numbers.top, numbers.left, numbers.height, numbers.width, numbers.flip)
            size, antialias = (self._rows, self._columns), self._augment.antialias
            return resize(pixels, *windows, resized=self._resized, size=size, antialias=antialias)
        augment, height, width = self._augment, self._layout.height, self._layout.width
        if augment.pad or augment.flip != "none" or (self._rows, self._columns) != (height, width):
            y = torch.arange(self._rows, device=self._device)
            x = torch.arange(self._columns, device=self._device)
            rows = numbers.top[:, None] + y
            flipped = numbers.flip[:, None].bool()
            columns = numbers.left[:, None] + torch.where(flipped, self._columns - 1 - x, x)
            outside = None
            if augment.pad and augment.pad_mode == "reflect":
                rows, columns = _reflect(rows, height), _reflect(columns, width)
            elif augment.pad:
                row_outside = (rows < 0) | (rows >= height)
                outside = row_outside[:, :, None] | ((columns < 0) | (columns >= width))[:, None, :]
                rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
            places = ((rows * width)[:, :, None] + columns[:, None, :]).flatten(1)
            planes = pixels.flatten(2)
            planes = planes.gather(2, places[:, None].expand(-1, self._layout.channels, -1))
            pixels = planes.view(*planes.shape[:2], self._rows, self._columns)
            if outside is not None:
                pixels = pixels.masked_fill_(outside[:, None], 0)
        return pixels

    def finish(self, pixels: torch.Tensor, numbers: RecordNumbers) -> torch.Tensor:
        """Layout, brightness, contrast, normalisation, dtype and cutout of cut images.

        pixels: uint8 (n, C, h, w), contiguous; they are overwritten
        """
        if self._augment.mixes_channels:
            images = self._mix(pixels, numbers)
            if self._channels_last:
                images = images.permute(0, 2, 3, 1).contiguous()
            return self._clear(images, numbers)
        if self._channels_last:
            pixels = pixels.permute(0, 2, 3, 1).contiguous()
        if self._keeps_bytes:
            images = pixels.to(self._dtype)
        else:
            scale, shift = self._constant_scale_and_shift or map(
                self._spread, self._scale_and_shift(pixels, numbers)
            )
            images = self._apply(pixels, scale, shift)
        return self._clear(images, numbers)

    def _clear(self, images: torch.Tensor, numbers: RecordNumbers) -> torch.Tensor:
        """Cutout and erase."""
        if self._augment.cutout:
            side = torch.full_like(numbers.cutout_top, self._augment.cutout)
            images = images.masked_fill_(self._inside(numbers.cutout_top, numbers.cutout_left, side, side), 0)
        if self._augment.erase:
            rectangle = (numbers.erase_top, numbers.erase_left, numbers.erase_height, numbers.erase_width)
            images = images.masked_fill_(self._inside(*rectangle), 0)
        return images

    def _mix(self, pixels: torch.Tensor, numbers: RecordNumbers) -> torch.Tensor:
        """Brightness to normalisation and dtype where channels are mixed: (n, 3, h, w)."""
        normalize = self._options.normalize
        sums = squares = cross = torch.zeros((len(pixels), 3), dtype=torch.float64, device=self._device)
        if self._augment.contrast or isinstance(normalize, PerImage):
            sums, squares = self._sums(pixels, channels_last=False)
        if isinstance(normalize, PerImage):
            cross = cross_sums(pixels)
        unit = origin = None
        if isinstance(normalize, PerChannel):
            unit, origin = self._unit, self._mean_in_units
        count = self._rows * self._columns
        mixing = Mixing(numbers.colour, numbers.contrast, numbers.brightness, sums, count)
        if isinstance(normalize, PerImage):
            matrix, shift = mixing.per_image(squares, cross)
        else:
            matrix, shift = mixing.per_channel(unit, origin)
        channels = []
        for channel in range(3):
            values = shift[:, channel, None, None]
            for source in (2, 1, 0):
                factor = matrix[:, channel, source, None, None]
                values = multiply_add(pixels[:, source], factor, values, self._addcmul_is_fused)
            channels.append(self._convert(values))
        return torch.stack(channels, dim=1)

    def _scale_and_shift(
        self, pixels: torch.Tensor, numbers: RecordNumbers
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The scale and shift of every image and channel, float32 (n, C) each.

        The formulas are those of compose_scale_and_shift() in csrc/augment.cpp, operation by operation,
        in float64.
        """
        normalize, channels = self._options.normalize, self._layout.channels
        count = self._rows * self._columns
        contrast, brightness = numbers.contrast[:, None], numbers.brightness[:, None]
        scale, shift = contrast, torch.zeros_like(brightness)
        if self._augment.contrast or isinstance(normalize, PerImage):
            sums, squares = self._sums(pixels, channels_last=self._channels_last)
            shift = (1 - contrast) * (sums / count)
        if not isinstance(normalize, PerImage):
            shift = shift + brightness
        if isinstance(normalize, PerChannel):
            scale, shift = contrast / self._unit, shift / self._unit - self._mean_in_units
        if isinstance(normalize, PerImage):
            mean = sums.sum(1, keepdim=True) / (count * channels)
            in_channels = (count * squares.long() - sums.long() ** 2).double()
            distances = sums / count - mean
            within = between = torch.zeros_like(mean)
            for channel in range(channels):  # in the core's order: these sums may round
                within = within + in_channels[:, channel, None]
                between = between + (distances * distances)[:, channel, None]
            variance = (contrast * contrast * within / (count * count) + between) / channels
            std = variance.sqrt().clamp(min=1 / math.sqrt(count * channels))
            scale, shift = contrast / std, (shift - mean) / std
        size = (len(pixels), channels)
        return scale.float().expand(size), shift.float().expand(size)

    def _sums(self, pixels: torch.Tensor, *, channels_last: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Sum and sum of squares of every image and channel, float64 (n, C): exact, being below 2^53."""
        size, axis = (len(pixels), self._layout.channels), 1 if channels_last else 2
        sums, squares = (pixels.new_empty(size, dtype=torch.float64) for _ in range(2))
        for part in _parts(pixels):
            values = pixels[part].flatten(axis, axis + 1).double()
            sums[part] = values.sum(axis)
            squares[part] = torch.linalg.vecdot(values, values, dim=axis)
        return sums, squares

    def _spread(self, values: torch.Tensor) -> torch.Tensor:
        """(n, C) values over their images: over whole rows in NHWC, where loops over a pixel are short."""
        return values.repeat(1, self._columns)[:, None] if self._channels_last else values[:, :, None, None]

    def _apply(self, pixels: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        """fmaf(pixel, scale, shift), then rounded to the dtype."""
        rows = pixels.flatten(2) if self._channels_last else pixels
        return self._convert(multiply_add(rows, scale, shift, self._addcmul_is_fused).view(pixels.shape))

    def _convert(self, values: torch.Tensor) -> torch.Tensor:
        """Round to the dtype."""
        if self._dtype == torch.uint8:
            values = values.clamp_(0, 255).round_()
        return values.to(self._dtype)

    def _inside(
        self, top: torch.Tensor, left: torch.Tensor, height: torch.Tensor, width: torch.Tensor
    ) -> torch.Tensor:
        """True inside a rectangle of each image: (n, 1, h, w) or (n, h, w, 1)."""
        y = torch.arange(self._rows, device=self._device) - top[:, None]
        x = torch.arange(self._columns, device=self._device) - left[:, None]
        rows = ((y >= 0) & (y < height[:, None]))[:, :, None]
        inside = rows & ((x >= 0) & (x < width[:, None]))[:, None, :]
        return inside.unsqueeze(-1 if self._channels_last else 1)


def _reflect(place: torch.Tensor, side: int) -> torch.Tensor:
    """Without repeating the edge: -1 is 1, side is side - 2."""
    return (side - 1) - ((side - 1) - place.abs()).abs()


def multiply_add(
    pixels: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, addcmul_is_fused: bool
) -> torch.Tensor:
    """pixels * scale + shift with one rounding to float32, for uint8 pixels.

    Where torch does not fuse the two, float64 serves. The product is exact there, and so is the sum unless
    product and shift are 2^21 times apart; only then a second rounding may cost the last bit.
    """
    values = torch.empty(pixels.shape, device=pixels.device)
    for part in _parts(pixels):
        factor, addend = (scale, shift) if len(scale) == 1 else (scale[part], shift[part])
        if addcmul_is_fused:
            torch.addcmul(addend, pixels[part].float(), factor, out=values[part])
        else:
            values[part] = pixels[part].double() * factor + addend
    return values


def _parts(pixels: torch.Tensor) -> list[slice]:
    """The batch in parts. On the CPU each is below the size from which torch's threads share the work.

    Where the processor has other work, such as DALI's, threads wait for each other longer than they save.
    """
    if pixels.device.type != "cpu" or torch.get_num_threads() == 1:
        return [slice(None)]
    images = max(1, UNSHARED_VALUES // max(1, pixels[:1].numel()))
    return [slice(begin, begin + images) for begin in range(0, len(pixels), images)]


@cache
def _addcmul_is_fused(device: torch.device) -> bool:
    """Whether torch.addcmul rounds once on this device, as in builds that use a fused instruction.

    Tries rows of every length up to 64, because a loop's vectors and its rest may differ.
    """
    for length in range(1, 65):
        step = torch.arange(3 * length, dtype=torch.float32).view(3, length)
        pixels = (step * 37 % 256).to(device, torch.uint8)
        scale = ((step[:, :1] + 1) / 97).to(device)
        shift = ((step[:, :1] - 50) / 31).to(device)
        wanted = (pixels.double() * scale + shift).float()
        if not torch.equal(torch.addcmul(shift, pixels.float(), scale), wanted):
            return False
    return True
