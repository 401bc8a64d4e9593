"""selfie-convert pack: writes a source as a folder of record files."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from selfie_io.convert.decoding.decoder import Decoder
from selfie_io.convert.packing import (
    SKIP_HINT,
    append_items,
    decoding_notes,
    opened_source,
    with_notes,
    worker_count,
)
from selfie_io.convert.reading import Reading
from selfie_io.convert.sources.source import Source
from selfie_io.convert.storage.locations import check_target, name_of, new_folder
from selfie_io.convert.storage.source_cache import check_source
from selfie_io.convert.subcommand import DONE, Subcommand, progress, say
from selfie_io.convert.summary import describe, summary
from selfie_io.records.layout import RecordLayout
from selfie_io.records.manifest import MANIFEST_NAME, Manifest
from selfie_io.records.writer import DatasetWriter


@dataclass(frozen=True)
class Pack(Reading, Subcommand):
    """Read images and labels from SOURCE and write them as record files into the new folder OUT.

    SOURCE is a folder, an archive or a file. Its content decides its kind, unless --kind does:
      cifar10, cifar100          the Python version, as a tar.gz or a folder
      cifar10-bin, cifar100-bin  the binary version
      tiny-imagenet              the zip or folder with wnids.txt; val is the test split
      animal10n                  training/ and testing/ with images named LABEL_anything.jpg
      image-folder               train/CLASS/*.jpg and test/CLASS/*.jpg (or val/), or CLASS/*.jpg with
                                 --test-fraction; a folder, a zip or a tar
      idx                        MNIST and similar sets: train-images-idx3-ubyte.gz, ...
      svhn                       train_32x32.mat and test_32x32.mat
      npz                        x_train, y_train, x_test, y_test or train_images, train_labels, ...
      parquet                    Hugging Face image data sets: a folder of .parquet files
      webdataset                 tar shards of KEY.jpg and KEY.cls
      digits                     the word digits: the images that scikit-learn ships

    A compressed tar is unpacked into an unnamed file in the temporary folder (TMPDIR) while it is
    read.

    OUT appears when the command is done, never half-written: a failed pack leaves what was there
    before.
    """

    EXAMPLES = (
        "selfie-convert pack digits data/digits",
        "selfie-convert pack photos/ data/photos --size 64x64 --test-fraction 0.2",
        "selfie-convert pack cifar-10-python.tar.gz data/cifar10",
        "selfie-convert pack images.zip data/images --size 32x32 --skip-bad --workers 4",
    )

    source: tyro.conf.Positional[str]
    """Where the images are: a path, a URL (with the extra [remote]), or the word digits."""
    out: tyro.conf.Positional[str | Path]
    """The folder to write, or a URL (s3://..., with the extra [remote])."""
    workers: Annotated[int, tyro.conf.arg(help_behavior_hint="(default: one per core)")] = 0
    """Processes that decode images; the result is the same for any number."""
    skip_bad: bool = False
    """Leave out what is bad or does not belong (images, rows, other files) and list it, instead of
    failing."""
    force: bool = False
    """Replace OUT, and the label overlays in it, if it is a data set."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        """Pack and say what was written."""
        self.check()
        check_source(self.source)
        check_target(str(self.out), self.source, force=self.force)
        with (
            opened_source(self.source, self.kind, self.source_options(skip_bad=self.skip_bad)) as source,
            progress("pack", sum(source.splits.values())) as advance,
        ):
            manifest = self._pack(source, advance)
        if self.json:
            print(json.dumps(summary(self.out, manifest)))
        else:
            print(f"{self.out}: {describe(manifest)}")
        return DONE

    def _pack(self, source: Source, advance: Callable[[int], None]) -> Manifest:
        rule = self.image_rule(source, skip_bad=self.skip_bad, hint=SKIP_HINT)
        layout = RecordLayout(rule.channels, rule.height, rule.width)
        class_names = self.all_class_names(source)
        workers = worker_count(self.workers)
        needed = sum(source.splits.values()) * layout.record_bytes
        turned = 0
        skipped: list[dict[str, str]] = []
        with (
            new_folder(str(self.out), last=MANIFEST_NAME, replace=self.force, needed_bytes=needed) as folder,
            Decoder(rule, workers) as decoder,
            DatasetWriter(folder, layout, len(class_names), records_per_file=self.records_per_file) as writer,
        ):
            for split in source.splits:
                done = append_items(
                    decoder,
                    source.items(split),
                    len(class_names),
                    partial(writer.append, split),
                    skip_bad=self.skip_bad,
                    advance=advance,
                    location=self.source,
                    hint=SKIP_HINT,
                )
                turned += done.turned
                skipped += [{"split": split, **one._asdict()} for one in done.bad]
            notes = decoding_notes(turned, skipped)
            for note in notes:
                say(f"note: {note}")
            provenance = with_notes(self.provenance(source, self.source), notes)
            return writer.finish(
                name=self.name or name_of(str(self.out)),
                class_names=class_names,
                provenance={**provenance, "skipped": skipped} if skipped else provenance,
                labels=self.label_state(source),
            )
