"""selfie-convert adopt: record files without a manifest get one, if nothing is wrong with them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from selfie_io.convert.command import BAD_DATA, DONE, Command, CommandError, parse_shape, progress, tool
from selfie_io.convert.info import describe, summary
from selfie_io.convert.reading import read_class_names
from selfie_io.convert.verify import say_defects
from selfie_io.records.files import guess_shape, record_files
from selfie_io.records.manifest import MANIFEST_NAME, write_manifest
from selfie_io.records.verify import manifest_of, verify_files


@dataclass(frozen=True)
class Adopt(Command):
    """Check every record of FOLDER and write its manifest, dataset.json.

    FOLDER holds data_batch_1.bin ... data_batch_K.bin and perhaps test_batch.bin and no manifest: the
    published sets of the SELFIE authors, or files of one's own in that format. They are not changed.
    """

    folder: tyro.conf.Positional[Path]
    """The folder with the record files."""
    shape: Annotated[str | None, tyro.conf.arg(metavar="C,H,W")] = None
    """The shape of a picture, if there is no manifest; else the one known shape that fits."""
    num_classes: int | None = None
    """How many classes there are; else the largest label + 1."""
    class_names: Path | None = None
    """A text file with a class name a line; else the classes are called 0, 1, ..."""
    name: str | None = None
    """The name of the data set; else that of the folder."""
    force: bool = False
    """Replace a manifest that is there."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        """Check, then write the manifest; 1 if there are defects."""
        if not self.folder.is_dir():
            raise CommandError(f"there is no folder {self.folder}")
        if (self.folder / MANIFEST_NAME).exists() and not self.force:
            raise CommandError(f"{self.folder} has a manifest; --force makes a new one")
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
        )
        write_manifest(self.folder, manifest)
        if self.json:
            print(json.dumps(summary(self.folder, manifest)))
        else:
            print(f"{self.folder}: {describe(manifest)}")
        return DONE
