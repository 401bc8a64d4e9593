"""Corrected copies of npz files, parquet files and WebDataset shards: the same kind, the same columns."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selfie_io.convert.correction.plan import Change, Correction
from selfie_io.convert.sources.parquet import image_and_label_columns
from selfie_io.convert.sources.source import SourceOptions

_LABELS = {"y_train", "train_labels"}
_TRAIN_WORDS = ("_train", "train_")


def correct_npz(source: Path, out: Path, dropped: Path, correction: Correction) -> None:
    """Write `out` with other training labels, and what was dropped, as it was, to `dropped`."""
    with np.load(source, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    keys = [name for name in arrays if name in _LABELS]
    if len(keys) != 1:
        raise ValueError(f"{source}: one array must be called {' or '.join(sorted(_LABELS))}, got {keys}")
    key = keys[0]
    labels = arrays[key].copy()
    count = len(labels)
    kept = np.ones(count, bool)
    for name, change in correction.changes.items():
        row = int(name.rpartition("#")[2])
        if change.dropped:
            kept[row] = False
        else:
            labels[row] = change.label
    of_train = {
        name for name, array in arrays.items()
        if array.ndim and len(array) == count and any(word in f"_{name}_" for word in _TRAIN_WORDS)
    }  # fmt: skip
    corrected = {**arrays, key: labels}
    with out.open("wb") as file:
        np.savez(
            file, **{name: array[kept] if name in of_train else array for name, array in corrected.items()}
        )
    if not kept.all():
        with dropped.open("wb") as file:
            np.savez(file, **{name: array[~kept] for name, array in arrays.items() if name in of_train})


def correct_parquet(
    source: Path, out: Path, dropped: Path, changes: dict[int, Change], class_names: Sequence[str]
) -> None:
    """Write one file with other labels; its rows that were dropped go, as they were, to `dropped`.

    changes: by row of this file; class_names: what a column of text gets
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    taken: list[Any] = []
    with pq.ParquetFile(source) as table:
        schema = table.schema_arrow
        _, column, text = image_and_label_columns(schema, SourceOptions())
        codec = table.metadata.row_group(0).column(0).compression if table.num_row_groups else "SNAPPY"
        with pq.ParquetWriter(out, schema, compression=codec) as writer:
            first = 0
            for group in range(table.num_row_groups):
                rows = table.read_row_group(group)
                here = {
                    row - first: change for row, change in changes.items() if first <= row < first + len(rows)
                }
                first += len(rows)
                if here:
                    labels = rows[column].to_pylist()
                    mask = np.ones(len(rows), bool)
                    for row, change in here.items():
                        mask[row] = not change.dropped
                        if not change.dropped:
                            labels[row] = class_names[change.label] if text else change.label
                    taken.append(rows.filter(pa.array(~mask)))
                    place = schema.get_field_index(column)
                    rows = rows.set_column(
                        place, schema.field(place), pa.array(labels, schema.field(place).type)
                    )
                    rows = rows.filter(pa.array(mask))
                writer.write_table(rows)
    lost = pa.concat_tables(taken) if taken else None
    if lost is not None and len(lost):
        dropped.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(lost, dropped, compression=codec)


def correct_shard(source: Path, out: Path, dropped: Path, changes: dict[str, Change]) -> None:
    """Write one tar shard with other .cls members; all members of a dropped key go to `dropped`.

    changes: by the name of the image in this shard
    """
    by_key = {_key(name): change for name, change in changes.items()}
    lost: list[tuple[tarfile.TarInfo, bytes]] = []
    with tarfile.open(source) as old, tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as new:
        for member in old:
            file = old.extractfile(member) if member.isfile() else None
            change = by_key.get(_key(member.name.removeprefix("./"))) if file is not None else None
            content = file.read() if file is not None else b""
            if change is not None and change.dropped:
                lost.append((member, content))
                continue
            if change is not None and member.name.endswith(".cls"):
                content = str(change.label).encode()
                member.size = len(content)
            new.addfile(member, io.BytesIO(content) if file is not None else None)
    if lost:
        dropped.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(dropped, "w", format=tarfile.PAX_FORMAT) as new:
            for member, content in lost:
                new.addfile(member, io.BytesIO(content))


def _key(name: str) -> str:
    """The folder and the file name up to its first dot, as the source reads it."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.split(".", 1)[0]
