"""What pack, plan and run share: opening a source, and decoding its items until one is bad."""

import contextlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt

from selfie_io.convert.decoding.decoder import Decoder
from selfie_io.convert.decoding.images import Bad
from selfie_io.convert.sources import open_source
from selfie_io.convert.sources.source import Item, Source, SourceOptions
from selfie_io.convert.storage.source_cache import find_source
from selfie_io.convert.subcommand import CommandError, say
from selfie_io.processors import available_processors

_LISTED_BAD = 20

SKIP_HINT = "(--skip-bad leaves such images out and lists them in the manifest)"
PLAN_HINT = "(a plan takes no bad images; selfie-convert pack --skip-bad does)"


@contextlib.contextmanager
def opened_source(location: str, kind: str, options: SourceOptions) -> Iterator[Source]:
    """Open the source at a path or URL, and say of what kind it is and what it notes.

    Raises CommandError if there is nothing, ValueError for bad data, OSError if it cannot be read.
    """
    with open_source(find_source(location), kind, options) as (source, seen):
        say(f"{location}: {seen}")
        for note in source.notes:
            say(f"note: {note}")
        yield source


def worker_count(asked: int) -> int:
    """The number of processes that decode; 0 asks for one per core. Raises CommandError if
    negative.
    """
    if asked < 0:
        raise CommandError(f"--workers must not be negative, got {asked}")
    return asked or available_processors()


def append_items(
    decoder: Decoder,
    items: Iterable[Item],
    num_classes: int,
    append: Callable[[npt.NDArray[np.uint8], list[int], list[str]], None],
    *,
    skip_bad: bool,
    advance: Callable[[int], None],
    location: str,
    hint: str,
) -> list[Bad]:
    """Decode `items` in order and append them, uint8 (n, C, H, W) with n labels and n names at a time.

    Returns the bad items. Nothing is appended after the first of them unless `skip_bad`.

    Raises ValueError for a label outside 0..num_classes-1 and, unless `skip_bad`, with a line for
    each bad item and `hint`.
    """
    bad: list[Bad] = []
    for decoded in decoder.decode(_checked_labels(items, num_classes)):
        bad += decoded.bad
        advance(len(decoded.labels) + len(decoded.bad))
        if not bad or skip_bad:
            append(decoded.images, decoded.labels, decoded.names)
        elif len(bad) >= _LISTED_BAD:
            break
    if bad and not skip_bad:
        lines = [f"{location}: {name}: {reason}" for name, reason in bad[:_LISTED_BAD]]
        if len(bad) >= _LISTED_BAD:
            lines.append(f"{location}: perhaps more after these {_LISTED_BAD}")
        raise ValueError("\n".join([*lines, hint]))
    return bad


def _checked_labels(items: Iterable[Item], num_classes: int) -> Iterator[Item]:
    for item in items:
        if not 0 <= item.label < num_classes:
            raise ValueError(f"{item.name}: a label must be in 0..{num_classes - 1}, got {item.label}")
        yield item
