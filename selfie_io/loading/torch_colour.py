"""Mixed channels in torch: compose_colour() of csrc/augment.cpp, operation by operation."""

import math

import torch


class Mixing:
    """Makes the matrix and shift of each image: value = matrix * bytes + shift.

    colour: float64 (9, n); contrast, brightness: float64 (n,); sums: float64 (n, 3), of each channel
    """

    def __init__(
        self,
        colour: torch.Tensor,
        contrast: torch.Tensor,
        brightness: torch.Tensor,
        sums: torch.Tensor,
        count: int,
    ) -> None:
        self._rows = colour.T.reshape(-1, 3, 3)
        self._contrast, self._sums, self._count = contrast[:, None], sums, count
        self._offset = (1 - self._contrast) * (sums / count) + brightness[:, None]

    def per_channel(
        self, unit: torch.Tensor | None, origin: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """float32 (n, 3, 3) and (n, 3); unit, origin: float64 (3,), None: no normalisation."""
        matrix, shift = self._rows * self._contrast[:, :, None], self._mixed(self._offset)
        if unit is not None and origin is not None:
            matrix, shift = matrix / unit[:, None], shift / unit - origin
        return matrix.float(), shift.float()

    def per_image(self, squares: torch.Tensor, cross: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The same for PerImage; squares: float64 (n, 3), of each channel; cross: int64 (n, 3), of two."""
        count, rows, sums = self._count, self._rows, self._sums.long()
        means = self._mixed(self._contrast * (self._sums / count) + self._offset)
        center = ((means[:, 0] + means[:, 1]) + means[:, 2]) / 3
        own = (count * squares.long() - sums**2).double()
        pairs = torch.stack([sums[:, 0] * sums[:, 1], sums[:, 0] * sums[:, 2], sums[:, 1] * sums[:, 2]], 1)
        shared = (count * cross - pairs).double()
        within = between = torch.zeros_like(center)
        for channel in range(3):
            red, green, blue = rows[:, channel].unbind(1)
            part = (red * red * own[:, 0] + green * green * own[:, 1]) + blue * blue * own[:, 2]
            both = (red * green * shared[:, 0] + red * blue * shared[:, 1]) + green * blue * shared[:, 2]
            within = within + (part + 2 * both)
            distance = means[:, channel] - center
            between = between + distance * distance
        contrast = self._contrast[:, 0]
        variance = (contrast * contrast * within.clamp(min=0) / (count * count) + between) / 3
        std = variance.sqrt().clamp(min=1 / math.sqrt(count * 3))
        matrix = rows * self._contrast[:, :, None] / std[:, None, None]
        shift = (self._mixed(self._offset) - center[:, None]) / std[:, None]
        return matrix.float(), shift.float()

    def _mixed(self, values: torch.Tensor) -> torch.Tensor:
        red, green, blue = (self._rows[:, :, source] * values[:, source, None] for source in range(3))
        return (red + green) + blue


def cross_sums(pixels: torch.Tensor) -> torch.Tensor:
    """Sums of the products of channels 0 and 1, 0 and 2, 1 and 2: int64 (n, 3) of uint8 (n, 3, h, w)."""
    red, green, blue = (plane.long() for plane in pixels.flatten(2).unbind(1))
    return torch.stack([(red * green).sum(1), (red * blue).sum(1), (green * blue).sum(1)], 1)
