"""selfie-convert verify: checks that a data set is whole and undamaged"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from selfie_io.convert.subcommand import (
    BAD_DATA,
    DONE,
    CommandError,
    Subcommand,
    parse_shape,
    progress,
    shape_text,
)
from selfie_io.records.files import guess_shape, record_files
from selfie_io.records.manifest import read_manifest
from selfie_io.records.verify import Report, verify_folder


@dataclass(frozen=True)
class Verify(Subcommand):
    """Read every record of FOLDER and name each defect by file, record and byte (counted from 0).

    It checks sizes, label ranges, that record ids are distinct within their split, and the manifest
    against the files. With --deep it also checks digests, which locate a changed pixel to within 1
    MiB.
    """

    EXAMPLES = (
        "selfie-convert verify data/digits",
        "selfie-convert verify data/digits --deep --json",
    )

    folder: tyro.conf.Positional[Path]
    """The data set."""
    deep: bool = False
    """Also compare digests and channel statistics."""
    shape: Annotated[str | None, tyro.conf.arg(metavar="C,H,W")] = None
    """The shape of an image, for a folder without manifest; by default the one known shape that
    fits.
    """
    num_classes: int | None = None
    """The number of classes, for a folder without manifest; by default no label is too large."""
    json: bool = False
    """Print the report as JSON."""

    def run(self) -> int:
        """Check and say what is wrong; 1 if anything is."""
        if not self.folder.is_dir():
            raise CommandError(f"FOLDER must be a folder, there is none at {self.folder}")
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
