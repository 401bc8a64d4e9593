"""What both commands share where text leaves the program: nothing that comes from data controls a terminal,
no secret of a URL is shown, and a reader that is gone is no error.
"""

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*://"
_CHAINED = r"(?!::[A-Za-z][A-Za-z0-9+.-]*:[:/])"  # zip://a.png::http://...: the next URL begins
_INNER = rf"(?:{_CHAINED}[^\s\"<>\\])"  # of a URL in a sentence or in JSON
_HOST = rf"(?:{_CHAINED}[^\s\"<>\\/?#])"
_USER_INFO = re.compile(  # a secret key may hold "/", a port is none
    rf"({_SCHEME})(?:{_HOST}*@|[^\s/:@?#\"<>\\]+{_CHAINED}:(?!\d+/)(?:(?!@){_INNER})*@)"
)
_QUERY = re.compile(rf"({_SCHEME}(?:(?![?#]){_INNER})*)[?#]{_INNER}*")


def without_secrets(text: str) -> str:
    """`text` with user info, query string and fragment cut from each URL in it, chained ones (::) too."""
    if "://" not in text:
        return text
    return _QUERY.sub(r"\1", _USER_INFO.sub(r"\1", text))


def hidden(text: str, url: str) -> str:
    """`text` about `url` without the secrets of URLs, and without those of `url` wherever they stand."""
    secrets = [match[0].removeprefix(match[1]) for match in _USER_INFO.finditer(url)]
    secrets += [secret.rpartition("@")[0].partition(":")[2] for secret in secrets]  # the password alone
    secrets += [match[0].removeprefix(match[1]) for match in _QUERY.finditer(_USER_INFO.sub(r"\1", url))]
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "...")
    return without_secrets(text)


def harmless(text: str, keep: str = "\n") -> str:
    r"""`text` for a terminal: what is not printable, apart from `keep`, is written as \x1b, \u202e, ..."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in keep else ascii(letter)[1:-1] for letter in text
    )


class HarmlessStream:
    """A text stream that shows everything written to it harmless and without the secrets of URLs.

    `rich_proxied_file` is rich's name for the stream below: its own colours go there, and `RichConsole`
    makes the text harmless.
    """

    def __init__(self, stream: Any) -> None:
        self.rich_proxied_file = stream

    def write(self, text: str) -> int:
        """Write the text; what the stream's encoding lacks is escaped."""
        shown = harmless(without_secrets(text))
        encoding = getattr(self.rich_proxied_file, "encoding", None) or "utf-8"
        self.rich_proxied_file.write(shown.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


@contextlib.contextmanager
def harmless_output(*, needed: bool = True) -> Iterator[None]:
    """Within the block, stdout and stderr are harmless streams, if that is `needed`."""
    if not needed:
        yield
        return
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = HarmlessStream(sys.stdout), HarmlessStream(sys.stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def unexpected(error: Exception) -> str:
    """The one line about an error that no command foresees; SELFIE_TRACEBACK=1 raises it instead."""
    if os.environ.get("SELFIE_TRACEBACK"):
        raise error
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
    text = " ".join(str(error).split())[:300]
    return (
        f"unexpected {type(error).__name__}: {text}{place}; SELFIE_TRACEBACK=1 shows the way to it: "
        "please report it, unless it is in a module of your own"
    )


def open_closed_streams() -> None:
    """Give stdin, stdout and stderr a place if they are closed (>&-): nowhere.

    Else the next file that is opened takes the free number, and what is printed goes into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest free number
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115


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
