"""selfie-convert export: writes a data set in a format that other programs read."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from selfie_io.convert.subcommand import DONE, CommandError, Subcommand, parse_shape, progress, say
from selfie_io.records.atomic import atomic_folder, atomic_path


@dataclass(frozen=True)
class Export(Subcommand):
    """Write the data set FOLDER to OUT in a format that other programs read. Pack reads each of
    them back.

      folder       train/CLASS/INDEX.png, with records.csv (each file with its record id and label)
      npz          one file OUT with x_train, y_train, x_test, y_test, record ids and class_names
      cifar10-bin  the binary version of CIFAR-10, for 3x32x32 images
      webdataset   tar shards of INDEX.png and INDEX.cls
      parquet      a Hugging Face image data set

    --labels NAME writes the labels of an overlay. Records to which it gives -1 are left out.
    """

    EXAMPLES = (
        "selfie-convert export data/digits exported",
        "selfie-convert export data/digits digits.npz --to npz --labels pair-0.4",
        "selfie-convert export data/digits shards --to webdataset",
    )

    folder: tyro.conf.Positional[Path]
    """The data set."""
    out: tyro.conf.Positional[Path]
    """The folder to write, or the file for npz."""
    to: Literal["folder", "npz", "cifar10-bin", "webdataset", "parquet"] = "folder"
    """The format."""
    labels: str | None = None
    """Export the labels of this overlay, where -1 leaves a record out; by default the stored
    training labels."""
    shape: Annotated[str | None, tyro.conf.arg(metavar="C,H,W")] = None
    """The shape of an image, for a folder without manifest; by default the one known shape that
    fits.
    """

    def run(self) -> int:
        """Write OUT, whole or not at all."""
        from selfie_io.convert.export_formats import TARGETS, ExportedRecords
        from selfie_io.records.dataset import open_dataset

        if not self.folder.is_dir():
            raise CommandError(f"FOLDER must be a folder, there is none at {self.folder}")
        if os.path.lexists(self.out) and not (
            self.to != "npz" and self.out.is_dir() and not any(self.out.iterdir())
        ):
            raise CommandError(f"OUT must be absent, {self.out} is there already")
        if self.folder.resolve() in self.out.resolve().parents:
            raise CommandError(f"OUT must not be inside FOLDER, the data set; got {self.out}")
        dataset = open_dataset(self.folder, shape=parse_shape(self.shape) if self.shape else None)
        labels = {split: records.labels for split, records in dataset.splits.items()}
        if self.labels is not None:
            labels["train"] = dataset.train.labels_from(self.labels)
        kept = {split: int((of_split >= 0).sum()) for split, of_split in labels.items()}
        left_out = len(labels["train"]) - kept["train"]
        with progress("export", sum(kept.values())) as advance:
            export = ExportedRecords(dataset, labels, advance)
            if self.to == "npz":
                with atomic_path(self.out, replace=False) as temporary:
                    TARGETS[self.to](export, temporary)
            else:
                with atomic_folder(self.out) as temporary:
                    TARGETS[self.to](export, temporary)
        if left_out:
            of_all = f"{left_out:,} of {len(labels['train']):,} training records"
            say(f"{of_all} are left out: {self.labels} has -1")
        counts = " + ".join(f"{count:,} {split}" for split, count in kept.items())
        print(f"{self.out}: {counts} records as {self.to}")
        return DONE
