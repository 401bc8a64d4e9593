"""Packs many small images of one size into few sheets, which a browser decodes as they are scrolled to."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

SHEET_SIDE = 896  # pixels: a sheet is decoded in a few milliseconds and takes 3 MB of the browser's memory
LOSSLESS_SIDE = 64  # pixels: larger images lose nothing that a reviewer could see at quality 90
_WEBP_LIMIT = 16_383  # pixels a side


@dataclass(frozen=True)
class SheetLayout:
    """How images of one size lie in sheets: row by row, `columns` in a row, `per_sheet` in a sheet."""

    count: int
    height: int
    width: int

    @property
    def columns(self) -> int:
        """Images side by side."""
        return max(1, min(SHEET_SIDE // self.width, 16))

    @property
    def per_sheet(self) -> int:
        """Images in a full sheet."""
        return self.columns * max(1, min(SHEET_SIDE // self.height, 16))

    @property
    def sheets(self) -> int:
        """Sheets in all."""
        return -(-self.count // self.per_sheet)


def draw_sheets(
    layout: SheetLayout, images: Callable[[NDArray[np.int64]], NDArray[np.uint8]], *, fine: bool
) -> Iterator[tuple[bytes, str]]:
    """Yield each sheet as (bytes, format "webp", "png" or "jpeg").

    images: given numbers 0..count-1, int64 (n,), returns uint8 (n, C, H, W)
    fine: lossless up to LOSSLESS_SIDE pixels a side, and at quality 90 above; else at quality 80
    """
    for begin in range(0, layout.count, layout.per_sheet):
        numbers = np.arange(begin, min(begin + layout.per_sheet, layout.count))
        yield _encode(_sheet(layout, images(numbers)), layout, fine)


def displayed(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 (n, C, H, W) as a screen shows it, (n, H, W, 3): the first channel as grey unless C is 3."""
    rgb = pixels if pixels.shape[1] == 3 else np.repeat(pixels[:, :1], 3, axis=1)
    return rgb.transpose(0, 2, 3, 1)


def _sheet(layout: SheetLayout, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows = -(-len(pixels) // layout.columns)
    cells = np.zeros((rows * layout.columns, layout.height, layout.width, 3), np.uint8)
    cells[: len(pixels)] = displayed(pixels)
    grid = cells.reshape(rows, layout.columns, layout.height, layout.width, 3).swapaxes(1, 2)
    return np.ascontiguousarray(grid).reshape(rows * layout.height, layout.columns * layout.width, 3)


def _encode(sheet: NDArray[np.uint8], layout: SheetLayout, fine: bool) -> tuple[bytes, str]:
    lossless = fine and max(layout.height, layout.width) <= LOSSLESS_SIDE
    out = io.BytesIO()
    image = Image.fromarray(sheet)
    if features.check("webp") and max(sheet.shape[:2]) <= _WEBP_LIMIT:
        if lossless:
            image.save(out, "WEBP", lossless=True, quality=50, method=0)
        else:
            image.save(out, "WEBP", quality=90 if fine else 80, method=2)
        return out.getvalue(), "webp"
    if lossless:
        image.save(out, "PNG")
        return out.getvalue(), "png"
    image.save(out, "JPEG", quality=90 if fine else 80, subsampling=0)
    return out.getvalue(), "jpeg"
