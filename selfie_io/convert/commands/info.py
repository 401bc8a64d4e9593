"""selfie-convert info: describes a data set."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from selfie_io.convert.png_file import check_png_target, save_png
from selfie_io.convert.sources.source import missing_extra
from selfie_io.convert.subcommand import DONE, CommandError, Subcommand, parse_shape, shape_text
from selfie_io.records.files import guess_shape
from selfie_io.records.manifest import read_manifest
from selfie_io.records.overlay_reader import list_overlays
from selfie_io.records.verify import verify_folder


@dataclass(frozen=True)
class Info(Subcommand):
    """Describe FOLDER: image shape, classes and their sizes, splits, label overlays, and where it
    came from.

    "ids 0..N-1" says that the record ids are exactly 0..N-1, in any order. The SELFIE authors' own
    program needs that of the training split; this one reads any distinct ids.
    """

    EXAMPLES = (
        "selfie-convert info data/digits",
        "selfie-convert info data/digits --overlay pair-0.4 --image matrix.png",
        "selfie-convert info data/digits --json",
    )

    folder: tyro.conf.Positional[Path]
    """The data set."""
    shape: Annotated[str | None, tyro.conf.arg(metavar="C,H,W")] = None
    """The shape of an image, for a folder without manifest; by default the one known shape that
    fits.
    """
    overlay: str | None = None
    """Describe this label overlay: noise rate of all records and of each class, matrix; by default the
    data set."""
    image: Path | None = None
    """With --overlay: also draw the observed matrix into this PNG file; by default nothing is
    drawn."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        """Read the headers of all records and print what is known."""
        if not self.folder.is_dir():
            raise CommandError(f"FOLDER must be a folder, there is none at {self.folder}")
        if self.overlay is not None:
            return self._tell_overlay(self.overlay)
        if self.image is not None:
            raise CommandError("--image needs --overlay: it draws that overlay's matrix")
        facts = self._facts()
        if self.json:
            print(json.dumps(facts))
            return DONE
        from rich.table import Table

        from selfie_io.rich_console import RichConsole

        table = Table(title=facts["name"], show_header=False, title_justify="left")
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        for key in ("folder", "shape", "num_classes", "channel_mean", "channel_std", "overlays", "defects"):
            value = facts[key]
            if key == "shape":
                value = f"{shape_text(value)}, {facts['record_bytes']} bytes a record"
            elif isinstance(value, list):
                value = ", ".join(f"{one:.4f}" if isinstance(one, float) else one for one in value)
            if value not in ("", None):
                table.add_row(key.replace("_", " "), str(value))
        for split, found in facts["splits"].items():
            ids = "0..N-1" if found["contiguous_ids"] else "not 0..N-1"
            counts = found["records_per_class"]
            table.add_row(
                split,
                f"{found['records']:,} records in {found['files']} files, ids {ids}, "
                f"{min(counts):,} to {max(counts):,} a class",
            )
        table.add_row("classes", ", ".join(facts["class_names"]))
        if facts["provenance"] is not None:
            table.add_row("provenance", json.dumps(facts["provenance"]))
        RichConsole().print(table)
        return DONE

    def _tell_overlay(self, name: str) -> int:
        from selfie_io.labels.describe import describe_overlay, print_overlay
        from selfie_io.records.dataset import open_dataset

        if self.image is not None:
            check_png_target(self.image, "--image")
        dataset = open_dataset(self.folder, shape=parse_shape(self.shape) if self.shape else None)
        facts = describe_overlay(dataset, name)
        if self.json:
            print(json.dumps(facts))
        else:
            print_overlay(facts, dataset.class_names)
        if self.image is not None:
            try:
                from selfie_io.labels.matrix_image import matrix_image
            except ImportError as error:
                raise ModuleNotFoundError(missing_extra("Pillow", "--image")) from error
            save_png(matrix_image(facts["observed_matrix"], dataset.class_names), self.image)
        return DONE

    def _facts(self) -> dict[str, Any]:
        manifest = read_manifest(self.folder)
        shape = parse_shape(self.shape) if self.shape else None
        if manifest is None:
            shape = shape or guess_shape(self.folder)
        report = verify_folder(self.folder, shape=shape)
        return {
            "folder": str(self.folder),
            "name": manifest.name if manifest else self.folder.resolve().name,
            "manifest": manifest is not None,
            "shape": list(report.layout.shape),
            "record_bytes": report.layout.record_bytes,
            "num_classes": report.num_classes,
            "class_names": manifest.class_names if manifest else [str(i) for i in range(report.num_classes)],
            "splits": {
                split: {
                    "records": found.records,
                    "files": len(found.files),
                    "contiguous_ids": found.contiguous_ids,
                    "records_per_class": _padded(found.label_counts, report.num_classes),
                }
                for split, found in report.splits.items()
            },
            "channel_mean": manifest.channel_mean if manifest else None,
            "channel_std": manifest.channel_std if manifest else None,
            "overlays": list_overlays(self.folder),
            "defects": [str(defect) for defect in report.defects],
            "provenance": manifest.provenance if manifest else None,
        }


def _padded(counts: "np.ndarray[Any, Any]", num_classes: int) -> list[int]:
    return [*counts.tolist(), *[0] * (num_classes - len(counts))]
