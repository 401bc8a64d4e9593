"""Turns encoded pictures into the pixels of records, in worker processes, in the order they came."""

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
_CHUNK_BYTES = 1 << 21  # of encoded pictures, and of decoded ones
_IN_HAND = 4  # chunks that a worker has been given: more than it needs while this process is busy
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


class Decoder:
    """Decodes streams of items in `workers` processes, of which this is one, in bounded memory and in order.

    A context manager. The others start with the second chunk of pictures, so that a small set needs none.
    """

    def __init__(self, rule: PictureRule, workers: int) -> None:
        self._rule = rule
        self._others = workers - 1
        self._workers: list[Worker] = []
        self._free: deque[Worker] = deque()  # each as many times as it may be given a chunk
        self._threads = ThreadPoolExecutor(_IN_HAND * workers)  # one waits for each such chunk

    def decode(self, items: Iterable[Item]) -> Iterator[Decoded]:
        """Yield what becomes of `items`; raises OSError if a worker dies."""
        waiting: deque[Future[Decoded]] = deque()
        for number, chunk in enumerate(_chunks(items, self._rule)):
            # Arrays cost less to use than to send.
            others_help = number > 0 and isinstance(chunk[0].picture, bytes)
            if others_help and len(self._workers) < self._others:
                self._workers = [Worker() for _ in range(self._others)]
                self._free.extend(self._workers * _IN_HAND)
            waiting.append(self._send(chunk) if others_help and self._free else self._decode_here(chunk))
            while waiting and (waiting[0].done() or len(waiting) > _IN_HAND * (1 + self._others)):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _send(self, chunk: list[Item]) -> Future[Decoded]:
        worker = self._free.popleft()
        future = self._threads.submit(worker.decode, chunk, self._rule)
        future.add_done_callback(lambda _: self._free.append(worker))
        return future

    def _decode_here(self, chunk: list[Item]) -> Future[Decoded]:
        future: Future[Decoded] = Future()
        future.set_result(decode_chunk(chunk, self._rule))
        return future

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
