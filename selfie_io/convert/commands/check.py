"""selfie-convert check: duplicates, leaks between the splits, constant images, small classes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt
import tyro

from selfie_io.console import harmless
from selfie_io.convert.subcommand import DONE, CommandError, Subcommand, parse_shape, progress

if TYPE_CHECKING:
    from selfie_io.records.check import DatasetCheck

_LISTED = 10


@dataclass(frozen=True)
class Check(Subcommand):
    """Find duplicates in FOLDER, exact and near, also with other labels and across the splits.

    Near: encoded again, mirrored, or shifted by a pixel. Constant images and classes with few records
    are listed as well. Two labels for one image are the plainest evidence of a wrong label; a test
    image that is in the training split makes every test error too good. Nothing is changed.
    """

    EXAMPLES = (
        "selfie-convert check data/digits",
        "selfie-convert check data/cifar10 --near 0 --labels worse_label --all",
    )

    folder: tyro.conf.Positional[Path]
    """The data set."""
    near: float = 0.45
    """How far the pixels of near duplicates may differ, in units of the image's contrast; 0: exact
    duplicates alone.
    """
    labels: str | None = None
    """Compare the labels of this overlay; by default the stored ones."""
    all: bool = False
    """List everything, not the first ten of each kind."""
    shape: Annotated[str | None, tyro.conf.arg(metavar="C,H,W")] = None
    """The shape of an image, for a folder without manifest; by default the one known shape that
    fits.
    """
    json: bool = False
    """Print everything as JSON."""

    def run(self) -> int:
        """Compare all records and say what was found."""
        if not self.folder.is_dir():
            raise CommandError(f"FOLDER must be a folder, there is none at {self.folder}")
        if not 0 <= self.near < 1:
            raise CommandError(f"--near must be at least 0 and below 1, got {self.near}")
        from selfie_io.records.check import check_dataset
        from selfie_io.records.dataset import open_dataset

        dataset = open_dataset(self.folder, shape=parse_shape(self.shape) if self.shape else None)
        labels = None if self.labels is None else dataset.train.labels_from(self.labels)
        found = check_dataset(dataset, labels, near=self.near, progress=progress)
        if self.json:
            print(json.dumps(found.to_json()))
        else:
            self._print(found)
        return DONE

    def _print(self, found: "DatasetCheck") -> None:
        pairs, differ, leaks = found.duplicates, found.labels_differ, found.leaks
        plain = ~differ & ~leaks
        self._list_pairs(found, "duplicates with different labels", differ)
        self._list_pairs(found, "duplicates across the splits, with one label", leaks & ~differ)
        self._list_pairs(found, "exact duplicates within a split, with one label", plain & pairs.exact)
        self._list_pairs(found, "near duplicates within a split, with one label", plain & ~pairs.exact)
        flat = np.setdiff1d(pairs.flat, pairs.constant)
        self._list("constant images", [found.called(position) for position in pairs.constant.tolist()])
        self._list("nearly constant images", [found.called(position) for position in flat.tolist()])
        names = found.dataset.class_names
        self._list(
            "small classes", [f"{names[label]}: {count:,} records" for label, count in found.small_classes]
        )
        counts = " + ".join(f"{len(split):,} {name}" for name, split in found.dataset.splits.items())
        print(
            f"{self.folder}: {counts} records: {int(pairs.exact.sum()):,} exact and "
            f"{int((~pairs.exact).sum()):,} near duplicates, {int(differ.sum()):,} with different labels, "
            f"{int(leaks.sum()):,} across the splits"
        )

    def _list_pairs(self, found: "DatasetCheck", title: str, chosen: npt.NDArray[np.bool_]) -> None:
        pairs = found.duplicates
        lines: list[str] = []
        order = np.argsort(pairs.difference, kind="stable")
        for pair in order[chosen[order]].tolist():
            if len(lines) < _LISTED or self.all:
                both = f"{found.called(int(pairs.first[pair]))} = {found.called(int(pairs.second[pair]))}"
                lines.append(both if pairs.exact[pair] else f"{both}, differ by {pairs.difference[pair]:.2f}")
        self._list(title, lines, int(chosen.sum()))

    def _list(self, title: str, lines: Sequence[str], count: int | None = None) -> None:
        total = len(lines) if count is None else count
        if not total:
            return
        print(f"{total:,} {title}")
        shown = lines if self.all else lines[:_LISTED]
        for line in shown:
            print(f"  {harmless(line, keep='')}")
        if total > len(shown):
            print(f"  and {total - len(shown):,} more: --all or --json lists them")
