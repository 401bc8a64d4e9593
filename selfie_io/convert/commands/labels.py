"""selfie-convert labels: imports labels that people gave as an overlay."""

import json
from dataclasses import dataclass
from pathlib import Path

import tyro

from selfie_io.convert.subcommand import DONE, CommandError, Subcommand


@dataclass(frozen=True)
class Labels(Subcommand):
    """Import labels that people gave (CIFAR-10N, CIFAR-100N and others) as an overlay of FOLDER.

    FILE is a .pt with arrays by key, a .csv with a header, or a .npy. Row i belongs to record i of
    the training split, in the order of the published CIFAR batches. If FILE also has the clean
    labels, they must equal the stored ones; the first row that differs is named. No code in a .pt
    file is run.
    """

    folder: tyro.conf.Positional[Path]
    """The data set."""
    file: tyro.conf.Positional[Path]
    """The file with the labels."""
    key: str
    """The labels to import: worse_label, aggre_label, random_label1, noisy_label, ..."""
    name: str | None = None
    """The name of the overlay; by default KEY."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        """Check and write the overlay."""
        if not self.folder.is_dir():
            raise CommandError(f"FOLDER must be a folder, there is none at {self.folder}")
        if not self.file.exists():
            raise CommandError(f"FILE must exist, there is none at {self.file}")
        from selfie_io.labels.human_labels import import_human_labels
        from selfie_io.records.dataset import open_dataset

        overlay = import_human_labels(open_dataset(self.folder), self.file, self.key, name=self.name)
        rate = overlay.observed_noise_rate
        if self.json:
            print(json.dumps({"folder": str(self.folder), "name": overlay.name, "observed_noise_rate": rate}))
        else:
            print(f"{self.folder}: overlay {overlay.name}: {rate:.2%} of {overlay.records:,} labels differ")
        return DONE
