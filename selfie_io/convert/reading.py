"""The options that pack and plan share: how to read a source, and what its images become."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from selfie_io.convert.decoding.images import ImageRule, image_shape
from selfie_io.convert.sources.source import Source, SourceOptions
from selfie_io.convert.storage.locations import name_of
from selfie_io.convert.subcommand import CommandError, parse_size, tool
from selfie_io.records.layout import RecordLayout
from selfie_io.records.manifest import check_name_lengths
from selfie_io.records.plain_files import read_text

_MAX_NAMES_BYTES = 1 << 26


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How to read a source and what its images become."""

    kind: str = "auto"
    """The kind of SOURCE; auto detects it and says what it found."""
    size: Annotated[str | None, tyro.conf.arg(metavar="HxW")] = None
    """Scale every image to this size (bilinear with antialiasing; the aspect ratio is not kept); by default
    all must have the size of the first."""
    channels: Literal[1, 3] | None = None
    """1 makes every image grey, 3 makes every image colour; by default the first image decides."""
    test_fraction: float | None = None
    """If SOURCE has no test split: the fraction of each class to hold out as one; 0 for none; by
    default it must be said, and is 0.2 of the digits."""
    test_seed: int = 0
    """With --test-fraction: another seed holds out other records."""
    image_key: str | None = None
    """The array (npz) or column (parquet, table) with the images; by default the one with a
    usual name."""
    label_key: str | None = None
    """The array (npz) or column (parquet, table) with the labels; by default the one with a
    usual name."""
    join_folders: bool = False
    """Put tables or shards of several folders together, though they look like two data sets."""
    labels_are_clean: bool = False
    """Say that the labels are known to be right; it is assumed of published sets alone."""
    class_names: Path | None = None
    """A text file with one class name per line, for a SOURCE that has none; by default
    SOURCE names them, or they are called 0, 1, ..."""
    name: str | None = None
    """The name of the data set in its manifest; by default that of its folder."""
    records_per_file: int = 10_000
    """Records in each of data_batch_1.bin, data_batch_2.bin, ..."""

    def source_options(self, *, skip_bad: bool = False) -> SourceOptions:
        """The options that the source needs."""
        return SourceOptions(
            self.test_fraction,
            self.test_seed,
            skip_bad=skip_bad,
            chosen=self.kind != "auto",
            join_folders=self.join_folders,
            image_key=self.image_key,
            label_key=self.label_key,
        )

    def check(self) -> None:
        """Raise CommandError for an impossible value."""
        if self.records_per_file < 1:
            raise CommandError(f"--records-per-file must be positive, got {self.records_per_file}")
        if self.test_fraction is not None and not 0 <= self.test_fraction < 1:
            raise CommandError(f"--test-fraction must be at least 0 and below 1, got {self.test_fraction}")
        if self.size is not None:
            parse_size(self.size)

    def all_class_names(self, source: Source) -> list[str]:
        """The class names: those given, or the source's."""
        names = read_class_names(self.class_names, len(source.class_names)) or source.class_names
        check_name_lengths(names)  # before anything is packed
        return names

    def image_rule(self, source: Source, *, skip_bad: bool, hint: str) -> ImageRule:
        """The shape that all images get; the first image decides what no option says.

        Raises CommandError for an impossible shape, ValueError if there is no image.
        """
        height_width = None if self.size is None else parse_size(self.size)
        channels = self.channels or source.channels
        shape = (channels or 0, *(height_width or (0, 0)))
        if height_width is None or channels is None:
            own = _first_shape(source, skip_bad=skip_bad, hint=hint)
            shape = (channels or own[0], *(height_width or own[1:]))
        try:
            RecordLayout(*shape)
        except ValueError as error:
            raise CommandError(str(error)) from error
        return ImageRule(*shape, resize=height_width is not None, to_grey=self.channels == 1)

    def provenance(self, source: Source, path: str) -> dict[str, Any]:
        """Where the data set comes from; the same on any machine and for any number of workers."""
        told: dict[str, Any] = {
            "tool": tool(),
            "source": {"kind": source.kind, "name": name_of(path)},
            "options": {
                "size": self.size,
                "channels": self.channels,
                "test_fraction": self.test_fraction,
                "test_seed": self.test_seed,
                "records_per_file": self.records_per_file,
            },
        }
        return {**told, "notes": list(source.notes)} if source.notes else told

    def label_state(self, source: Source) -> Literal["clean", "unknown"]:
        """Whether the labels are known to be right."""
        return "clean" if self.labels_are_clean or source.published else "unknown"


def read_class_names(path: Path | None, num_classes: int) -> list[str] | None:
    """The lines of a text file; raises CommandError unless there is one for each class."""
    if path is None:
        return None
    try:
        names = read_text(path, _MAX_NAMES_BYTES).splitlines()
    except (OSError, ValueError) as error:
        raise CommandError(f"--class-names: {error}") from error
    distinct = len(set(names))
    if distinct < num_classes or distinct != len(names):
        raise CommandError(f"--class-names must hold {num_classes} distinct names, {path} has {distinct}")
    return names


def _first_shape(source: Source, *, skip_bad: bool, hint: str) -> tuple[int, int, int]:
    for item in source.items("train"):
        try:
            return image_shape(item.image)
        except ValueError as error:
            if not skip_bad:
                raise ValueError(f"{item.name}: {error}\n{hint}") from error
    raise ValueError("the source has no image that can be read")
