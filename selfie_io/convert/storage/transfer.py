"""The bytes of a URL, in bounded time and size, whatever the server does.

A thread waits for the server, so that Ctrl-C is heard, and a server that sends byte by byte, or nothing,
is given up.
"""

from __future__ import annotations

import base64
import contextlib
import queue
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

LEAST_BYTES_PER_SECOND = 1000
WINDOW_SECONDS = 60.0  # in which a server must send at that rate
_CHUNK_BYTES = 1 << 18


class TransferError(OSError):
    """The server sends too slowly or too much: another try is no use."""


class TooMuch(TransferError):
    """What the server sends cannot be the file."""


class Pace:
    """Counts what has come; raises TransferError where it is too much or came too slowly."""

    def __init__(self, most_bytes: int, seconds: float | None = None) -> None:
        self._most = most_bytes
        self._seconds = WINDOW_SECONDS if seconds is None else seconds
        self._total = self._in_window = 0
        self._begin = time.monotonic()

    def add(self, count: int) -> None:
        """So many bytes more, or none."""
        self._total += count
        self._in_window += count
        if self._total > self._most:
            raise TooMuch(f"the server sent more than {self._most:,} bytes")
        if time.monotonic() - self._begin >= self._seconds:
            least = int(LEAST_BYTES_PER_SECOND * self._seconds)
            if self._in_window < least:
                rule = f"the server must send {least:,} bytes in {self._seconds:g} s"
                raise TransferError(f"{rule}, it sent {self._in_window:,}")
            self._in_window, self._begin = 0, time.monotonic()


class Answer:
    """A server's answer: `status` and `headers`, and its content in chunks."""

    def __init__(self, request: urllib.request.Request, timeout: float) -> None:
        self._items: queue.Queue[Any] = queue.Queue(maxsize=8)
        self._gone = threading.Event()
        threading.Thread(target=self._receive, args=(request, timeout), daemon=True).start()
        # A header that comes byte by byte, or a name that is never found, is as slow as a silent server.
        self.status, self.headers = self._next(timeout + WINDOW_SECONDS)

    def chunks(self, pace: Pace) -> Iterator[bytes]:
        """The content; raises as `pace` does, and what the connection raises."""
        while True:
            try:
                content = self._next(1.0)
            except TimeoutError:
                pace.add(0)
                continue
            if content is None:
                return
            pace.add(len(content))
            yield content

    def close(self) -> None:
        """Let the thread end."""
        self._gone.set()

    def _next(self, seconds: float) -> Any:
        try:
            item = self._items.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError(f"no answer within {seconds:g} s") from None
        if isinstance(item, BaseException):
            raise item
        return item

    def _receive(self, request: urllib.request.Request, timeout: float) -> None:
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                self._put((response.status, response.headers))
                while content := response.read1(_CHUNK_BYTES):
                    if not self._put(content):
                        return
            self._put(None)
        except BaseException as error:
            self._put(error)

    def _put(self, item: Any) -> bool:
        """Hand over an item; False if nobody waits for it any longer."""
        while not self._gone.is_set():
            with contextlib.suppress(queue.Full):
                self._items.put(item, timeout=0.2)
                return True
        return False


@contextlib.contextmanager
def answer_of(url: str, headers: dict[str, str], timeout: float) -> Iterator[Answer]:
    """Ask for `url`, whose user info becomes a header; raises OSError, HTTPException or ValueError."""
    answer = Answer(_request(url, headers), timeout)
    try:
        yield answer
    finally:
        answer.close()


def content_length(headers: Any) -> int | None:
    """What a server says of the size of its answer; None if it says nothing that makes sense."""
    told = headers.get("Content-Length") or ""
    return int(told) if told.isascii() and told.isdecimal() and len(told) < 20 else None


def _request(url: str, headers: dict[str, str]) -> urllib.request.Request:
    parts = urllib.parse.urlsplit(url)
    secret, at, host = parts.netloc.rpartition("@")
    if at:
        url = urllib.parse.urlunsplit(parts._replace(netloc=host))
        told = base64.b64encode(urllib.parse.unquote(secret).encode()).decode()
        headers = {**headers, "Authorization": f"Basic {told}"}
    return urllib.request.Request(url, headers=headers)
