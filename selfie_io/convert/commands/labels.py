"""selfie-convert labels: imports labels that people gave as an overlay."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from selfie_io.convert.subcommand import DONE, CommandError, Subcommand, say


@dataclass(frozen=True)
class Labels(Subcommand):
    """Import labels that people gave, or the decisions of a review, as an overlay of FOLDER.

    FILE is a .csv with a header, a .pt with arrays by key (CIFAR-10N, CIFAR-100N), or a .npy. A .csv
    with a column record_id, index or name is matched by it and may name some records only; the others
    keep their labels. Without one, row i belongs to record i, and all records need a row. A label is
    a number or a class name; -1 leaves a record out, an empty cell changes nothing. If FILE also has
    the clean labels, they must equal the stored ones. Whatever differs is named by row and column. A
    decisions.csv of review.html needs no --key: keep, relabel, drop (-1), unsure. No code in a .pt
    file is run.
    """

    EXAMPLES = (
        "selfie-convert labels data/cifar10 CIFAR-10_human.pt --key worse_label",
        "selfie-convert labels data/digits labels.csv --key noisy_label --name second",
        "selfie-convert labels data/digits decisions.csv --name reviewed",
    )

    folder: tyro.conf.Positional[Path]
    """The data set."""
    file: tyro.conf.Positional[Path]
    """The file with the labels."""
    key: str | None = None
    """The labels to import: worse_label, noisy_label, suggested_label, ... No default; not for a
    decisions.csv."""
    name: str | None = None
    """The name of the overlay; by default KEY, or "decisions"."""
    base: str | None = None
    """The overlay whose labels the other records keep, and which was reviewed; by default the stored
    labels.
    """
    unsure: Literal["keep", "drop"] = "keep"
    """What becomes of records that the reviewer was unsure about."""
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

        dataset = open_dataset(self.folder)
        overlay = import_human_labels(
            dataset, self.file, self.key, name=self.name, base=self.base, unsure=self.unsure
        )
        rate = overlay.observed_noise_rate
        dropped = int((dataset.train.labels_from(overlay.name) < 0).sum())
        told = overlay.provenance
        if self.json:
            found = {"folder": str(self.folder), "name": overlay.name, "observed_noise_rate": rate}
            print(json.dumps(found | {"dropped": dropped, "provenance": told}))
            return DONE
        if "decisions" in told:
            say("decisions: " + ", ".join(f"{count:,} {word}" for word, count in told["decisions"].items()))
        if told.get("matched_by"):
            rows = f"{told['rows']:,} rows " if "rows" in told else ""
            empty = f"; {told['empty_cells']:,} empty cells change nothing" if told.get("empty_cells") else ""
            say(f"{self.file}: {rows}matched by {told['matched_by']}{empty}")
        left_out = f"; {dropped:,} records are left out" if dropped else ""
        print(
            f"{self.folder}: overlay {overlay.name}: {rate:.2%} of {overlay.records - dropped:,} labels "
            f"differ{left_out}"
        )
        return DONE
