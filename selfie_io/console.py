"""What both commands share at the end of a pipe."""

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_on_broken_pipe() -> Iterator[None]:
    """End with status 141, without a word, if the reader of the output is gone (`--help | head`)."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more when it ends: let that go nowhere.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        raise SystemExit(141) from None  # 128 + SIGPIPE, as of a program that the signal ended
