"""selfie-convert adopt: writes the manifest of record files that have none, if nothing is wrong
with them.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from selfie_io.convert.commands.verify import say_defects
from selfie_io.convert.reading import read_class_names
from selfie_io.convert.subcommand import BAD_DATA, DONE, CommandError, Subcommand, parse_shape, progress, tool
from selfie_io.convert.summary import describe, summary
from selfie_io.records.files import guess_shape, record_files
from selfie_io.records.lock import folder_lock
from selfie_io.records.manifest import MANIFEST_NAME, write_manifest
from selfie_io.records.verify import manifest_of, verify_files


@dataclass(frozen=True)
class Adopt(Subcommand):
    """Check every record of FOLDER and write its manifest, dataset.json.

    FOLDER holds data_batch_1.bin ... data_batch_K.bin, perhaps test_batch.bin, and no manifest: the
    sets that the SELFIE authors published, or your own files in that format. The record files are
    not changed.
    """

    EXAMPLES = (
        "selfie-convert adopt data/animal10n --shape 3,64,64",
        "selfie-convert adopt data/mine --class-names classes.txt --name mine",
    )

    folder: tyro.conf.Positional[Path]
    """The folder with the record files."""
    shape: Annotated[str | None, tyro.conf.arg(metavar="C,H,W")] = None
    """The shape of an image, for a folder without manifest; by default the one known shape that
    fits.
    """
    num_classes: int | None = None
    """The number of classes; by default the largest label + 1."""
    class_names: Path | None = None
    """A text file with one class name per line; by default the classes are called 0, 1, ..."""
    labels_are_clean: bool = False
    """Say that the labels are known to be right; without it they count as unknown, and figures that
    need the truth are n/a.
    """
    name: str | None = None
    """The name of the data set; by default that of the folder."""
    force: bool = False
    """Replace an existing manifest."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        """Check, then write the manifest; 1 if there are defects."""
        if not self.folder.is_dir():
            raise CommandError(f"FOLDER must be a folder, there is none at {self.folder}")
        with folder_lock(self.folder):
            return self._adopt()

    def _adopt(self) -> int:
        if (self.folder / MANIFEST_NAME).exists() and not self.force:
            raise CommandError(
                f"FOLDER must have no manifest, {self.folder} has one; --force makes a new one"
            )
        shape = parse_shape(self.shape) if self.shape else guess_shape(self.folder)
        total = sum(path.stat().st_size for paths in record_files(self.folder).values() for path in paths)
        with progress("adopt", total, "bytes") as advance:
            report = verify_files(
                self.folder, shape, num_classes=self.num_classes, deep=True, advance=advance
            )
        if not report.ok:
            say_defects(report, as_json=self.json)
            return BAD_DATA
        class_names = read_class_names(self.class_names, report.num_classes)
        contiguous = {split: found.contiguous_ids for split, found in report.splits.items()}
        manifest = manifest_of(
            report,
            name=self.name or self.folder.resolve().name,
            class_names=class_names or [str(label) for label in range(report.num_classes)],
            provenance={"tool": tool(), "source": {"kind": "adopted"}, "contiguous_ids": contiguous},
            labels="clean" if self.labels_are_clean else "unknown",
        )
        write_manifest(self.folder, manifest)
        if self.json:
            print(json.dumps(summary(self.folder, manifest)))
        else:
            print(f"{self.folder}: {describe(manifest)}")
        return DONE
