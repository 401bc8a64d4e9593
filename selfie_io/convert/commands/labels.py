"""selfie-convert labels: labels that people gave, as an overlay."""

import json
from dataclasses import dataclass
from pathlib import Path

import tyro

from selfie_io.convert.command import DONE, Command, CommandError


@dataclass(frozen=True)
class Labels(Command):
    """Import labels that people gave (CIFAR-10N, CIFAR-100N and others) beside the stored ones of FOLDER.

    FILE is a .pt with arrays by key, a .csv with a header, or a .npy. Row i is record i of the training
    split, in the order of the published CIFAR batches. Where FILE has the clean labels, too, they must agree
    with the stored ones: one for another order is refused, with the first row that differs. A .pt is not run.
    """

    folder: tyro.conf.Positional[Path]
    """The data set."""
    file: tyro.conf.Positional[Path]
    """The file with the labels."""
    key: str
    """Which labels: worse_label, aggre_label, random_label1, noisy_label, ..."""
    name: str | None = None
    """The name of the overlay; else KEY."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        """Check and write the overlay."""
        if not self.folder.is_dir():
            raise CommandError(f"there is no folder {self.folder}")
        if not self.file.exists():
            raise CommandError(f"there is no FILE {self.file}")
        from selfie_io.labels.overlay import import_human_labels
        from selfie_io.records.dataset import open_dataset

        overlay = import_human_labels(open_dataset(self.folder), self.file, self.key, name=self.name)
        rate = overlay.observed_noise_rate
        if self.json:
            print(json.dumps({"folder": str(self.folder), "name": overlay.name, "observed_noise_rate": rate}))
        else:
            print(f"{self.folder}: overlay {overlay.name}: {rate:.2%} of {overlay.records:,} labels differ")
        return DONE
