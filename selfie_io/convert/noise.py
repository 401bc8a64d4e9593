"""selfie-convert noise: a label overlay with injected noise."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from selfie_io.convert.command import DONE, Command, CommandError, tool

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from selfie_io.records.dataset import RecordDataset

INSTANCE = "instance"


@dataclass(frozen=True)
class Noise(Command):
    """Give the training labels of FOLDER a known noise, as an overlay that stands beside the true ones.

    The record files do not change. The draw of a record hangs on the seed and its record id alone.
      pair        a label becomes the next class with probability RATE
      symmetric   a label becomes any other class, together with probability RATE
      asymmetric  CIFAR-10 and CIFAR-100: a label becomes a class it is often taken for
      instance    a label becomes one that depends on the picture (Xia et al., NeurIPS 2020)
    """

    folder: tyro.conf.Positional[Path]
    """The data set."""
    kind: str = "pair"
    """The kind of noise."""
    rate: float | None = None
    """The part of the labels to change, 0.4 say."""
    matrix: Path | None = None
    """Instead of kind and rate: a CSV file, row i the probabilities of each noisy class given class i."""
    seed: int = 0
    """Another seed, other labels."""
    exact: bool = False
    """Change as near to the asked part of each class as whole numbers allow, not just on average."""
    name: str | None = None
    """The name of the overlay; else KIND-RATE, pair-0.4 say."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> int:
        """Draw the labels and write the overlay."""
        if (self.rate is None) == (self.matrix is None):
            raise CommandError("either --rate or --matrix is needed")
        if self.rate is not None and not 0 <= self.rate <= 1:
            raise CommandError(f"--rate is in [0, 1], got {self.rate}")
        if self.exact and self.kind == INSTANCE and self.matrix is None:
            raise CommandError("--exact counts by a matrix, and instance noise has none")
        if not self.folder.is_dir():
            raise CommandError(f"there is no folder {self.folder}")
        from selfie_io.labels.overlay import save_overlay
        from selfie_io.records.dataset import open_dataset

        dataset = open_dataset(self.folder)
        labels = dataset.train.labels
        noisy, matrix = self._draw(dataset)
        if self.matrix is None:
            kind, name = self.kind, f"{self.kind}-{self.rate:g}"
        else:
            kind, name = "matrix", f"matrix-{self.matrix.stem}"
        name = self.name or name
        changed = float((noisy != labels).mean())
        provenance = {
            "tool": tool(),
            "kind": kind,
            "rate": self.rate,
            "seed": self.seed,
            "exact": self.exact,
            "transition_matrix": matrix,
        }
        save_overlay(dataset, name, noisy, provenance)
        if self.json:
            print(json.dumps({"folder": str(self.folder), "name": name, "observed_noise_rate": changed}))
        else:
            print(f"{self.folder}: overlay {name}: {changed:.2%} of {len(labels):,} labels changed")
        return DONE

    def _draw(self, dataset: "RecordDataset") -> "tuple[NDArray[np.int64], NDArray[np.float64] | None]":
        """The noisy labels and, where there is one, the matrix they were drawn from."""
        train = dataset.train
        if self.kind == INSTANCE and self.rate is not None:
            from selfie_io.labels.instance_noise import inject_instance_noise

            classes, ids = dataset.num_classes, train.record_ids
            return inject_instance_noise(
                train, train.labels, classes, self.rate, seed=self.seed, record_ids=ids
            ), None
        from selfie_io.labels.noise import inject_noise
        from selfie_io.labels.transition import read_matrix, transition_matrix

        if self.matrix is not None:
            matrix = read_matrix(self.matrix)
        else:
            assert self.rate is not None  # one of the two is there
            try:
                matrix = transition_matrix(self.kind, dataset.num_classes, self.rate)
            except ValueError as error:
                raise CommandError(str(error)) from error
        ids = train.record_ids
        return inject_noise(train.labels, matrix, seed=self.seed, exact=self.exact, record_ids=ids), matrix
