"""Holds out a test split from the training split of any source, stratified and reproducible."""

# ruff: noqa: D102 - source.py documents the methods.

import hashlib
from collections.abc import Iterator, Sequence

from selfie_io.convert.sources.file_tree import Tree
from selfie_io.convert.sources.source import Entry, Item, Seen, Source, SourceOptions


class HeldOut(Source):
    """A source whose training split is cut into training and test records."""

    def __init__(self, source: Source, options: SourceOptions, where: str) -> None:
        """Raises ValueError if the source has a test split, or the fraction holds out nothing."""
        fraction = options.test_fraction or 0
        if "test" in source.splits:
            raise ValueError(
                f"{where}: --test-fraction needs a source without a test split, this one has its own splits"
                " with a test split; leave the option out"
            )
        self._source = source
        self.kind = source.kind  # type: ignore[misc]  # that of the source it stands for
        self.published = source.published
        self.channels = source.channels
        self.tree = source.tree
        self.class_names = source.class_names
        entries = list(source.entries("train"))
        train, test = split_off_test(
            [entry.label for entry in entries],
            [entry.key for entry in entries],
            fraction,
            options.test_seed,
        )
        if fraction and not test:
            raise ValueError(
                f"{where}: --test-fraction must hold out at least one record, got {fraction} of "
                f"{len(entries)} records in {len({entry.label for entry in entries})} classes; "
                "use a larger one, or 0 for no test split"
            )
        self._positions = {"train": train, "test": test} if test else {"train": train}
        self.splits = {split: len(positions) for split, positions in self._positions.items()}
        note = "there is no test split, as asked"
        if test:
            note = (
                f"the test split is {fraction:.4g} of each class, {len(test):,} of {len(entries):,} "
                "records, "
                f"chosen by the SHA-256 of their names with seed {options.test_seed}"
            )
        self.notes = [*source.notes, note]

    @classmethod
    def recognise(cls, tree: Tree, options: SourceOptions) -> Seen | None:  # noqa: ARG003
        return None  # it stands for another source

    def items(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[Item]:
        return self._source.items_at("train", self._positions[split][start:stop])

    def entries(self, split: str) -> Iterator[Entry]:
        every = list(self._source.entries("train"))
        for position in self._positions[split]:
            yield every[position]


def split_off_test(
    labels: Sequence[int], names: Sequence[str], fraction: float, seed: int = 0
) -> tuple[list[int], list[int]]:
    """Positions of the training and of the test items: `fraction` of each class, rounded, is for
    testing.

    Their names and the seed alone decide which (the lowest SHA-256), so the choice is the same
    everywhere. A class keeps at least one training item. Raises ValueError if `fraction` is outside
    [0, 1).
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"the test fraction must be at least 0 and below 1, got {fraction}")
    prefix = f"{seed}:" if seed else ""
    of_class: dict[int, list[int]] = {}
    for position, label in enumerate(labels):
        of_class.setdefault(label, []).append(position)
    test: list[int] = []
    for positions in of_class.values():
        positions.sort(key=lambda position: hashlib.sha256((prefix + names[position]).encode()).digest())
        test += positions[: min(round(fraction * len(positions)), len(positions) - 1)]
    chosen = set(test)
    return [position for position in range(len(labels)) if position not in chosen], sorted(test)
