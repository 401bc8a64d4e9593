"""Turns encoded pictures into the pixels of records, in worker processes, in the order they came."""

import io
import multiprocessing
import os
import re
import signal
import threading
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait
from types import TracebackType
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
    with _pillow_errors(), _open(picture) as image:
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
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def decode(self, items: Iterable[Item]) -> Iterator[Decoded]:
        """Yield what becomes of `items`; raises OSError if a worker dies."""
        chunks = _chunks(items, self._rule)
        waiting: deque[tuple[Future[Decoded], str]] = deque()
        for number, chunk in enumerate(chunks):
            # Arrays cost less to use than to send.
            here = self._workers == 1 or isinstance(chunk[0].picture, np.ndarray)
            if here or (number == 0 and self._pool is None):
                while waiting:
                    yield _result(*waiting.popleft())
                yield _decode_chunk(chunk, self._rule)
                continue
            if self._pool is None:
                # spawn: a fork would copy the locks of the threads that show progress
                context = multiprocessing.get_context("spawn")
                self._pool = ProcessPoolExecutor(self._workers, context, initializer=_follow_parent)
            if len(waiting) > 2 * self._workers:
                yield _result(*waiting.popleft())
            future = self._pool.submit(_decode_chunk, chunk, self._rule)
            waiting.append((future, f"{chunk[0].name} .. {chunk[-1].name}"))
        while waiting:
            yield _result(*waiting.popleft())

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _result(future: Future[Decoded], names: str) -> Decoded:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise OSError(f"a decoding process died at or after {names}") from error


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


def _decode_chunk(chunk: list[Item], rule: PictureRule) -> Decoded:
    images = np.empty((len(chunk), rule.channels, rule.height, rule.width), np.uint8)
    labels: list[int] = []
    bad: list[Bad] = []
    for picture, label, name in chunk:
        try:
            images[len(labels)] = decode_picture(picture, rule)
        except ValueError as error:
            bad.append(Bad(name, str(error)))
        else:
            labels.append(label)
    return Decoded(images[: len(labels)], labels, bad)


def _follow_parent() -> None:
    """End this worker when its parent is killed, so that none is left waiting; Ctrl-C is the parent's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None  # this runs in a worker only

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


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


class _pillow_errors:
    """Whatever Pillow raises on a damaged file becomes a ValueError that says why."""

    def __enter__(self) -> None:
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.simplefilter("error")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._warnings.__exit__(kind, error, trace)
        if error is None or not isinstance(error, Exception) or isinstance(error, ModuleNotFoundError):
            return
        if type(error).__name__ == "UnidentifiedImageError":
            raise ValueError(f"is not a picture of a known format ({', '.join(_FORMATS)})") from error
        raise ValueError(_ADDRESS.sub("", str(error)) or type(error).__name__) from error
