"""selfie-convert pack: a source becomes a folder of record files."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from selfie_io.convert.command import (
    DONE,
    Command,
    CommandError,
    parse_size,
    progress,
    say,
    shape_text,
    tool,
)
from selfie_io.convert.decode import Bad, Decoder, PictureRule, picture_shape
from selfie_io.convert.sources import open_source
from selfie_io.convert.sources.base import Item, Source, SourceOptions
from selfie_io.records.atomic import atomic_folder
from selfie_io.records.layout import RecordLayout
from selfie_io.records.manifest import MANIFEST_NAME, Manifest
from selfie_io.records.writer import DatasetWriter

_LISTED_BAD = 20


@dataclass(frozen=True)
class Pack(Command):
    """Read pictures and labels from SOURCE and write them as record files into the new folder OUT.

    SOURCE is a folder, an archive or a file; what it is, is told by its content (--kind says it instead):
      cifar10, cifar100          the Python version, as a tar.gz or a folder
      cifar10-bin, cifar100-bin  the binary version
      tiny-imagenet              the zip or folder with wnids.txt; val is the test split
      animal10n                  training/ and testing/ with pictures named LABEL_anything.jpg
      image-folder               train/CLASS/*.jpg and test/CLASS/*.jpg (or val/), or CLASS/*.jpg with
                                 --test-fraction; a folder, a zip or a tar
      idx                        MNIST and its kin: train-images-idx3-ubyte, t10k-labels-idx1-ubyte.gz, ...
      svhn                       train_32x32.mat and test_32x32.mat
      npz                        x_train, y_train, x_test, y_test or train_images, train_labels, ...
      parquet                    Hugging Face image data sets: a folder of .parquet files
      webdataset                 tar shards of KEY.jpg and KEY.cls
      digits                     the word digits: the pictures that come with scikit-learn
    A compressed tar is unpacked into an unnamed file in the temporary folder (TMPDIR) while it is read.

    OUT is there when the command is done, and never half: a failed pack leaves what was there before.
    """

    source: tyro.conf.Positional[str]
    """Where the pictures are."""
    out: tyro.conf.Positional[Path]
    """The folder to write."""
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
    """The name of the data set in its manifest; else that of OUT."""
    records_per_file: int = 10_000
    """Records in each of data_batch_1.bin, data_batch_2.bin, ..."""
    workers: Annotated[int, tyro.conf.arg(help_behavior_hint="(default: one per core)")] = 0
    """Processes that decode pictures; the result is the same for any number."""
    skip_bad: bool = False
    """Leave out pictures that cannot be read and list them in the manifest, instead of failing."""
    force: bool = False
    """Replace OUT (with the label overlays in it) if it is a data set."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        """Pack and say what was written."""
        check_target(self.out, self.source, force=self.force)
        if self.records_per_file < 1 or self.workers < 0:
            raise CommandError("--records-per-file and --workers are positive")
        if self.source != "digits" and not Path(self.source).exists():
            raise CommandError(f"there is no SOURCE {self.source}")
        with open_source(self.source, self.kind, SourceOptions(self.test_fraction)) as (source, seen):
            say(f"{self.source}: {seen}")
            for note in source.notes:
                say(f"note: {note}")
            with progress("pack", sum(source.splits.values())) as advance:
                manifest = self._pack(source, advance)
        if self.json:
            print(json.dumps(summary(self.out, manifest)))
        else:
            print(f"{self.out}: {describe(manifest)}")
        return DONE

    def _pack(self, source: Source, advance: Callable[[int], None]) -> Manifest:
        rule = picture_rule(source, self.size, self.channels, skip_bad=self.skip_bad)
        layout = RecordLayout(rule.channels, rule.height, rule.width)
        class_names = read_class_names(self.class_names, len(source.class_names)) or source.class_names
        bad: dict[str, list[Bad]] = {}
        with (
            atomic_folder(self.out, replace=self.out.exists()) as folder,
            Decoder(rule, self.workers or len(os.sched_getaffinity(0))) as decoder,
            DatasetWriter(folder, layout, len(class_names), records_per_file=self.records_per_file) as writer,
        ):
            for split in source.splits:
                bad[split] = []
                for decoded in decoder.decode(checked_labels(source.items(split), len(class_names))):
                    bad[split] += decoded.bad
                    advance(len(decoded.labels) + len(decoded.bad))
                    if not bad[split] or self.skip_bad:
                        writer.append(split, decoded.images, decoded.labels)
                    elif len(bad[split]) >= _LISTED_BAD:
                        break
                if not self.skip_bad:
                    refuse_bad(self.source, bad[split])
            return writer.finish(
                name=self.name or self.out.resolve().name,
                class_names=class_names,
                provenance=self._provenance(source, bad),
            )

    def _provenance(self, source: Source, bad: dict[str, list[Bad]]) -> dict[str, Any]:
        provenance: dict[str, Any] = {
            "tool": tool(),
            "source": {"kind": source.kind, "name": Path(self.source).resolve().name},
            "options": {
                "size": self.size,
                "channels": self.channels,
                "test_fraction": self.test_fraction,
                "records_per_file": self.records_per_file,
            },
        }
        skipped = [{"split": split, **one._asdict()} for split, of_split in bad.items() for one in of_split]
        return {**provenance, "skipped": skipped} if skipped else provenance


def check_target(out: Path, source: str, *, force: bool) -> None:
    """Raise CommandError unless `out` can be written: it is absent, empty, or a data set to be replaced."""
    if Path(source).exists() and Path(source).resolve().is_relative_to(out.resolve()):
        raise CommandError(f"OUT ({out}) holds SOURCE ({source}), it would replace it")
    if not os.path.lexists(out):
        return
    if not out.is_dir() or out.is_symlink():
        raise CommandError(f"OUT ({out}) is not a folder")
    if not any(out.iterdir()):
        return
    if not (out / MANIFEST_NAME).exists() and not (out / "data_batch_1.bin").exists():
        raise CommandError(f"OUT ({out}) is neither empty nor a data set")
    if not force:
        raise CommandError(f"OUT ({out}) holds a data set; --force replaces it")


def picture_rule(source: Source, size: str | None, channels: int | None, *, skip_bad: bool) -> PictureRule:
    """What the pictures of `source` must become; the first one decides what is not said.

    Raises CommandError for a size or a number of channels that makes no sense, ValueError if there is no
    picture.
    """
    height_width = None if size is None else parse_size(size)
    wanted_channels = channels or source.channels
    shape = (wanted_channels or 0, *(height_width or (0, 0)))
    if height_width is None or wanted_channels is None:
        own = _first_shape(source, skip_bad=skip_bad)
        shape = (wanted_channels or own[0], *(height_width or own[1:]))
    try:
        RecordLayout(*shape)
    except ValueError as error:
        raise CommandError(str(error)) from error
    return PictureRule(*shape, resize=height_width is not None, to_grey=channels == 1)


def _first_shape(source: Source, *, skip_bad: bool) -> tuple[int, int, int]:
    for item in source.items("train"):
        try:
            return picture_shape(item.picture)
        except ValueError as error:
            if not skip_bad:
                raise ValueError(f"{item.name}: {error}") from error
    raise ValueError("the source has no picture that can be read")


def checked_labels(items: Iterable[Item], num_classes: int) -> Iterator[Item]:
    """Pass `items` on; raises ValueError for a label that names no class."""
    for item in items:
        if not 0 <= item.label < num_classes:
            raise ValueError(f"{item.name}: label {item.label} is outside 0..{num_classes - 1}")
        yield item


def refuse_bad(source: str, bad: list[Bad]) -> None:
    """Raise ValueError with a line for each bad picture, if there is any."""
    if not bad:
        return
    lines = [f"{source}: {name}: {reason}" for name, reason in bad[:_LISTED_BAD]]
    if len(bad) >= _LISTED_BAD:
        lines.append(f"{source}: perhaps more after these {_LISTED_BAD}")
    raise ValueError(
        "\n".join([*lines, "(--skip-bad leaves such pictures out and lists them in the manifest)"])
    )


def read_class_names(path: Path | None, num_classes: int) -> list[str] | None:
    """The lines of a text file; raises CommandError unless there is one for each class."""
    if path is None:
        return None
    try:
        names = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"--class-names: {error}") from error
    if len(names) < num_classes or len(set(names)) != len(names):
        raise CommandError(
            f"--class-names: {path} has {len(set(names))} distinct names, {num_classes} are wanted"
        )
    return names


def describe(manifest: Manifest) -> str:
    """One line about a data set."""
    counts = " + ".join(f"{entry.records:,} {split}" for split, entry in manifest.splits.items())
    shape = shape_text(manifest.layout.shape)
    return f"{counts} records of {shape}, {manifest.num_classes} classes"


def summary(folder: Path, manifest: Manifest) -> dict[str, Any]:
    """What is said about a data set in JSON; the manifest itself has the rest."""
    return {
        "folder": str(folder),
        "name": manifest.name,
        "shape": list(manifest.layout.shape),
        "num_classes": manifest.num_classes,
        "class_names": manifest.class_names,
        "records": {split: entry.records for split, entry in manifest.splits.items()},
        "channel_mean": manifest.channel_mean,
        "channel_std": manifest.channel_std,
        "provenance": manifest.provenance,
    }
