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
    antialias: bool,
) -> torch.Tensor:
    """Resize and crop: uint8 (n, C, H, W) -> uint8 (n, C, h, w).

    top, left, height, width, flip: int64 (n,), of the windows
    resized: (height, width) that the whole image is resized to; None: the window is stretched to `size`
    """
    source = pixels.shape[2:]
    place = torch.arange(size[1], device=pixels.device)
    columns = torch.where(flip[:, None].bool(), size[1] - 1 - place, place)
    rows = torch.arange(size[0], device=pixels.device).expand(len(pixels), -1)
    if antialias:
        across = _filter(columns, left, width, source[1], resized and resized[1], size[1])
        down = _filter(rows, top, height, source[0], resized and resized[0], size[0])
        lines = ((pixels.double() @ across[:, None].mT + 64) / 128).floor()
        return ((down[:, None] @ lines + 2**20) / 2**21).floor().to(torch.uint8)
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


def _filter(
    outputs: torch.Tensor,
    begin: torch.Tensor,
    length: torch.Tensor,
    side: int,
    resized: int | None,
    size: int,
) -> torch.Tensor:
    """The weight of every sample in every output: integers that add up to 2^14, as float64 (n, size, side).

    Sums of their products with bytes are exact in float64, in any order.
    """
    begin, length = begin[:, None], length[:, None]
    place = outputs.double() + 0.5
    if resized is None:
        step = length.double() / size
        center = begin.double() + place * step
        low, high = begin, begin + length - 1
    else:
        step = torch.full_like(begin, side, dtype=torch.float64) / resized
        center = begin.double() * step + place * step
        low, high = torch.zeros_like(begin), torch.full_like(begin, side - 1)
    scale = step.clamp(min=1.0)
    first = torch.maximum(low.double(), (center - scale + 0.5).floor())[..., None]
    end = torch.minimum(high.double() + 1, (center + scale + 0.5).floor())[..., None]
    sample = torch.arange(side, dtype=torch.float64, device=outputs.device)
    weights = (1 - ((sample - center[..., None] + 0.5) / scale[..., None]).abs()).clamp(min=0)
    weights *= (sample >= first) & (sample < end)
    total = torch.zeros_like(center)
    for number in range(side):  # in the order of the native core; a zero changes nothing
        total += weights[..., number]
    fixed = (weights / total[..., None] * 2**14 + 0.5).floor()
    largest = torch.where(fixed == fixed.amax(-1, keepdim=True), sample, float("inf")).amin(-1, keepdim=True)
    return fixed + (sample == largest) * (2**14 - fixed.sum(-1, keepdim=True))


def _interpolate(
    values: torch.Tensor, first: torch.Tensor, second: torch.Tensor, weight: torch.Tensor, axis: int
) -> torch.Tensor:
    shape = list(values.shape)
    shape[axis] = first.shape[axis]
    a, b = (values.gather(axis, neighbour.expand(shape)) for neighbour in (first, second))
    return a + (((b - a) * weight + 0x4000) >> 15)
