"""Turns encoded images into the pixels of records."""

import io
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from selfie_io.convert.sources.source import Item, missing_extra

if TYPE_CHECKING:
    from PIL import Image

MAX_IMAGE_PIXELS = 1 << 26  # a larger image is taken for a decompression bomb
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_GREY_MODES = ("1", "L", "LA", "La")
_COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
_ADDRESS = re.compile(r"\s*<[^<>]* at 0x[0-9a-f]+>")  # differs from run to run

RawImage = bytes | npt.NDArray[np.uint8] | ValueError


@dataclass(frozen=True)
class ImageRule:
    """The shape that every image must have. `resize`: scale images to it (bilinear with
    antialiasing).

    `to_grey`: make colour images grey; without it a set of one channel refuses them.
    """

    channels: int
    height: int
    width: int
    resize: bool = False
    to_grey: bool = False


class Bad(NamedTuple):
    """An image that could not be used."""

    name: str
    reason: str


class Decoded(NamedTuple):
    """Images in order, uint8 (n, C, H, W), their labels and names, and the bad ones that were left out."""

    images: npt.NDArray[np.uint8]
    labels: list[int]
    names: list[str]
    bad: list[Bad]


def image_shape(image: RawImage) -> tuple[int, int, int]:
    """The (channels, height, width) that an image has by itself: 1 channel if it is grey, else 3.

    Raises ValueError if it cannot be read.
    """
    if isinstance(image, ValueError):
        raise image
    if isinstance(image, np.ndarray):
        return image.shape[0], image.shape[1], image.shape[2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            opened = _open(image)
        except Exception as error:
            raise _damage(error) from error
        return 1 if opened.mode in _GREY_MODES else 3, opened.height, opened.width


def decode_image(image: RawImage, rule: ImageRule) -> npt.NDArray[np.uint8]:
    """The pixels of one image, uint8 (C, H, W). Raises ValueError, with the reason alone."""
    if isinstance(image, ValueError):
        raise image
    if isinstance(image, np.ndarray) and image.shape == (rule.channels, rule.height, rule.width):
        return image
    try:
        return _pixels(_open(image) if isinstance(image, bytes) else _from_array(image), rule)
    except Exception as error:
        raise _damage(error) from error


def decode_chunk(chunk: list[Item], rule: ImageRule) -> Decoded:
    """Decode some items; bad ones are left out and listed."""
    images = np.empty((len(chunk), rule.channels, rule.height, rule.width), np.uint8)
    labels: list[int] = []
    names: list[str] = []
    bad: list[Bad] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning of Pillow means damage or a bomb
        for image, label, name in chunk:
            try:
                images[len(labels)] = decode_image(image, rule)
            except ValueError as error:
                bad.append(Bad(name, str(error)))
            else:
                labels.append(label)
                names.append(name)
    return Decoded(images[: len(labels)], labels, names, bad)


def _open(encoded: bytes) -> "Image.Image":
    """Open and check an image; its pixels are decoded later."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ModuleNotFoundError(missing_extra("Pillow", "reading images")) from error
    image = Image.open(io.BytesIO(encoded), formats=_FORMATS)
    if image.width * image.height > MAX_IMAGE_PIXELS:
        raise ValueError(
            f"an image must have at most {MAX_IMAGE_PIXELS} pixels, got {image.width}x{image.height}"
        )
    if image.mode not in _GREY_MODES + _COLOUR_MODES:
        raise ValueError(f"pixels must have 8 bits a channel, got those of mode {image.mode}")
    return image


def _from_array(image: npt.NDArray[np.uint8]) -> "Image.Image":
    try:
        from PIL import Image
    except ImportError as error:
        raise ModuleNotFoundError(missing_extra("Pillow", "resizing images")) from error
    return Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))


def _pixels(image: "Image.Image", rule: ImageRule) -> npt.NDArray[np.uint8]:
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
    """Turn what Pillow raises for a damaged file into a ValueError with the reason."""
    if isinstance(error, ModuleNotFoundError):
        return error
    if type(error).__name__ == "UnidentifiedImageError":
        return ValueError(f"is not an image of a known format ({', '.join(_FORMATS)})")
    return ValueError(_ADDRESS.sub("", str(error)) or type(error).__name__)
