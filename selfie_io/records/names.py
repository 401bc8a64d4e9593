"""Writes and reads the source names of the records of one record file (docs/format.md).

The file `data_batch_1.names` stands beside `data_batch_1.bin`. It holds, in order:

    magic      8 bytes  "selfname"
    names      each name is two lengths, then bytes: how many bytes it shares with the name before
               it, how many follow (both LEB128), and those bytes, UTF-8. The first name of each
               256 shares nothing. A record without a name has an empty one.
    offsets    uint64, big-endian, one for each 256 names: the byte at which they begin
    records    uint64, big-endian: the number of names

So a name is found with two short reads, whatever the number of records.
"""

import contextlib
import hashlib
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from selfie_io.records.plain_files import open_plain

NAMES_SUFFIX = ".names"
_MAGIC = b"selfname"
_BLOCK_NAMES = 256
_COUNT = struct.Struct(">Q")
_MAX_NAME_BYTES = 1 << 16  # of one name: a damaged length must not ask for memory
_MAX_BLOCK_BYTES = _BLOCK_NAMES * (_MAX_NAME_BYTES + 10)


class NameFileWriter:
    """Writes the names of one record file in order, in bounded memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("xb")
        self._digest = hashlib.sha256()
        self._bytes = 0
        self._records = 0
        self._offsets: list[int] = []
        self._previous = b""
        self._write(_MAGIC)

    def append(self, names: Sequence[str | None]) -> None:
        """Add the names of the next records; None or "" for a record without a name.

        Raises ValueError for a name that is no UTF-8 or longer than 65,536 bytes.
        """
        parts = bytearray()
        for name in names:
            try:
                encoded = (name or "").encode()
            except UnicodeEncodeError:
                raise ValueError(f"{self._path.name}: a name must be UTF-8, got {name!r}") from None
            if len(encoded) > _MAX_NAME_BYTES:
                raise ValueError(
                    f"{self._path.name}: a name must have at most {_MAX_NAME_BYTES} bytes, got {len(encoded)}"
                )
            if self._records % _BLOCK_NAMES == 0:
                self._offsets.append(self._bytes + len(parts))
                self._previous = b""
            shared = _shared(self._previous, encoded)
            parts += _leb128(shared) + _leb128(len(encoded) - shared) + encoded[shared:]
            self._previous = encoded
            self._records += 1
        self._write(bytes(parts))

    def close(self) -> tuple[int, str]:
        """Finish the file; returns its bytes and SHA-256. Raises OSError if it cannot be written."""
        self._write(b"".join(map(_COUNT.pack, [*self._offsets, self._records])))
        try:
            self._file.close()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error
        return self._bytes, self._digest.hexdigest()

    def abandon(self) -> None:
        """Close the file as it is."""
        with contextlib.suppress(OSError):
            self._file.close()

    def _write(self, content: bytes) -> None:
        try:
            self._file.write(content)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error
        self._digest.update(content)
        self._bytes += len(content)


def names_path(record_file: Path) -> Path:
    """Where the names of a record file are."""
    return record_file.with_suffix(NAMES_SUFFIX)


def read_names(path: Path, records: npt.NDArray[np.int64], num_records: int) -> list[str | None]:
    """The names of some records of one file, in the order asked; None for a record without one.

    Raises ValueError, with the byte, if the file is damaged or not of `num_records` names, OSError
    if it cannot be read.
    """
    with open_plain(path) as file:
        table = _check_size(path, file, num_records)
        blocks: dict[int, list[str | None]] = {}
        for block in np.unique(records // _BLOCK_NAMES).tolist():
            blocks[block] = list(_read_block(path, file, table, block, num_records))
    places = zip((records // _BLOCK_NAMES).tolist(), (records % _BLOCK_NAMES).tolist(), strict=True)
    return [blocks[block][place] for block, place in places]


def all_names(path: Path, num_records: int) -> Iterator[str | None]:
    """Yield every name of a file, in bounded memory; raises as `read_names`."""
    with open_plain(path) as file:
        table = _check_size(path, file, num_records)
        for block in range(-(-num_records // _BLOCK_NAMES)):
            yield from _read_block(path, file, table, block, num_records)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with open_plain(path) as file:
        while content := file.read(1 << 20):
            digest.update(content)
    return digest.hexdigest()


def _check_size(path: Path, file: BinaryIO, num_records: int) -> int:
    """The byte at which the offsets begin."""
    size = path.stat().st_size
    table = size - _COUNT.size * (1 + -(-num_records // _BLOCK_NAMES))
    if table < len(_MAGIC) or file.read(len(_MAGIC)) != _MAGIC:
        raise ValueError(
            f"{path}: byte 0: must be the names of {num_records} records, got {size} other bytes"
        )
    file.seek(size - _COUNT.size)
    (found,) = _COUNT.unpack(file.read(_COUNT.size))
    if found != num_records:
        raise ValueError(f"{path}: byte {size - _COUNT.size}: must hold {num_records} names, got {found}")
    return table


def _read_block(path: Path, file: BinaryIO, table: int, block: int, num_records: int) -> Iterator[str | None]:
    last = -(-num_records // _BLOCK_NAMES) - 1
    file.seek(table + _COUNT.size * block)
    (begin,) = _COUNT.unpack(file.read(_COUNT.size))
    end = table if block == last else _COUNT.unpack(file.read(_COUNT.size))[0]
    if not len(_MAGIC) <= begin <= end <= table or end - begin > _MAX_BLOCK_BYTES:
        raise ValueError(f"{path}: byte {table + _COUNT.size * block}: offset {begin} leads out of the names")
    file.seek(begin)
    content = file.read(end - begin)
    place = 0
    previous = b""
    for _ in range(min(_BLOCK_NAMES, num_records - block * _BLOCK_NAMES)):
        shared, place = _read_leb128(content, place)
        length, place = _read_leb128(content, place)
        if not 0 <= shared <= len(previous) or not 0 <= length <= len(content) - place:
            raise ValueError(f"{path}: byte {begin + place}: is damaged")
        previous = previous[:shared] + content[place : place + length]
        place += length
        try:
            yield previous.decode() or None
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: byte {begin + place}: not UTF-8") from error
    if place != len(content):
        raise ValueError(f"{path}: byte {begin + place}: bytes after the last name")


def _shared(first: bytes, second: bytes) -> int:
    """How many bytes two names begin with alike."""
    most = min(len(first), len(second))
    if first[:most] == second[:most]:
        return most
    low, high = 0, most  # first[:low] is alike, first[:high] is not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if first[:middle] == second[:middle] else (low, middle)
    return low


def _leb128(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _read_leb128(content: bytes, place: int) -> tuple[int, int]:
    """A length and the byte after it; -1 if there is none."""
    value = 0
    for shift in range(0, 28, 7):
        if place >= len(content):
            break
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, place
    return -1, place
