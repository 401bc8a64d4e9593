"""Turns encoded images into the pixels of records."""

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
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
_ORIENTATION_TAG = 0x0112
_SIDEWAYS = (5, 6, 7, 8)  # orientations that swap height and width
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
    """Images in order, uint8 (n, C, H, W), their labels and names, and the bad ones that were left
    out.
    """

    images: npt.NDArray[np.uint8]
    labels: list[int]
    names: list[str]
    bad: list[Bad]
    turned: int  # how many were turned as their EXIF orientation says


def image_shape(image: RawImage) -> tuple[int, int, int]:
    """The (channels, height, width) that an image has by itself: 1 channel if it is grey, else 3.

    Raises ValueError if it cannot be read.
    """
    if isinstance(image, ValueError):
        raise image
    if isinstance(image, np.ndarray):
        return image.shape[0], image.shape[1], image.shape[2]
    with _harmless_warnings():
        try:
            opened = _open(image)
        except Exception as error:
            raise _damage(error) from error
        height, width = opened.height, opened.width
        if _orientation(opened) in _SIDEWAYS:
            height, width = width, height
        return 1 if opened.mode in _GREY_MODES else 3, height, width


def decode_image(image: RawImage, rule: ImageRule) -> tuple[npt.NDArray[np.uint8], bool]:
    """The pixels of one image, uint8 (C, H, W), and whether its EXIF orientation was applied.

    Raises ValueError, with the reason alone.
    """
    if isinstance(image, ValueError):
        raise image
    if isinstance(image, np.ndarray) and image.shape == (rule.channels, rule.height, rule.width):
        return image, False
    try:
        if not isinstance(image, bytes):
            return _pixels(_from_array(image), rule), False
        upright, turned = _upright(_open(image))
        return _pixels(upright, rule), turned
    except Exception as error:
        raise _damage(error) from error


def decode_chunk(chunk: list[Item], rule: ImageRule) -> Decoded:
    """Decode some items; bad ones are left out and listed."""
    images = np.empty((len(chunk), rule.channels, rule.height, rule.width), np.uint8)
    labels: list[int] = []
    names: list[str] = []
    bad: list[Bad] = []
    turned = 0
    with _harmless_warnings():
        for image, label, name in chunk:
            try:
                images[len(labels)], was_turned = decode_image(image, rule)
            except ValueError as error:
                bad.append(Bad(name, str(error)))
            else:
                turned += was_turned
                labels.append(label)
                names.append(name)
    return Decoded(images[: len(labels)], labels, names, bad, turned)


@contextlib.contextmanager
def _harmless_warnings() -> Iterator[None]:
    """Pillow warns of what costs no pixel: a cut EXIF block, palettes with transparency, odd
    chunks.

    A bomb alone is refused; lost pixels are an exception of their own.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(ImportError):
            from PIL import Image

            warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _orientation(image: "Image.Image") -> int:
    """The EXIF orientation, 1..8; 1 where there is none, or none that can be read."""
    if not image.info.keys() & {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"}:
        return 1  # most images; a TIFF is turned by Pillow itself
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # a damaged block costs no pixel
        return 1


def _upright(image: "Image.Image") -> "tuple[Image.Image, bool]":
    """The image as viewers show it, and whether it had to be turned or mirrored."""
    from PIL import Image

    image.load()  # some formats tell only then
    method = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(_orientation(image))
    return (image, False) if method is None else (image.transpose(method), True)


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
