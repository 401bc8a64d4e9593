"""Turns encoded pictures into the pixels of records, in worker processes, in the order they came."""

import contextlib
import io
import re
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from selfie_io.convert.sources.base import Item, missing_extra
from selfie_io.convert.worker import Worker

if TYPE_CHECKING:
    from PIL import Image

MAX_PICTURE_PIXELS = 1 << 26  # a picture beyond this is a bomb
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_GREY_MODES = ("1", "L", "LA", "La")
_COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
_CHUNK_ITEMS = 128
_CHUNK_BYTES = 1 << 22  # of encoded pictures, and of decoded ones
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
    with warnings.catch_warnings(), _pillow_errors():
        warnings.simplefilter("error")
        with _open(picture) as image:
            return 1 if image.mode in _GREY_MODES else 3, image.height, image.width


def decode_picture(picture: Picture, rule: PictureRule) -> npt.NDArray[np.uint8]:
    """The pixels of one picture, uint8 (C, H, W). Raises ValueError, with the reason alone."""
    if isinstance(picture, ValueError):
        raise picture
    if isinstance(picture, np.ndarray) and picture.shape == (rule.channels, rule.height, rule.width):
        return picture
    with _pillow_errors():
        image = _from_array(picture) if isinstance(picture, np.ndarray) else _open(picture)
        with image:
            return _pixels(image, rule)


class Decoder:
    """Decodes streams of items in `workers` processes (1: in this one), in bounded memory and in order.

    A context manager. The processes start with the second chunk of pictures, so that a small set needs none.
    """

    def __init__(self, rule: PictureRule, workers: int) -> None:
        self._rule = rule
        self._count = workers
        self._workers: list[Worker] = []
        self._threads = ThreadPoolExecutor(2 * workers)  # two for each process: its next chunk is at hand

    def decode(self, items: Iterable[Item]) -> Iterator[Decoded]:
        """Yield what becomes of `items`; raises OSError if a worker dies."""
        waiting: deque[Future[Decoded]] = deque()
        for number, chunk in enumerate(_chunks(items, self._rule)):
            # Arrays cost less to use than to send.
            here = self._count == 1 or isinstance(chunk[0].picture, np.ndarray)
            if here or (number == 0 and not self._workers):
                while waiting:
                    yield waiting.popleft().result()
                yield decode_chunk(chunk, self._rule)
                continue
            if not self._workers:
                self._workers = [Worker() for _ in range(self._count)]
            if len(waiting) > 2 * self._count:
                yield waiting.popleft().result()
            worker = self._workers[number % self._count]
            waiting.append(self._threads.submit(worker.decode, chunk, self._rule))
        while waiting:
            yield waiting.popleft().result()

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.close()


def _chunks(items: Iterable[Item], rule: PictureRule) -> Iterator[list[Item]]:
    most = max(1, min(_CHUNK_ITEMS, _CHUNK_BYTES // (rule.channels * rule.height * rule.width)))
    chunk: list[Item] = []
    size = 0
    for item in items:
        chunk.append(item)
        size += len(item.picture) if isinstance(item.picture, bytes) else 0
        if len(chunk) == most or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


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
    pixels = np.frombuffer(image.tobytes(), np.uint8)
    return pixels.reshape(rule.height, rule.width, rule.channels).transpose(2, 0, 1)


@contextlib.contextmanager
def _pillow_errors() -> Iterator[None]:
    """Whatever Pillow raises on a damaged file becomes a ValueError that says why."""
    try:
        yield
    except ModuleNotFoundError:
        raise
    except Exception as error:
        if type(error).__name__ == "UnidentifiedImageError":
            raise ValueError(f"is not a picture of a known format ({', '.join(_FORMATS)})") from error
        raise ValueError(_ADDRESS.sub("", str(error)) or type(error).__name__) from error
