"""decisions.csv: what a person decided about the labels of some records (the review page writes it)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from selfie_io.labels._vectors import Vector
from selfie_io.labels.tables import NO_LABEL_GIVEN, KnownRecords, LabelTable, match_records

DECISIONS = ("keep", "relabel", "drop", "unsure")
DECISION_COLUMN = "decision"


@dataclass(frozen=True)
class Decisions:
    """Of m records, in the order of the file: indices (m,), labels (m,) with -1 for dropped, and the words.

    An unsure record has the label that it had.
    """

    indices: Vector
    labels: Vector
    words: list[str]
    matched_by: str

    def count(self, word: str) -> int:
        """How many records were decided so."""
        return self.words.count(word)


def read_decisions(
    table: LabelTable,
    records: KnownRecords,
    base: Vector,
    *,
    unsure: str = "keep",
    way_out: str = "to an overlay, which --base names",
) -> Decisions:
    """Read decisions about records whose labels are `base`, int64 (N,).

    way_out: ends the message about other labels: what the decisions may belong to
    unsure: what becomes of a record that the reviewer was unsure about: "keep" or "drop"
    Raises ValueError, with row and column, for a word that is no decision, a label that is no class, a
    record that is not there, or a given_label that is not the record's.
    """
    indices, matched_by = match_records(table, records)
    if matched_by is None:
        raise ValueError(f"{table.path}: decisions need a column record_id, index or name")
    words = [cell.strip().lower() for cell in table.cells(DECISION_COLUMN)]
    for row, word in enumerate(words):
        if word not in DECISIONS:
            raise table.bad_cell(row, DECISION_COLUMN, f"must be one of {', '.join(DECISIONS)}, got {word!r}")
    had = base[indices]
    if table.has("given_label"):
        given = table.labels("given_label", records.class_names)
        for row in np.flatnonzero((given != NO_LABEL_GIVEN) & (given != had))[:1].tolist():
            raise table.bad_cell(
                row,
                "given_label",
                f"the label of this record is {had[row]}, got {given[row]}; the decisions belong to another "
                f"data set, or {way_out}",
            )
    labels = had.copy()
    said = np.array(words, dtype=object)
    if "relabel" in words:
        if not table.has("label"):
            raise ValueError(f"{table.path}: relabel needs a column label")
        asked = table.labels("label", records.class_names)
        for row in np.flatnonzero((said == "relabel") & (asked < 0))[:1].tolist():
            raise table.bad_cell(row, "label", "relabel needs a class")
        labels = np.where(said == "relabel", asked, labels)
    labels[(said == "drop") | ((said == "unsure") & (unsure == "drop"))] = -1
    return Decisions(indices, labels, words, matched_by)
