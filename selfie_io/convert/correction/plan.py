"""What a corrected copy changes: the decisions of a review, held against the items of the source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from selfie_io.convert.sources.source import Source
from selfie_io.labels.decisions import DECISION_COLUMN, DECISIONS, Decisions, read_decisions
from selfie_io.labels.tables import ID_COLUMNS, KnownRecords, LabelTable, read_table

DROPPED_FOLDER = "_dropped"


@dataclass(frozen=True)
class Change:
    """One training item that gets another label, or that is dropped (label -1)."""

    index: int
    name: str
    given: int
    label: int

    @property
    def dropped(self) -> bool:
        """Whether the item is taken out."""
        return self.label < 0


@dataclass(frozen=True)
class Correction:
    """The changes of a source, by the names of its items, and what was decided in all.

    given: the label of each training item, by its name
    folder_names: what the folders of the classes are called
    """

    class_names: list[str]
    changes: dict[str, Change]
    counts: dict[str, int]
    given: dict[str, int]
    folder_names: list[str]

    @property
    def items(self) -> int:
        """The number of training items."""
        return len(self.given)

    @property
    def emptied(self) -> list[str]:
        """The classes that lose their last training item."""
        left = dict(self.given) | {name: change.label for name, change in self.changes.items()}
        lost = set(self.given.values()) - set(left.values())
        return [self.class_names[label] for label in sorted(lost)]

    @property
    def dropped(self) -> int:
        """How many items are taken out."""
        return sum(change.dropped for change in self.changes.values())


def plan_correction(source: Source, path: Path, *, unsure: str) -> Correction:
    """Read decisions.csv and find the training items of `source` that it changes.

    A row is matched by its name where all rows have one, else by index or record_id, which count the
    items in order. Raises ValueError, with row and column, for what does not fit the source.
    """
    table = read_table(path, (*ID_COLUMNS, DECISION_COLUMN))
    if not table.has(DECISION_COLUMN):
        raise ValueError(f"{path}: must have a column decision, got {', '.join(table.header) or 'no header'}")
    items = [(item.label, item.name) for item in source.items("train")]
    names: list[str | None] = [name for _, name in items]
    given = np.array([label for label, _ in items], np.int64)
    if table.has("name") and all(table.cells("name")) and len(set(names)) == len(names):
        table = _without(table, ("record_id", "index"))
    records = KnownRecords(
        str(path),
        source.class_names,
        np.arange(len(items)),
        lambda rows: [names[row] for row in rows.tolist()],
    )
    decided = read_decisions(
        table, records, given, unsure=unsure, way_out="the source has changed since it was reviewed"
    )
    changes = {change.name: change for change in _changes(decided, given, names)}
    counts = {word: decided.count(word) for word in DECISIONS}
    of_name = {name: label for label, name in items}
    if len(of_name) != len(items):
        raise ValueError("two training items have one name: a corrected copy cannot tell them apart")
    class_names = list(source.class_names)
    return Correction(class_names, changes, counts, of_name, list(source.folder_names or class_names))


def _changes(decided: Decisions, given: np.ndarray, names: list[str | None]) -> Iterator[Change]:
    for index, label in zip(decided.indices.tolist(), decided.labels.tolist(), strict=True):
        if label != given[index]:
            yield Change(index, names[index] or "", int(given[index]), label)


def _without(table: LabelTable, columns: tuple[str, ...]) -> LabelTable:
    kept = [place for place, column in enumerate(table.header) if column not in columns]
    header = [table.header[place] for place in kept]
    return replace(table, header=header, rows=[[row[place] for place in kept] for row in table.rows])
