"""Reads numeric arrays from a MATLAB 5 file as a stream, in bounded memory, whatever sizes the file
claims.

The format: MathWorks, "MAT-File Format", Level 5. A header of 128 bytes, then elements: a tag
(type, bytes), the content, padding to 8 bytes. An array is an element of elements (flags,
dimensions, name, values) and may be wrapped in one that zlib compressed.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

_HEADER_BYTES = 128
_MATRIX, _COMPRESSED = 14, 15
_NUMERIC_CLASSES = range(6, 16)  # double, single, and the eight integers
_DTYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_MAX_SMALL_BYTES = 4096  # of flags, dimensions and names
_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class Matrix:
    """An array about to be read: its name, dimensions, how its values are stored, where they come
    from.

    Values are in MATLAB's order: the first index changes fastest.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    stream: "_Stream"

    def read(self, values: int) -> "np.ndarray[tuple[int], np.dtype[np.generic]]":
        """The next `values` values."""
        return np.frombuffer(self.stream.take(values * self.dtype.itemsize), self.dtype)


def matrices(file: BinaryIO) -> Iterator[Matrix]:
    """Yield the numeric arrays of an open file, each to be read before the next is asked for.

    Raises ValueError, with the byte, for what is no such file.
    """
    header = file.read(_HEADER_BYTES)
    if header[:8] == b"\x89HDF\r\n\x1a\n" or b"MATLAB 7.3" in header:
        raise ValueError("is a MATLAB 7.3 file; save it again with -v7")
    if len(header) < _HEADER_BYTES or header[126:128] not in (b"IM", b"MI"):
        raise ValueError("byte 126: is not a MATLAB 5 file")
    order = "<" if header[126:128] == b"IM" else ">"
    position = _HEADER_BYTES
    while tag := file.read(8):
        if len(tag) < 8:
            raise ValueError(f"byte {position}: ends within a tag")
        kind, size = struct.unpack(order + "II", tag)
        if kind == _COMPRESSED:
            stream = _Stream(file, size, inflate=True)
            kind, inner = struct.unpack(order + "II", stream.take(8))
        else:
            stream, inner = _Stream(file, size, inflate=False), size
        if kind != _MATRIX:
            raise ValueError(f"byte {position}: an element must be an array, got one of type {kind}")
        matrix = _matrix(stream, order, inner)
        if matrix is not None:
            yield matrix
        stream.skip()
        position += 8 + size


def _matrix(stream: "_Stream", order: str, size: int) -> Matrix | None:
    """Read up to the values; None if they are not numbers."""
    flags = _element(stream, order)[1]
    if len(flags) != 8 or struct.unpack(order + "I", flags[:4])[0] & 0xFF not in _NUMERIC_CLASSES:
        return None
    dimensions = _element(stream, order)[1]
    shape = struct.unpack(f"{order}{len(dimensions) // 4}i", dimensions[: len(dimensions) // 4 * 4])
    name = _element(stream, order)[1].decode("latin-1")
    kind, content_bytes, small = _tag(stream, order)
    if kind not in _DTYPES:
        raise ValueError(f"array {name!r}: values of type {kind} are not numbers")
    dtype = np.dtype(order + _DTYPES[kind])
    values = 1
    for side in shape:
        values *= side
    if min(shape, default=0) < 0 or values * dtype.itemsize != content_bytes or content_bytes > size:
        raise ValueError(f"array {name!r}: {content_bytes} bytes are not an array of {shape} {dtype} values")
    return Matrix(name, shape, dtype, stream if small is None else _Stream.of(small))


def _element(stream: "_Stream", order: str) -> tuple[int, bytes]:
    """A small element: its type and content."""
    kind, size, small = _tag(stream, order)
    if small is not None:
        return kind, small
    if size > _MAX_SMALL_BYTES:
        raise ValueError(f"flags, dimensions and names must be at most {_MAX_SMALL_BYTES} bytes, got {size}")
    return kind, stream.take(size + -size % 8)[:size]


def _tag(stream: "_Stream", order: str) -> tuple[int, int, bytes | None]:
    """The type and size of an element, and its content if it is packed into the tag."""
    tag = stream.take(8)
    kind, size = struct.unpack(order + "II", tag)
    if kind >> 16:
        packed = kind >> 16
        if packed > 4:
            raise ValueError(f"an element of {packed} bytes in a tag that holds 4")
        return kind & 0xFFFF, packed, tag[4 : 4 + packed]
    return kind, size, None


class _Stream:
    """The bytes of one element, inflated if they are compressed."""

    def __init__(self, file: BinaryIO, size: int, *, inflate: bool) -> None:
        self._file = file
        self._left = size
        self._inflater = zlib.decompressobj() if inflate else None
        self._ready = b""

    @classmethod
    def of(cls, content: bytes) -> "_Stream":
        """A stream of bytes at hand."""
        return cls(io.BytesIO(content), len(content), inflate=False)

    def take(self, size: int) -> bytes:
        """The next `size` bytes; raises ValueError if there are fewer."""
        parts = []
        wanted = size
        while wanted:
            part = self._more(wanted)
            if not part:
                raise ValueError(f"ends {wanted} bytes before the end of an array")
            parts.append(part)
            wanted -= len(part)
        return b"".join(parts)

    def skip(self) -> None:
        """Pass over what is left in the file."""
        while self._left:
            if not self._raw(_CHUNK_BYTES):
                raise ValueError("ends within an array")

    def _more(self, most: int) -> bytes:
        if self._inflater is None:
            return self._raw(most)
        try:
            while True:
                held = self._inflater.unconsumed_tail or self._raw(_CHUNK_BYTES)
                content = self._inflater.decompress(held, min(most, 1 << 20))
                if content or not held or self._inflater.eof:
                    return content
        except zlib.error as error:
            raise ValueError(str(error)) from error

    def _raw(self, most: int) -> bytes:
        content = self._file.read(min(most, self._left))
        self._left -= len(content)
        return content
