"""The native core's resize in torch, to the bit: two-tap interpolation in 16 bits (docs/determinism.md)."""

import torch


def resize(
    pixels: torch.Tensor,
    top: torch.Tensor,
    left: torch.Tensor,
    height: torch.Tensor,
    width: torch.Tensor,
    flip: torch.Tensor,
    *,
    resized: tuple[int, int] | None,
    size: tuple[int, int],
) -> torch.Tensor:
    """Resize and crop: uint8 (n, C, H, W) -> uint8 (n, C, h, w).

    top, left, height, width, flip: int64 (n,), of the windows
    resized: (height, width) that the whole image is resized to; None: the window is stretched to `size`
    """
    source = pixels.shape[2:]
    place = torch.arange(size[1], device=pixels.device)
    columns = torch.where(flip[:, None].bool(), size[1] - 1 - place, place)
    rows = torch.arange(size[0], device=pixels.device).expand(len(pixels), -1)
    values = pixels.int() * 128
    first, second, weight = _axis(columns, left, width, source[1], resized and resized[1], size[1])
    values = _interpolate(values, first[:, None, None], second[:, None, None], weight[:, None, None], 3)
    first, second, weight = _axis(rows, top, height, source[0], resized and resized[0], size[0])
    column = (slice(None), None, slice(None), None)
    values = _interpolate(values, first[column], second[column], weight[column], 2)
    return ((values + 64) >> 7).to(torch.uint8)


def _axis(
    outputs: torch.Tensor,
    begin: torch.Tensor,
    length: torch.Tensor,
    side: int,
    resized: int | None,
    size: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Both neighbours, int64, and the weight of the second, int32 in 1/2^15, of each output (n, size)."""
    begin, length = begin[:, None], length[:, None]
    place = outputs.double() + 0.5
    if resized is None:
        wanted = begin.double() + place * (length.double() / size) - 0.5
        low, high = begin, begin + length - 1
    else:
        step = side / resized
        wanted = begin.double() * step + place * step - 0.5
        low, high = torch.zeros_like(begin), torch.full_like(begin, side - 1)
    wanted = torch.minimum(torch.maximum(wanted, low.double()), high.double())
    first = wanted.long()
    return first, torch.minimum(first + 1, high), ((wanted - first) * 32768).int()


def _interpolate(
    values: torch.Tensor, first: torch.Tensor, second: torch.Tensor, weight: torch.Tensor, axis: int
) -> torch.Tensor:
    shape = list(values.shape)
    shape[axis] = first.shape[axis]
    a, b = (values.gather(axis, neighbour.expand(shape)) for neighbour in (first, second))
    return a + (((b - a) * weight + 0x4000) >> 15)
