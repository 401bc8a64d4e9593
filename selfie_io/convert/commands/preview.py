"""selfie-convert preview: draws a grid of images with their classes."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro

from selfie_io.convert.png_file import check_png_target, save_png
from selfie_io.convert.sources.source import missing_extra
from selfie_io.convert.subcommand import DONE, CommandError, Subcommand, parse_shape

if TYPE_CHECKING:
    from PIL import Image, ImageFont

    from selfie_io.records.dataset import RecordDataset

_CELL_PIXELS = 96  # larger images are made smaller
_SMALL_PIXELS = 64  # smaller ones are enlarged by a whole factor up to this
_MARGIN = 6
_BACKGROUND, _TEXT, _CHANGED = (255, 255, 255), (40, 40, 40), (200, 30, 30)
_LINE_PIXELS = 14
_LEGEND = "Red: a label that the overlay changes, with the stored class."


@dataclass(frozen=True)
class Preview(Subcommand):
    """Draw images of FOLDER as a grid, one row per class with its name, into the PNG file OUT."""

    EXAMPLES = (
        "selfie-convert preview data/digits grid.png",
        "selfie-convert preview data/digits noisy.png --noisy pair-0.4 --columns 20",
    )

    folder: tyro.conf.Positional[Path]
    """The data set."""
    out: tyro.conf.Positional[Path]
    """The PNG file to write."""
    split: str = "train"
    """The split: train or test."""
    columns: int = 10
    """Images in a row."""
    rows: int = 20
    """The most classes to show, spread over all of them."""
    noisy: str | None = None
    """Show images under the labels of this overlay, changed ones marked red; by default under the
    stored ones."""
    seed: int = 0
    """The seed of the choice of images."""
    shape: Annotated[str | None, tyro.conf.arg(metavar="C,H,W")] = None
    """The shape of an image, for a folder without manifest; by default the one known shape that
    fits.
    """

    def run(self) -> int:
        """Draw the grid and write it."""
        if not self.folder.is_dir():
            raise CommandError(f"FOLDER must be a folder, there is none at {self.folder}")
        check_png_target(self.out, "OUT")
        if self.columns < 1 or self.rows < 1:
            raise CommandError(f"--columns and --rows must be positive, got {self.columns} and {self.rows}")
        from selfie_io.records.dataset import open_dataset

        dataset = open_dataset(self.folder, shape=parse_shape(self.shape) if self.shape else None)
        if self.split not in dataset.splits:
            raise CommandError(f"--split must be one of {', '.join(dataset.splits)}, got {self.split}")
        image = self._draw(dataset)
        save_png(image, self.out)
        print(f"{self.out}: {image.width}x{image.height} pixels")
        return DONE

    def _draw(self, dataset: "RecordDataset") -> "Image.Image":
        try:
            from PIL import Image, ImageDraw, ImageFont
        except ImportError as error:
            raise ModuleNotFoundError(missing_extra("Pillow", "preview")) from error

        split = dataset.splits[self.split]
        true_labels = split.labels
        labels = true_labels if self.noisy is None else split.labels_from(self.noisy)
        names = [*dataset.class_names, "left out"]  # the last one is that of the label -1
        shown = np.unique(labels)
        shown = shown[np.unique(np.linspace(0, len(shown) - 1, min(self.rows, len(shown))).astype(int))]
        cell = _cell_size(dataset.layout.height, dataset.layout.width)
        font = ImageFont.load_default(size=11)
        name_width = int(max(font.getlength(names[label]) for label in shown)) + 2 * _MARGIN
        lines = 1 if self.noisy is None else 2  # the true class stands under a changed image
        row_height = cell[0] + _MARGIN + (lines - 1) * _LINE_PIXELS
        width = name_width + self.columns * (cell[1] + _MARGIN)
        legend = [] if self.noisy is None else _lines(_LEGEND, font, width - 2 * _MARGIN)
        bottom = len(shown) * row_height + _MARGIN
        canvas = Image.new("RGB", (width, bottom + len(legend) * _LINE_PIXELS), _BACKGROUND)
        draw = ImageDraw.Draw(canvas)
        for line, text in enumerate(legend):
            draw.text((_MARGIN, bottom + line * _LINE_PIXELS - 2), text, _CHANGED, font)
        rng = np.random.default_rng(self.seed)
        for row, label in enumerate(shown.tolist()):
            top = _MARGIN + row * row_height
            draw.text((_MARGIN, top + cell[0] // 2), names[label], _TEXT, font, anchor="lm")
            members = np.flatnonzero(labels == label)
            chosen = np.sort(rng.choice(members, min(self.columns, len(members)), replace=False))
            for column, (index, image) in enumerate(zip(chosen, split.images(chosen), strict=True)):
                left = name_width + column * (cell[1] + _MARGIN)
                pixels = image[0] if len(image) != 3 else image.transpose(1, 2, 0)
                tile = Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")
                canvas.paste(tile.resize((cell[1], cell[0]), Image.Resampling.NEAREST), (left, top))
                if true_labels[index] != label:
                    box = (left - 2, top - 2, left + cell[1] + 1, top + cell[0] + 1)
                    draw.rectangle(box, outline=_CHANGED, width=2)
                    name = names[true_labels[index]]
                    while font.getlength(name) > cell[1]:
                        name = name[:-1]
                    draw.text((left, top + cell[0] + 1), name, _CHANGED, font)
        return canvas


def _cell_size(height: int, width: int) -> tuple[int, int]:
    """The (height, width) of an image in the grid."""
    longest = max(height, width)
    if longest > _CELL_PIXELS:
        return max(1, height * _CELL_PIXELS // longest), max(1, width * _CELL_PIXELS // longest)
    factor = max(1, _SMALL_PIXELS // longest)
    return height * factor, width * factor


def _lines(text: str, font: "ImageFont.FreeTypeFont | ImageFont.ImageFont", width: int) -> list[str]:
    """The words of a text in lines that fit `width` pixels, or that have one word."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
