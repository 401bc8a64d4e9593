"""selfie-convert verify: is a data set whole and undamaged?"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from selfie_io.convert.command import BAD_DATA, DONE, Command, CommandError, parse_shape, progress, shape_text
from selfie_io.records.files import guess_shape, record_files
from selfie_io.records.manifest import read_manifest
from selfie_io.records.verify import Report, verify_folder


@dataclass(frozen=True)
class Verify(Command):
    """Read every record of FOLDER and name each defect by file, record and byte (counted from 0).

    Checked are the sizes, that labels are in range and ids once each in their split, and the manifest against
    the files; with --deep the digests as well, so that a changed pixel is found, to within 1 MiB.
    """

    folder: tyro.conf.Positional[Path]
    """The data set."""
    deep: bool = False
    """Compare digests and channel statistics, too."""
    shape: Annotated[str | None, tyro.conf.arg(metavar="C,H,W")] = None
    """The shape of a picture, if there is no manifest; else the one known shape that fits."""
    num_classes: int | None = None
    """How many classes there are, for a folder without manifest."""
    json: bool = False
    """Print the report as JSON."""

    def run(self) -> int:
        """Check and say what is wrong; 1 if anything is."""
        if not self.folder.is_dir():
            raise CommandError(f"there is no folder {self.folder}")
        manifest = read_manifest(self.folder)
        shape = parse_shape(self.shape) if self.shape else None
        if manifest is None:
            shape = shape or guess_shape(self.folder)
            total = sum(path.stat().st_size for paths in record_files(self.folder).values() for path in paths)
        else:
            total = sum(file.bytes for entry in manifest.splits.values() for file in entry.files)
        with progress("verify", total, "bytes") as advance:
            report = verify_folder(
                self.folder, shape=shape, num_classes=self.num_classes, deep=self.deep, advance=advance
            )
        say_defects(report, as_json=self.json)
        return DONE if report.ok else BAD_DATA


def say_defects(report: Report, *, as_json: bool) -> None:
    """Print the report: defects to stderr, or all of it as JSON to stdout."""
    if as_json:
        print(json.dumps(report.to_json()))
        return
    for defect in report.defects:
        print(f"{report.folder}: {defect}", file=sys.stderr)
    if report.ok:
        counts = " + ".join(f"{found.records:,} {split}" for split, found in report.splits.items())
        print(f"{report.folder}: {counts} records of {shape_text(report.layout.shape)} are good")
