"""A process that decodes chunks of images. The parent talks to it by pickles through pipes.

It is a plain process, not one of multiprocessing: it imports nothing of the program that started
it, needs no guard in a user's script, and ends when its standard input ends, that is when its
parent does.
"""

import contextlib
import fcntl
import os
import pickle
import signal
import subprocess
import sys
import threading
from typing import IO, TYPE_CHECKING, cast

from selfie_io.isolated_python import isolated_python

if TYPE_CHECKING:
    from selfie_io.convert.decoding.images import Decoded, ImageRule
    from selfie_io.convert.sources.source import Item


_PIPE_BYTES = 1 << 20  # holds a chunk's images, so a worker need not wait until they are fetched


class WorkerProcess:
    """The parent's end of a decoding process; several threads may use it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            isolated_python("selfie_io.convert.decoding.worker_process"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._stdin = cast(IO[bytes], self._process.stdin)
        self._stdout = cast(IO[bytes], self._process.stdout)
        for pipe in (self._stdin, self._stdout):
            # Linux alone has it, and allows a user only so much.
            with contextlib.suppress(AttributeError, OSError):
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._sending = threading.Lock()
        self._receiving = threading.Lock()

    def decode(self, chunk: "list[Item]", rule: "ImageRule") -> "Decoded":
        """Send a chunk and wait for the result; raises OSError if the process died."""
        try:
            with self._sending:
                pickle.dump((chunk, rule), self._stdin, pickle.HIGHEST_PROTOCOL)
                self._stdin.flush()
                self._receiving.acquire()  # before another chunk is sent, so that this answer is for this one
            try:
                answer: Decoded | Exception = pickle.load(self._stdout)
            finally:
                self._receiving.release()
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
            names = f"{chunk[0].name} .. {chunk[-1].name}"
            raise OSError(f"a decoding process died at one of {names}") from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def kill(self) -> None:
        """End the process at once: who waits for a chunk gets an OSError."""
        self._process.kill()

    def close(self) -> None:
        """Wait for the end of the process, which was killed, and close its pipes."""
        self._process.communicate()


def main() -> None:
    """Answer chunks until the standard input ends."""
    from selfie_io.convert.decoding.images import decode_chunk

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    while True:
        try:
            chunk, rule = pickle.load(sys.stdin.buffer)
        except (EOFError, pickle.UnpicklingError):  # the parent has ended, perhaps in the middle of a chunk
            return
        try:
            answer: Decoded | Exception = decode_chunk(chunk, rule)
        except Exception as error:  # told to the parent, which raises it
            answer = error
        try:
            pickle.dump(answer, sys.stdout.buffer, pickle.HIGHEST_PROTOCOL)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            os._exit(1)
