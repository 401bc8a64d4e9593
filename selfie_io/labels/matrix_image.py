"""Draws a transition matrix: one cell a pair of classes, darker for more, with numbers where they
fit.
"""

from collections.abc import Sequence

import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from selfie_io.labels.transition import check_matrix

_SIDE = 560  # pixels of the cells together, about
_TEXT = 12
_PAPER, _INK, _DARKEST = (255, 255, 255), (30, 30, 30), (8, 48, 107)
_FEWEST_PIXELS_FOR_TEXT = 26  # in a cell
_TITLE = 20  # pixels for the title of an axis


def matrix_image(matrix: npt.ArrayLike, class_names: Sequence[str] | None = None) -> Image.Image:
    """Draw `matrix` (k, k), clean classes as rows and noisy ones as columns, in percent.

    Numbers and names are left out where a cell is too small. Raises ValueError if the matrix is not
    row-stochastic or the names are not k.
    """
    rows = check_matrix(matrix)
    num_classes = len(rows)
    names = [str(c) for c in range(num_classes)] if class_names is None else list(class_names)
    if len(names) != num_classes:
        raise ValueError(
            f"class_names must have a name for each of {num_classes} classes, got {len(names)} names"
        )
    cell = max(_SIDE // num_classes, 2)
    with_text = cell >= _FEWEST_PIXELS_FOR_TEXT
    font = ImageFont.load_default(_TEXT)
    margin = _TITLE + 6 + (int(max(font.getlength(name) for name in names)) + 6 if with_text else 0)
    image = Image.new("RGB", (margin + num_classes * cell + 6,) * 2, _PAPER)
    draw = ImageDraw.Draw(image)
    middle = margin + num_classes * cell // 2
    draw.text((middle, _TITLE / 2 + 2), "noisy class, % of the clean class", _INK, font, anchor="mm")
    title = "clean class"
    _draw_upright(image, title, font, _TITLE // 2 + 2, middle + int(font.getlength(title)) // 2)
    for i, row in enumerate(rows):
        top = margin + i * cell
        if with_text:
            draw.text((margin - 6, top + cell / 2), names[i], _INK, font, anchor="rm")
            _draw_upright(image, names[i], font, margin + i * cell + cell // 2, margin - 6)
        for j, share in enumerate(row):
            left = margin + j * cell
            colour = tuple(
                round(paper + (dark - paper) * share**0.5)
                for paper, dark in zip(_PAPER, _DARKEST, strict=True)
            )
            draw.rectangle((left, top, left + cell - 1, top + cell - 1), colour)
            if with_text and share >= 0.005:
                ink = _PAPER if share > 0.2 else _INK
                draw.text((left + cell / 2, top + cell / 2), f"{100 * share:.0f}", ink, font, anchor="mm")
    draw.rectangle(
        (margin - 1, margin - 1, margin + num_classes * cell, margin + num_classes * cell), outline=_INK
    )
    return image


def _draw_upright(
    image: Image.Image,
    text: str,
    font: "ImageFont.FreeTypeFont | ImageFont.ImageFont",
    centre: int,
    bottom: int,
) -> None:
    length = int(font.getlength(text)) + 1
    strip = Image.new("RGB", (length, _TEXT + 4), _PAPER)
    ImageDraw.Draw(strip).text((0, (_TEXT + 4) / 2), text, _INK, font, anchor="lm")
    image.paste(strip.rotate(90, expand=True), (centre - (_TEXT + 4) // 2, bottom - length))
