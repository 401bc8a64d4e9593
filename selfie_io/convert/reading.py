"""How a source is to be read: the options that pack and plan share, and what follows from them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from selfie_io.convert.command import CommandError, parse_size, tool
from selfie_io.convert.pictures import Bad, PictureRule, picture_shape
from selfie_io.convert.sources.base import Item, Source, SourceOptions
from selfie_io.records.layout import RecordLayout

_LISTED_BAD = 20


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Options about a source and what its pictures become."""

    kind: str = "auto"
    """What SOURCE is; auto finds out and says what it saw."""
    size: Annotated[str | None, tyro.conf.arg(metavar="HxW")] = None
    """Scale every picture to it (bilinear with antialiasing, sides not kept in proportion)."""
    channels: Literal[1, 3] | None = None
    """1 makes every picture grey, 3 makes every picture colour; else the first picture decides."""
    test_fraction: float | None = None
    """Where SOURCE has no test split: the part of each class to take for one."""
    class_names: Path | None = None
    """A text file with a class name a line, where SOURCE knows none."""
    name: str | None = None
    """The name of the data set in its manifest; else that of its folder."""
    records_per_file: int = 10_000
    """Records in each of data_batch_1.bin, data_batch_2.bin, ..."""

    def source_options(self) -> SourceOptions:
        """What the source is told."""
        return SourceOptions(self.test_fraction)

    def check(self) -> None:
        """Raise CommandError for a value that makes no sense."""
        if self.records_per_file < 1:
            raise CommandError(f"--records-per-file is positive, got {self.records_per_file}")
        if self.size is not None:
            parse_size(self.size)

    def all_class_names(self, source: Source) -> list[str]:
        """The class names: those given, or the source's."""
        return read_class_names(self.class_names, len(source.class_names)) or source.class_names

    def picture_rule(self, source: Source, *, skip_bad: bool) -> PictureRule:
        """What the pictures of `source` must become; the first one decides what is not said.

        Raises CommandError for a shape that makes no sense, ValueError if there is no picture.
        """
        height_width = None if self.size is None else parse_size(self.size)
        channels = self.channels or source.channels
        shape = (channels or 0, *(height_width or (0, 0)))
        if height_width is None or channels is None:
            own = _first_shape(source, skip_bad=skip_bad)
            shape = (channels or own[0], *(height_width or own[1:]))
        try:
            RecordLayout(*shape)
        except ValueError as error:
            raise CommandError(str(error)) from error
        return PictureRule(*shape, resize=height_width is not None, to_grey=self.channels == 1)

    def provenance(self, source: Source, path: str) -> dict[str, Any]:
        """Whence the data set comes, the same on any machine and for any number of workers."""
        return {
            "tool": tool(),
            "source": {"kind": source.kind, "name": Path(path).resolve().name},
            "options": {
                "size": self.size,
                "channels": self.channels,
                "test_fraction": self.test_fraction,
                "records_per_file": self.records_per_file,
            },
        }


def checked_labels(items: Iterable[Item], num_classes: int) -> Iterator[Item]:
    """Pass `items` on; raises ValueError for a label that names no class."""
    for item in items:
        if not 0 <= item.label < num_classes:
            raise ValueError(f"{item.name}: label {item.label} is outside 0..{num_classes - 1}")
        yield item


def too_many(bad: list[Bad]) -> bool:
    """Whether enough bad pictures are known to stop looking for more."""
    return len(bad) >= _LISTED_BAD


def refuse_bad(source: str, bad: list[Bad], hint: str) -> None:
    """Raise ValueError with a line for each bad picture, if there is any, and with `hint`."""
    if not bad:
        return
    lines = [f"{source}: {name}: {reason}" for name, reason in bad[:_LISTED_BAD]]
    if too_many(bad):
        lines.append(f"{source}: perhaps more after these {_LISTED_BAD}")
    raise ValueError("\n".join([*lines, hint]))


def read_class_names(path: Path | None, num_classes: int) -> list[str] | None:
    """The lines of a text file; raises CommandError unless there is one for each class."""
    if path is None:
        return None
    try:
        names = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"--class-names: {error}") from error
    distinct = len(set(names))
    if distinct < num_classes or distinct != len(names):
        raise CommandError(f"--class-names: {num_classes} distinct names are wanted, {path} has {distinct}")
    return names


def _first_shape(source: Source, *, skip_bad: bool) -> tuple[int, int, int]:
    for item in source.items("train"):
        try:
            return picture_shape(item.picture)
        except ValueError as error:
            if not skip_bad:
                raise ValueError(f"{item.name}: {error}") from error
    raise ValueError("the source has no picture that can be read")
