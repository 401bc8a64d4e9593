"""Writes an image as a PNG file that names this program, and replaces no other file."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from selfie_io.convert.subcommand import CommandError, tool
from selfie_io.records.atomic import atomic_path

if TYPE_CHECKING:
    from PIL import Image

_KEY = "Software"


def check_png_target(path: Path, name: str) -> None:
    """Raise CommandError if `path`, the option `name`, is no PNG file, or one of another program."""
    if path.suffix.lower() != ".png":
        raise CommandError(f"{name} must be a .png file, got {path}")
    if os.path.lexists(path) and not _is_own(path):
        raise CommandError(
            f"{name} must be absent or an image that selfie-convert wrote, {path} is another file"
        )


def save_png(image: "Image.Image", path: Path) -> None:
    """Write the image, whole or not at all. Raises OSError if it cannot be written."""
    from PIL.PngImagePlugin import PngInfo

    told = PngInfo()
    told.add_text(_KEY, tool())
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG", pnginfo=told)


def _is_own(path: Path) -> bool:
    """Whether a PNG file names this program, in the chunks before its pixels."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(4096)
    return start.startswith(b"\x89PNG") and f"tEXt{_KEY}\0selfie-convert ".encode() in start
