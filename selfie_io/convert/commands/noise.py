"""selfie-convert noise: injects noise as a label overlay."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from selfie_io.convert.storage.locations import check_target
from selfie_io.convert.subcommand import DONE, CommandError, Subcommand, say, tool

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from selfie_io.records.dataset import RecordDataset

INSTANCE, OPEN_SET = "instance", "open-set"


@dataclass(frozen=True)
class Noise(Subcommand):
    """Inject known noise into the training labels of FOLDER, as an overlay beside the stored ones.

    The record files do not change. The draw of a record depends on the seed and its record id alone.
      pair        a label becomes the next class with probability RATE
      symmetric   a label becomes any other class, together with probability RATE
      asymmetric  CIFAR-10 and CIFAR-100: a label becomes a class that it is often mistaken for
      instance    a label becomes one that depends on the image (Xia et al., NeurIPS 2020)
      open-set    an image of --other replaces the image and keeps its label (Wang et al., CVPR 2018);
                  writes the new data set OUT, because an overlay holds labels alone
    """

    EXAMPLES = (
        "selfie-convert noise data/digits --kind pair --rate 0.4",
        "selfie-convert noise data/digits --kind symmetric --rate 0.2 --seed 1 --exact",
        "selfie-convert noise data/digits --matrix confusion.csv --name mine",
        "selfie-convert noise data/mine --kind open-set --rate 0.2 --other data/others --out data/open",
    )

    folder: tyro.conf.Positional[Path]
    """The data set."""
    kind: str = "pair"
    """The kind of noise."""
    rate: float | None = None
    """The fraction of the labels to change, for example 0.4. No default: --rate or --matrix must be given."""
    matrix: Path | None = None
    """Instead of --kind and --rate: a CSV file; row i holds the probabilities of each noisy class
    given class i. By default --kind and --rate decide.
    """
    seed: int = 0
    """The seed of the draw."""
    exact: bool = False
    """Change the asked fraction of each class as closely as integers allow, not just on average."""
    include_true: bool = False
    """Symmetric noise draws from all classes including the true one, so less than RATE changes."""
    name: str | None = None
    """The name of the overlay; by default KIND-RATE, for example pair-0.4."""
    other: Path | None = None
    """open-set: the data set whose training images are inserted. No default."""
    out: Path | None = None
    """open-set: the new folder to write. No default."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        """Draw the labels and write the overlay."""
        given = self.matrix if self.rate is None else self.rate
        if given is None or (self.rate is not None and self.matrix is not None):
            raise CommandError("exactly one of --rate and --matrix must be given")
        if self.rate is not None and not 0 <= self.rate <= 1:
            raise CommandError(f"--rate must be in [0, 1], got {self.rate}")
        if self.exact and self.kind in (INSTANCE, OPEN_SET) and self.matrix is None:
            raise CommandError(f"--exact needs noise with a matrix, {self.kind} noise has none")
        if self.include_true and (self.kind not in ("symmetric", "symmetry") or self.matrix is not None):
            raise CommandError(f"--include-true needs --kind symmetric, got {self.kind}")
        open_set = self.kind == OPEN_SET and self.matrix is None
        if {self.other is None, self.out is None} != {not open_set}:
            raise CommandError("--other and --out must be given with --kind open-set, and with no other kind")
        if open_set and self.name is not None:
            raise CommandError(
                "--name names an overlay, and open-set noise writes none; --out names the data set"
            )
        for folder in (self.folder, self.other or self.folder):
            if not folder.is_dir():
                raise CommandError(f"FOLDER must be a folder, there is none at {folder}")
        if self.rate is not None and self.other is not None and self.out is not None:
            return self._write_open_set(self.rate, self.other, self.out)
        from selfie_io.labels.overlay_writer import MOST_CLASSES_TOLD, save_overlay
        from selfie_io.records.dataset import open_dataset

        dataset = open_dataset(self.folder)
        labels = dataset.train.labels
        noisy, matrix = self._draw(dataset, given)
        if self.matrix is None:
            kind, name = self.kind, f"{self.kind}-{self.rate:g}"
        else:
            kind, name = "matrix", f"matrix-{self.matrix.stem}"
        name = self.name or name
        changed = float((noisy != labels).mean())
        if matrix is not None and len(matrix) > MOST_CLASSES_TOLD:
            left_out = f"the transition matrix of {len(matrix):,} classes is left out of {name}.json"
            say(f"{left_out}: kind, rate and seed tell it")
            matrix = None
        provenance = {
            "tool": tool(),
            "kind": kind,
            "rate": self.rate,
            "seed": self.seed,
            "exact": self.exact,
            "include_true": self.include_true,
            "transition_matrix": matrix,
        }
        save_overlay(dataset, name, noisy, provenance)
        if self.json:
            print(json.dumps({"folder": str(self.folder), "name": name, "observed_noise_rate": changed}))
        else:
            print(f"{self.folder}: overlay {name}: {changed:.2%} of {len(labels):,} labels changed")
        return DONE

    def _draw(
        self, dataset: "RecordDataset", given: float | Path
    ) -> "tuple[NDArray[np.int64], NDArray[np.float64] | None]":
        """The noisy labels by a rate or a matrix file and, where there is one, the matrix of the
        draw.
        """
        from selfie_io.labels.instance_noise import inject_instance_noise
        from selfie_io.labels.noise import inject_noise
        from selfie_io.labels.transition import read_matrix, transition_matrix

        train, classes, ids = dataset.train, dataset.num_classes, dataset.train.record_ids
        if isinstance(given, Path):
            matrix = read_matrix(given)
        elif self.kind == INSTANCE:
            noisy = inject_instance_noise(train, train.labels, classes, given, seed=self.seed, record_ids=ids)
            return noisy, None
        else:
            try:
                matrix = transition_matrix(
                    self.kind,
                    classes,
                    given,
                    include_true=self.include_true,
                    class_names=dataset.class_names,
                )
            except ValueError as error:
                raise CommandError(str(error)) from error
        return inject_noise(train.labels, matrix, seed=self.seed, exact=self.exact, record_ids=ids), matrix

    def _write_open_set(self, rate: float, other_folder: Path, out: Path) -> int:
        from selfie_io.labels.open_set import write_open_set
        from selfie_io.records.dataset import open_dataset

        check_target(str(out), str(self.folder), force=False)
        dataset, other = open_dataset(self.folder), open_dataset(other_folder)
        manifest = write_open_set(dataset, other, rate, out, seed=self.seed)
        told = {"folder": str(out), **manifest.provenance}
        if self.json:
            print(json.dumps(told))
        else:
            count = manifest.splits["train"].records
            print(f"{out}: {told['replaced']:,} of {count:,} training images are of {other.name}")
        return DONE
