"""What pack, plan and run share: opening a source, and decoding its items until one is bad."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from selfie_io.console import without_secrets
from selfie_io.convert.decoding.decoder import Decoder
from selfie_io.convert.decoding.images import Bad
from selfie_io.convert.sources import open_source
from selfie_io.convert.sources.source import Item, Source, SourceOptions
from selfie_io.convert.sources.split_words import counted
from selfie_io.convert.storage.source_cache import find_source
from selfie_io.convert.subcommand import CommandError, say
from selfie_io.processors import available_processors

_LISTED_BAD = 20

SKIP_HINT = "(--skip-bad leaves such images out and lists them in the manifest)"
PLAN_HINT = "(a plan takes no bad images; selfie-convert pack --skip-bad does)"


@contextlib.contextmanager
def opened_source(location: str, kind: str, options: SourceOptions) -> Iterator[Source]:
    """Open the source at a path or URL, and say of what kind it is and what was decided about it.

    Raises CommandError if there is nothing, ValueError for bad data, OSError if it cannot be read.
    """
    with open_source(find_source(location), kind, options) as (source, seen):
        say(f"{without_secrets(location)}: {seen}")
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


@dataclass
class Appended:
    """What became of items: how many were turned upright, and the bad ones that were left out."""

    turned: int = 0
    bad: list[Bad] = field(default_factory=list)


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
) -> Appended:
    """Decode `items` in order and append them, uint8 (n, C, H, W) with n labels and n names at a
    time.

    Nothing is appended after the first bad item unless `skip_bad`. An item is bad if it cannot be
    decoded or its label is outside 0..num_classes-1.

    Raises ValueError, unless `skip_bad`, with a line for each bad item and `hint`.
    """
    done = Appended()
    for decoded in decoder.decode(_checked_labels(items, num_classes)):
        done.bad += decoded.bad
        done.turned += decoded.turned
        advance(len(decoded.labels) + len(decoded.bad))
        if not done.bad or skip_bad:
            append(decoded.images, decoded.labels, decoded.names)
        elif len(done.bad) >= _LISTED_BAD:
            break
    if done.bad and not skip_bad:
        lines = [f"{location}: {name}: {reason}" for name, reason in done.bad[:_LISTED_BAD]]
        if len(done.bad) >= _LISTED_BAD:
            lines.append(f"{location}: perhaps more after these {_LISTED_BAD}")
        raise ValueError("\n".join([*lines, hint]))
    return done


def decoding_notes(turned: int, skipped: list[dict[str, str]]) -> list[str]:
    """What is to be said about the decoding of a whole data set."""
    notes = []
    if turned:
        notes.append(f"{counted(turned, 'image')} turned upright, as the EXIF orientation says")
    if skipped:
        first = "; ".join(f"{one['name']}: {one['reason']}" for one in skipped[:3])
        notes.append(
            f"{counted(len(skipped), 'bad image')} left out ({first}{'; ...' if len(skipped) > 3 else ''})"
        )
    return notes


def with_notes(provenance: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """A provenance with more notes."""
    return {**provenance, "notes": [*provenance.get("notes", []), *notes]} if notes else provenance


def _checked_labels(items: Iterable[Item], num_classes: int) -> Iterator[Item]:
    """Pass `items` on; one with a label that names no class becomes a bad one."""
    for item in items:
        if 0 <= item.label < num_classes or isinstance(item.image, ValueError):
            yield item
        else:
            reason = f"a label must be in 0..{num_classes - 1}, got {item.label}"
            yield Item(ValueError(reason), 0, item.name)
