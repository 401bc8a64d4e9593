"""Opens files that must be plain ones: a FIFO, a device or a socket in their place is refused at once.

Opening a FIFO waits for a writer, and reading a device may never end.
"""

import errno
import io
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

MOST_JSON_BYTES = 1 << 28
_SPARSE_VALUES = 250_000  # so many values a JSON file may hold, however short they are
_BYTES_PER_VALUE = 32  # beyond that: digests and names, on average at least so long

_KINDS = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_plain(path: str | Path) -> None:
    """Raise OSError unless `path` is a plain file, or a link to one."""
    _check(os.stat(path), path)  # noqa: PTH116 - also for text


def open_plain(path: str | Path) -> io.BufferedReader:
    """Open a plain file for reading bytes; raises OSError if it is none or cannot be read."""
    check_plain(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # another may stand there by now
    _keep_plain(descriptor, path)
    return os.fdopen(descriptor, "rb")


def _keep_plain(descriptor: int, path: str | Path) -> None:
    """Close `descriptor` and raise OSError unless it is of a plain file."""
    try:
        _check(os.fstat(descriptor), path)
    except BaseException:
        os.close(descriptor)
        raise


def open_plain_text(path: str | Path, encoding: str = "utf-8") -> TextIO:
    """Open a plain file for reading text with its line ends, as csv wants it."""
    return io.TextIOWrapper(open_plain(path), encoding, newline="")


def open_to_append(path: str | Path) -> io.BufferedWriter:
    """Open a plain file, made if missing, to append bytes.

    Raises OSError for a link, so that one planted in a folder of a stranger leads nowhere, and for what is no
    plain file: a FIFO would wait for a reader.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        kinds = {errno.ELOOP: "a link", errno.ENXIO: "a FIFO or a socket"}
        if error.errno in kinds:
            told = f"must be a plain file, got {kinds[error.errno]}"
            raise OSError(error.errno, told, str(path)) from error
        raise
    _keep_plain(descriptor, path)
    return os.fdopen(descriptor, "ab")


def bounded_lines(file: TextIO, most: int) -> Iterator[str]:
    """The lines of a text; raises ValueError for one of more than `most` characters."""
    number = 1
    while line := file.readline(most + 1):
        if len(line) > most:
            raise ValueError(f"line {number}: a line must have at most {most} characters")
        yield line
        number += 1


def read_plain(path: str | Path, most_bytes: int) -> bytes:
    """The content of a plain file; raises ValueError if it has more than `most_bytes`."""
    with open_plain(path) as file:
        # Python makes room for all bytes that are asked for: ask for those that are there.
        content = file.read(min(most_bytes, os.fstat(file.fileno()).st_size) + 1)
    if len(content) > most_bytes:
        raise ValueError(f"{path}: must have at most {most_bytes} bytes")
    return content


def read_text(path: str | Path, most_bytes: int = MOST_JSON_BYTES) -> str:
    """The text of a plain file in UTF-8, with or without a byte-order mark.

    Raises ValueError if it is none or larger, OSError if it cannot be read.
    """
    try:
        return read_plain(path, most_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: byte {error.start}: not UTF-8") from error


def read_json(path: str | Path, most_bytes: int = MOST_JSON_BYTES) -> Any:
    """What a JSON file says; raises ValueError if it is none, OSError if it cannot be read."""
    text = read_text(path, most_bytes)
    check_json_size(text.encode(), str(path))
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from error


def check_json_size(content: bytes, place: str, *, value_bytes: int = _BYTES_PER_VALUE) -> None:
    """Raise ValueError for a JSON text of so many tiny values that memory would grow far beyond its size.

    value_bytes: the least length on average of more than a few values
    """
    values = content.count(b",") + content.count(b"[") + content.count(b"{")
    if len(content) > MOST_JSON_BYTES:
        raise ValueError(f"{place}: must have at most {MOST_JSON_BYTES} bytes")
    if values > max(_SPARSE_VALUES, len(content) // value_bytes):
        raise ValueError(
            f"{place}: must hold at most {_SPARSE_VALUES:,} values, or values of {value_bytes} bytes on "
            f"average, got {values:,} in {len(content):,} bytes"
        )


def _check(status: os.stat_result, path: str | Path) -> None:
    mode = status.st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")
        raise OSError(errno.EINVAL, f"must be a plain file, got {kind}", str(path))
