"""Turns encoded pictures into the pixels of records."""

import io
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from selfie_io.convert.sources.base import Item, missing_extra

if TYPE_CHECKING:
    from PIL import Image

MAX_PICTURE_PIXELS = 1 << 26  # a picture beyond this is a bomb
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_GREY_MODES = ("1", "L", "LA", "La")
_COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
_ADDRESS = re.compile(r"\s*<[^<>]* at 0x[0-9a-f]+>")  # differs from run to run

Picture = bytes | npt.NDArray[np.uint8] | ValueError


@dataclass(frozen=True)
class PictureRule:
    """What every picture must become. `resize`: whole pictures are scaled (bilinear with antialiasing).

    `to_grey`: colour pictures are made grey, where a set of one channel else refuses them.
    """

    channels: int
    height: int
    width: int
    resize: bool = False
    to_grey: bool = False


class Bad(NamedTuple):
    """A picture that could not be used."""

    name: str
    reason: str


class Decoded(NamedTuple):
    """Pictures in order: uint8 (n, C, H, W), their labels, and those that are bad and left out."""

    images: npt.NDArray[np.uint8]
    labels: list[int]
    bad: list[Bad]


def picture_shape(picture: Picture) -> tuple[int, int, int]:
    """The (channels, height, width) that a picture has by itself: 1 channel if it is grey, else 3.

    Raises ValueError if it cannot be read.
    """
    if isinstance(picture, ValueError):
        raise picture
    if isinstance(picture, np.ndarray):
        return picture.shape[0], picture.shape[1], picture.shape[2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            image = _open(picture)
        except Exception as error:
            raise _damage(error) from error
        return 1 if image.mode in _GREY_MODES else 3, image.height, image.width


def decode_picture(picture: Picture, rule: PictureRule) -> npt.NDArray[np.uint8]:
    """The pixels of one picture, uint8 (C, H, W). Raises ValueError, with the reason alone."""
    if isinstance(picture, ValueError):
        raise picture
    if isinstance(picture, np.ndarray) and picture.shape == (rule.channels, rule.height, rule.width):
        return picture
    try:
        return _pixels(_open(picture) if isinstance(picture, bytes) else _from_array(picture), rule)
    except Exception as error:
        raise _damage(error) from error


def decode_chunk(chunk: list[Item], rule: PictureRule) -> Decoded:
    """Decode some items; bad pictures are left out and told of."""
    images = np.empty((len(chunk), rule.channels, rule.height, rule.width), np.uint8)
    labels: list[int] = []
    bad: list[Bad] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what Pillow warns of is damage, or a bomb
        for picture, label, name in chunk:
            try:
                images[len(labels)] = decode_picture(picture, rule)
            except ValueError as error:
                bad.append(Bad(name, str(error)))
            else:
                labels.append(label)
    return Decoded(images[: len(labels)], labels, bad)


def _open(encoded: bytes) -> "Image.Image":
    """Open and check a picture; its pixels are decoded later."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ModuleNotFoundError(missing_extra("Pillow", "reading pictures")) from error
    image = Image.open(io.BytesIO(encoded), formats=_FORMATS)
    if image.width * image.height > MAX_PICTURE_PIXELS:
        raise ValueError(f"{image.width}x{image.height} pixels are more than {MAX_PICTURE_PIXELS}")
    if image.mode not in _GREY_MODES + _COLOUR_MODES:
        raise ValueError(f"pixels have 8 bits a channel, got those of mode {image.mode}")
    return image


def _from_array(picture: npt.NDArray[np.uint8]) -> "Image.Image":
    try:
        from PIL import Image
    except ImportError as error:
        raise ModuleNotFoundError(missing_extra("Pillow", "resizing pictures")) from error
    return Image.fromarray(picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0))


def _pixels(image: "Image.Image", rule: PictureRule) -> npt.NDArray[np.uint8]:
    from PIL import Image

    size = (rule.width, rule.height)
    if image.size != size and not rule.resize:
        raise ValueError(
            f"has {image.height}x{image.width} pixels, the first has {rule.height}x{rule.width} "
            f"(--size {rule.height}x{rule.width} scales all)"
        )
    if rule.channels == 1 and image.mode not in _GREY_MODES and not rule.to_grey:
        raise ValueError("has colours, the first is grey (--channels 3 makes all of them colour)")
    mode = "L" if rule.channels == 1 else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    if mode == "L":
        return np.frombuffer(image.tobytes(), np.uint8).reshape(1, rule.height, rule.width)
    lines = np.frombuffer(
        image.tobytes("raw", "RGB;L"), np.uint8
    )  # a row's R, its G, its B: faster to reorder
    return lines.reshape(rule.height, 3, rule.width).transpose(1, 0, 2)


def _damage(error: Exception) -> Exception:
    """What Pillow raises on a damaged file, as a ValueError that says why."""
    if isinstance(error, ModuleNotFoundError):
        return error
    if type(error).__name__ == "UnidentifiedImageError":
        return ValueError(f"is not a picture of a known format ({', '.join(_FORMATS)})")
    return ValueError(_ADDRESS.sub("", str(error)) or type(error).__name__)
