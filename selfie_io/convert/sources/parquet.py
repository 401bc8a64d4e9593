"""Parquet files of encoded images, as Hugging Face stores image data sets."""

# ruff: noqa: D102 - base.py documents the methods.

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from selfie_io.convert.sources.file_tree import Tree
from selfie_io.convert.sources.source import (
    Item,
    Source,
    SourceOptions,
    missing_extra,
    split_by_name,
    split_off_test,
)
from selfie_io.records.layout import MAX_CLASSES

_IMAGE_COLUMNS = ("img", "image")
_LABEL_COLUMNS = ("label", "fine_label", "labels")
_ROWS = 64


class _File(NamedTuple):
    path: Path
    name: str
    image_column: str
    labels: list[int]


class Parquet(Source):
    """An image column (struct of bytes and path) and a column of integer labels.

    The path tells the split (train-00000-of-00001.parquet), the metadata the class names.
    """

    kind = "parquet"

    @classmethod
    def recognise(cls, tree: Tree) -> str | None:
        return next((name for name in tree.names if name.endswith(".parquet")), None)

    def __init__(self, tree: Tree, options: SourceOptions) -> None:
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise ModuleNotFoundError(missing_extra("pyarrow", "reading parquet")) from error
        names, self.notes, pooled = split_by_name(
            tree, [name for name in tree.names if name.endswith(".parquet")], options
        )
        self._columns: tuple[str, str] | None = None
        self.class_names: list[str] = []
        self._files = {
            split: [self._read_labels(_local(tree, name), name) for name in of_split]
            for split, of_split in names.items()
        }
        labels = {
            split: [one for file in files for one in file.labels] for split, files in self._files.items()
        }
        self._wanted: dict[str, list[int]] | None = None
        if pooled:
            every = labels["train"]
            row_names = [
                f"{file.name}:{row}" for file in self._files["train"] for row in range(len(file.labels))
            ]
            train, test = split_off_test(every, row_names, options.test_fraction or 0)
            self._wanted = {"train": train, "test": test} if test else {"train": train}
            self.splits = {split: len(rows) for split, rows in self._wanted.items()}
        else:
            self.splits = {split: len(of_split) for split, of_split in labels.items()}
        if not self.class_names:
            top = max((one for of_split in labels.values() for one in of_split), default=0)
            self.class_names = [str(label) for label in range(top + 1)]

    def items(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[Item]:
        if self._wanted is None:
            yield from self._rows(self._files[split], start, self.splits[split] if stop is None else stop)
            return
        wanted = iter(self._wanted[split][start:stop])
        next_row = next(wanted, None)
        for row, item in enumerate(self._rows(self._files["train"], 0, None)):
            if row == next_row:
                yield item
                next_row = next(wanted, None)

    def _rows(self, files: list[_File], start: int, stop: int | None) -> Iterator[Item]:
        first = 0
        for file in files:
            if start < first + len(file.labels) and (stop is None or first < stop):
                for row, encoded in enumerate(self._images(file)):
                    if start <= first + row and (stop is None or first + row < stop):
                        yield Item(encoded, file.labels[row], f"{file.name}#{row}")
            first += len(file.labels)

    def _images(self, file: _File) -> Iterator[bytes]:
        import pyarrow.parquet

        column = file.image_column
        try:
            with pyarrow.parquet.ParquetFile(file.path, memory_map=False, pre_buffer=False) as table:
                row = 0
                for batch in table.iter_batches(_ROWS, columns=[column]):
                    for value in batch.column(0):
                        encoded = _encoded(value.as_py())
                        if encoded is None:
                            raise ValueError(f"row {row}: there are no bytes of an image in {column!r}")
                        yield encoded
                        row += 1
        except _damage() as error:
            raise ValueError(f"{file.path}: {error}") from error

    def _read_labels(self, path: Path, name: str) -> _File:
        import pyarrow.parquet

        try:
            with pyarrow.parquet.ParquetFile(path) as table:
                columns = _columns(table.schema_arrow)
                if self._columns not in (None, columns):
                    raise ValueError(f"has the columns {columns}, other files {self._columns}")
                self._columns = columns
                names = _class_names(table.schema_arrow, columns[1])
                if self.class_names and names != self.class_names:
                    raise ValueError("has other class names than the files before it")
                self.class_names = names
                labels: list[Any] = []
                size = path.stat().st_size
                for batch in table.iter_batches(columns=[columns[1]]):
                    labels += batch.column(0).to_pylist()
                    if len(labels) > size:  # a run of equal labels takes few bytes, an image does not
                        raise ValueError(f"has more than {size} rows in {size} bytes")
        except _damage() as error:
            raise ValueError(f"{path}: {error}") from error
        if None in labels:
            raise ValueError(f"{path}: row {labels.index(None)}: there is no label")
        if max(labels, default=0) >= MAX_CLASSES:  # a list of class names would grow as a damaged label says
            row = labels.index(max(labels))
            raise ValueError(f"{path}: row {row}: a label must be below {MAX_CLASSES}, got {labels[row]}")
        return _File(path, name, columns[0], labels)


def _damage() -> tuple[type[Exception], ...]:
    """What pyarrow raises for a damaged file, fuzzed: some of its own errors, and some of Python's."""
    import pyarrow

    return pyarrow.ArrowException, ValueError, OSError, IndexError


def _local(tree: Tree, name: str) -> Path:
    if tree.path.is_dir():
        return tree.path / name
    if tree.path.name == name:
        return tree.path
    raise ValueError(f"{tree.path}: parquet files are read from a folder, not from an archive")


def _columns(schema: Any) -> tuple[str, str]:
    """The names of the image and the label column."""
    import pyarrow.types

    for image in _IMAGE_COLUMNS:
        for label in _LABEL_COLUMNS:
            if {image, label} <= set(schema.names) and pyarrow.types.is_integer(schema.field(label).type):
                return image, label
    raise ValueError(
        f"an image column ({' or '.join(_IMAGE_COLUMNS)}) and an integer label column "
        f"({', '.join(_LABEL_COLUMNS)}) are wanted, got {', '.join(schema.names)}"
    )


def _class_names(schema: Any, column: str) -> list[str]:
    """The class names that Hugging Face's metadata gives to a column; none if it gives none."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        names = features[column]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return []
    return [str(name) for name in names] if isinstance(names, list) else []


def _encoded(value: Any) -> bytes | None:
    encoded = value.get("bytes") if isinstance(value, dict) else value
    return encoded if isinstance(encoded, bytes) else None
