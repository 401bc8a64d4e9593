"""Parquet files of encoded images, as Hugging Face stores image data sets."""

# ruff: noqa: D102 - source.py documents the methods.

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from selfie_io.convert.sources.file_tree import Tree
from selfie_io.convert.sources.source import (
    Entry,
    Item,
    Seen,
    Source,
    SourceOptions,
    missing_extra,
    missing_low_classes,
)
from selfie_io.convert.sources.split_files import named_splits, split_files
from selfie_io.convert.sources.split_words import TRAIN, choose_splits, class_order
from selfie_io.records.layout import MAX_CLASSES

_IMAGE_COLUMNS = ("img", "image")
_LABEL_COLUMNS = ("label", "fine_label", "labels")
_ROWS = 64
_MAX_TEXT = 1000  # characters of a label: a damaged length must not become a class name


class _File(NamedTuple):
    path: Path
    name: str
    image_column: str
    labels: list[int | str | None]  # text stays where it is no class of the training split


class Parquet(Source):
    """An image column (struct of bytes and path) and a column of labels, integers or text.

    The path tells the split (train-00000-of-00001.parquet). The metadata have the class names of
    integers; the distinct texts of the training split, sorted as those of a table, are classes.
    """

    kind = "parquet"
    wants = ".parquet files with an image column and a label column"
    takes_keys = True

    @classmethod
    def recognise(cls, tree: Tree, options: SourceOptions) -> Seen | None:  # noqa: ARG003
        first = next((name for name in tree.names if name.endswith(".parquet")), None)
        return None if first is None else Seen(True, first)

    def __init__(self, tree: Tree, options: SourceOptions) -> None:
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise ModuleNotFoundError(missing_extra("pyarrow", "reading parquet")) from error
        self._options = options
        self._columns: tuple[str, str, bool] | None = None
        self.class_names: list[str] = []
        names = [name for name in tree.names if name.endswith(".parquet")]
        found, split_notes, pooled = split_files(tree, names, options)
        self.names_splits = not pooled
        read = {
            split: [self._read_labels(_local(tree, name), name) for name in found[split]] for split in found
        }
        notes = list(split_notes)
        for split, files in list(read.items()):
            if split != TRAIN and all(label in (None, "", -1) for file in files for label in file.labels):
                notes.append(f"the {split} split ({files[0].name}) has no labels: it is left out")
                del read[split]
        self._files, chosen = choose_splits(read, named_splits(found))
        self.splits = {split: sum(len(file.labels) for file in files) for split, files in self._files.items()}
        if self._columns is not None and self._columns[2]:
            self.notes = [*notes, *chosen, *self._number_the_text()]
            return
        known = {split: _numbers(files) for split, files in self._files.items()}
        if not self.class_names:
            largest = max((max(of_split, default=0) for of_split in known.values()), default=0)
            self.class_names = [str(label) for label in range(largest + 1)]
        self.notes = [*notes, *chosen, *missing_low_classes(known[TRAIN])]

    def items(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[Item]:
        return self._rows(self._files[split], start, self.splits[split] if stop is None else stop)

    def entries(self, split: str) -> Iterator[Entry]:
        for file in self._files[split]:
            for row, label in enumerate(file.labels):
                yield Entry(label if isinstance(label, int) else 0, f"{file.name}:{row}")

    def _number_the_text(self) -> list[str]:
        """Make classes of the training split's labels and numbers of all labels; returns notes."""
        texts = {str(label) for file in self._files[TRAIN] for label in file.labels if label}
        if len(texts) >= MAX_CLASSES:
            raise ValueError(f"there must be fewer than {MAX_CLASSES} classes, got {len(texts)}")
        self.class_names, order = class_order(texts)
        label_of: dict[Any, int | None] = {name: label for label, name in enumerate(self.class_names)}
        label_of[""] = None
        self._files = {
            split: [file._replace(labels=[label_of.get(one, one) for one in file.labels]) for file in files]
            for split, files in self._files.items()
        }
        return order

    def _rows(self, files: list[_File], start: int, stop: int) -> Iterator[Item]:
        first = 0
        for file in files:
            if start < first + len(file.labels) and first < stop:
                for row, encoded in enumerate(self._images(file)):
                    if start <= first + row < stop:
                        yield _item(file, row, encoded)
            first += len(file.labels)

    def _images(self, file: _File) -> Iterator[bytes | None]:
        import pyarrow.parquet

        try:
            with pyarrow.parquet.ParquetFile(file.path, memory_map=False, pre_buffer=False) as table:
                for batch in table.iter_batches(_ROWS, columns=[file.image_column]):
                    for value in batch.column(0):
                        yield _encoded(value.as_py())
        except _damage() as error:
            raise ValueError(f"{file.path}: {error}") from error

    def _read_labels(self, path: Path, name: str) -> _File:
        import pyarrow.parquet

        try:
            with pyarrow.parquet.ParquetFile(path) as table:
                columns = image_and_label_columns(table.schema_arrow, self._options)
                if self._columns not in (None, columns):
                    raise ValueError(f"has {_told(columns)}, other files {_told(self._columns)}")
                self._columns = columns
                if columns[2]:
                    return _File(path, name, columns[0], list(_texts(path, columns[1])))
                names = _class_names(table.schema_arrow, columns[1])
                if self.class_names and names != self.class_names:
                    raise ValueError("has other class names than the files before it")
                self.class_names = names
                labels: list[Any] = []
                for batch in table.iter_batches(columns=[columns[1]]):
                    labels += batch.column(0).to_pylist()
                    _check_rows(len(labels), path)
        except _damage() as error:
            raise ValueError(f"{path}: {error}") from error
        largest = max((label for label in labels if label is not None), default=0)
        if largest >= MAX_CLASSES:  # a list of class names would grow as a damaged label says
            row = labels.index(largest)
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


def _item(file: _File, row: int, encoded: bytes | None) -> Item:
    """A row as an item: what is missing in it makes it a bad one."""
    label = file.labels[row]
    name = f"{file.name}#{row}"
    if label is None:
        return Item(ValueError("there is no label"), 0, name)
    if isinstance(label, str):
        return Item(ValueError(f"the class {label!r} is in no training row"), 0, name)
    if encoded is None:
        return Item(ValueError(f"there are no bytes of an image in {file.image_column!r}"), label, name)
    return Item(encoded, label, name)


def image_and_label_columns(schema: Any, options: SourceOptions) -> tuple[str, str, bool]:
    """The names of the image and the label column, and whether the labels are text.

    A column of integers is taken before one of text. Raises ValueError if there is none.
    """
    import pyarrow.types

    images = _IMAGE_COLUMNS if options.image_key is None else (options.image_key,)
    labels = _LABEL_COLUMNS if options.label_key is None else (options.label_key,)
    for fits in (pyarrow.types.is_integer, _is_text):
        for image in images:
            for label in labels:
                if {image, label} <= set(schema.names) and fits(schema.field(label).type):
                    return image, label, fits is _is_text
    raise ValueError(
        f"an image column ({' or '.join(images)}) and a label column of integers or text "
        f"({', '.join(labels)}) must be there,"
        f" got {', '.join(schema.names)}; --image-key and --label-key name others"
    )


def _is_text(column_type: Any) -> bool:
    import pyarrow.types

    if pyarrow.types.is_dictionary(column_type):
        column_type = column_type.value_type
    return bool(pyarrow.types.is_string(column_type) or pyarrow.types.is_large_string(column_type))


def _told(columns: tuple[str, str, bool]) -> str:
    image, label, text = columns
    return f"the columns {image} and {label} of {'text' if text else 'integers'}"


def _texts(path: Path, column: str) -> Iterator[str]:
    """The labels of a column of text without spaces around them, "" where there is none.

    The column stays a dictionary, so that a long text that repeats is in memory once.
    """
    import pyarrow.parquet

    rows = 0
    with pyarrow.parquet.ParquetFile(path, read_dictionary=[column]) as table:
        for batch in table.iter_batches(columns=[column]):
            coded = batch.column(0)
            rows += len(coded)
            _check_rows(rows, path)
            if not hasattr(coded, "dictionary"):
                coded = coded.dictionary_encode()
            longest = max((len(text) for text in coded.dictionary.to_pylist() if text), default=0)
            if longest > _MAX_TEXT:
                raise ValueError(f"a label must have at most {_MAX_TEXT} characters, got {longest}")
            texts = [(text or "").strip() for text in coded.dictionary.to_pylist()]
            yield from ("" if code is None else texts[code] for code in coded.indices.to_pylist())


def _numbers(files: list[_File]) -> list[int]:
    return [label for file in files for label in file.labels if isinstance(label, int)]


def _check_rows(rows: int, path: Path) -> None:
    """Raise ValueError for more rows than bytes: a run of equal labels takes few, an image does not."""
    size = path.stat().st_size
    if rows > size:
        raise ValueError(f"has more than {size} rows in {size} bytes")


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
