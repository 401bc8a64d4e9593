"""selfie-convert pack: a source becomes a folder of record files."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from selfie_io.convert.cache import find_source
from selfie_io.convert.command import DONE, Command, CommandError, progress, say
from selfie_io.convert.decode import Decoder
from selfie_io.convert.info import describe, summary
from selfie_io.convert.pictures import Bad
from selfie_io.convert.places import check_target, name_of, new_folder
from selfie_io.convert.reading import Reading, checked_labels, refuse_bad, too_many
from selfie_io.convert.sources import open_source
from selfie_io.convert.sources.base import Source
from selfie_io.records.layout import RecordLayout
from selfie_io.records.manifest import MANIFEST_NAME, Manifest
from selfie_io.records.writer import DatasetWriter

_HINT = "(--skip-bad leaves such pictures out and lists them in the manifest)"


@dataclass(frozen=True)
class Pack(Reading, Command):
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
    """Where the pictures are: a path, a URL (with the extra [remote]), or the word digits."""
    out: tyro.conf.Positional[str | Path]
    """The folder to write, or a URL (s3://..., with the extra [remote])."""
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
        self.check()
        path = find_source(self.source)
        check_target(str(self.out), self.source, force=self.force)
        manifest = self._pack_source(path)
        if self.json:
            print(json.dumps(summary(self.out, manifest)))
        else:
            print(f"{self.out}: {describe(manifest)}")
        return DONE

    def _pack_source(self, path: str) -> Manifest:
        with open_source(path, self.kind, self.source_options()) as (source, seen):
            say(f"{self.source}: {seen}")
            for note in source.notes:
                say(f"note: {note}")
            with progress("pack", sum(source.splits.values())) as advance:
                return self._pack(source, advance)

    def _pack(self, source: Source, advance: Callable[[int], None]) -> Manifest:
        rule = self.picture_rule(source, skip_bad=self.skip_bad)
        layout = RecordLayout(rule.channels, rule.height, rule.width)
        class_names = self.all_class_names(source)
        bad: dict[str, list[Bad]] = {}
        with (
            new_folder(str(self.out), last=MANIFEST_NAME) as folder,
            Decoder(rule, worker_count(self.workers)) as decoder,
            DatasetWriter(folder, layout, len(class_names), records_per_file=self.records_per_file) as writer,
        ):
            for split in source.splits:
                bad[split] = []
                for decoded in decoder.decode(checked_labels(source.items(split), len(class_names))):
                    bad[split] += decoded.bad
                    advance(len(decoded.labels) + len(decoded.bad))
                    if not bad[split] or self.skip_bad:
                        writer.append(split, decoded.images, decoded.labels)
                    elif too_many(bad[split]):
                        break
                if not self.skip_bad:
                    refuse_bad(self.source, bad[split], _HINT)
            provenance = self.provenance(source, self.source)
            skipped = [{"split": split, **one._asdict()} for split, found in bad.items() for one in found]
            return writer.finish(
                name=self.name or name_of(str(self.out)),
                class_names=class_names,
                provenance={**provenance, "skipped": skipped} if skipped else provenance,
            )


def worker_count(asked: int) -> int:
    """How many processes decode; 0 asks for one per core. Raises CommandError for a negative number."""
    if asked < 0:
        raise CommandError(f"--workers is positive, got {asked}")
    return asked or len(os.sched_getaffinity(0))
