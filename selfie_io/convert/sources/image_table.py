"""Image files in any folders, with a table (CSV or TSV) that gives each its label."""

# ruff: noqa: D102 - source.py documents the methods.

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NamedTuple

from selfie_io.convert.sources.file_tree import Tree
from selfie_io.convert.sources.image_files import ends_like_image, is_image, read_image
from selfie_io.convert.sources.source import Entry, Item, Seen, Source, SourceOptions
from selfie_io.convert.sources.split_words import (
    TRAIN,
    choose_splits,
    class_order,
    counted,
    some,
    split_of_path,
    splits_in,
)
from selfie_io.records.csv_cells import original_cell

_FILE_COLUMNS = (
    "file", "filename", "filepath", "path", "image", "imagename", "imagepath", "imagefile", "imagefilename",
    "imageid", "img", "imgname", "imgpath", "imgfile", "imgid", "fname", "name", "id",
)  # fmt: skip
_LABEL_COLUMNS = (
    "label", "labels", "class", "classname", "classlabel", "classid", "target", "targets", "category",
    "categoryname", "categoryid", "y",
)  # fmt: skip
_SPLIT_COLUMNS = ("split", "set", "subset", "partition", "dataset", "usage")
_MAX_TABLE_BYTES = 1 << 28
_PROBED_ROWS = 20


class _Row(NamedTuple):
    line: int
    file: str
    label: str
    split: str


class _Record(NamedTuple):
    name: str
    label: str
    problem: str | None


@dataclass
class _Table:
    """One table: where it is, which columns count, its rows."""

    name: str
    file_column: str
    label_column: str | None
    split_column: str | None
    rows: list[_Row] = field(default_factory=list)


class ImageTable(Source):
    """Images named by the column file (or image, path, id, ...) of a table, with a column label
    (class, ...).

    Records are in the order of the rows. The distinct labels, sorted as text, or as numbers if all
    are integers, are the classes. A column split, or the table's own name, tells the split.
    """

    kind = "image-table"
    wants = "images and a .csv or .tsv table with the columns file and label"
    takes_keys = True

    @classmethod
    def recognise(cls, tree: Tree, options: SourceOptions) -> Seen | None:
        names = _tables(tree)
        if not names or not any(map(ends_like_image, tree.names)):
            return None
        index = _Index(tree)
        near = None
        for name in names:
            try:
                table = _read_table(tree, name, options, index, probe=True)
            except ValueError as error:
                near = Seen(False, str(error).removeprefix(f"{tree.path}: "))
                continue
            if table is None or table.label_column is None:
                continue
            if not options.chosen and _folders_agree(table, index):
                return None  # class folders say the same: an image folder with a table beside it
            return Seen(True, f"{name}: {table.file_column}, {table.label_column}")
        return near if options.chosen or in_one_folder(tree) else None

    def __init__(self, tree: Tree, options: SourceOptions) -> None:
        self._tree = tree
        index = _Index(tree)
        tables = [
            table for name in _tables(tree) if (table := _read_table(tree, name, options, index)) is not None
        ]
        samples = [table for table in tables if "submission" in table.name.lower()]
        tables = [table for table in tables if table not in samples]
        labelled = [table for table in tables if table.label_column is not None]
        if not labelled:
            raise ValueError(f"{tree.path}: must hold {self.wants}")
        notes = [
            f"{table.name} is left out: it has no label column for its {counted(len(table.rows), 'row')}"
            for table in tables
            if table.label_column is None
        ]
        notes += [f"{table.name} is left out: its labels are placeholders" for table in samples]
        notes += [
            f"{table.name}: the column {table.file_column!r} names the files, "
            f"{table.label_column!r} the labels"
            for table in labelled
        ]
        found, self.names_splits, more = _records_by_split(tree, labelled, index)
        notes += more
        self._records, chosen = choose_splits(found, {split: f"the {split} split" for split in found})
        notes += chosen
        labels = {record.label for record in self._records[TRAIN] if record.problem is None}
        self.class_names, order = class_order(labels)
        self._label_of = {name: label for label, name in enumerate(self.class_names)}
        self._records = {
            split: [self._checked(record) for record in records] for split, records in self._records.items()
        }
        self.splits = {split: len(records) for split, records in self._records.items()}
        listed = {record.name for records in found.values() for record in records}
        unlisted = [name for name in tree.names if name not in listed and is_image(tree, name)]
        if unlisted:
            notes.append(f"{counted(len(unlisted), 'image')} in no table left out ({some(unlisted)})")
        self.notes = [*notes, *order]

    def items(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[Item]:
        for record in self._records[split][start:stop]:
            yield self._item(record)

    def entries(self, split: str) -> Iterator[Entry]:
        for record in self._records[split]:
            yield Entry(self._label_of.get(record.label, 0), record.name)

    def items_at(self, split: str, positions: Sequence[int]) -> Iterator[Item]:
        for position in positions:
            yield self._item(self._records[split][position])

    def _item(self, record: _Record) -> Item:
        if record.problem is not None:
            return Item(ValueError(record.problem), 0, record.name)
        return Item(read_image(self._tree, record.name), self._label_of[record.label], record.name)

    def _checked(self, record: _Record) -> _Record:
        if record.problem is None and record.label not in self._label_of:
            return record._replace(problem=f"the class {record.label!r} is in no training row")
        return record


class _Index:
    """Finds the file that a table means by a path, a file name, or a name without its ending."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._by_tail: dict[str, list[str]] = {}
        for name in tree.names:
            file = name.rsplit("/", 1)[-1]
            self._by_tail.setdefault(file, []).append(name)
            if ends_like_image(file):
                self._by_tail.setdefault(PurePosixPath(file).stem, []).append(name)

    def find(self, text: str, folder: str, split: str | None) -> list[str]:
        """The files that `text` of a table in `folder` can mean; of several those of `split`."""
        return self._find(text, folder, split) or self._find(original_cell(text), folder, split)

    def _find(self, text: str, folder: str, split: str | None) -> list[str]:
        wanted = re.sub(r"^(\./|/)+", "", text.strip().replace("\\", "/"))
        for name in (folder + wanted, wanted):
            if name in self._tree:
                return [name]
        tail = wanted.rsplit("/", 1)[-1]
        fitting = [
            name
            for name in self._by_tail.get(tail, ())
            if f"/{name}".endswith(f"/{wanted}") or f"/{name.rsplit('.', 1)[0]}".endswith(f"/{wanted}")
        ]
        inside = [name for name in fitting if name.startswith(folder)] or fitting
        if len(inside) > 1 and split:
            return [name for name in inside if splits_in(name.rsplit("/", 1)[0]) == {split}] or inside
        return inside


def _tables(tree: Tree) -> list[str]:
    return [
        name
        for name in tree.names
        if name.lower().endswith((".csv", ".tsv"))
        and tree.size(name) <= _MAX_TABLE_BYTES
        and not _of_export(tree, name)
    ]


def _of_export(tree: Tree, name: str) -> bool:
    """Whether a table is that of our own export, which the image folder reads."""
    folder, _, file = name.rpartition("/")
    return file == "records.csv" and (f"{folder}/classes.txt" if folder else "classes.txt") in tree


def _read_table(
    tree: Tree, name: str, options: SourceOptions, index: _Index, *, probe: bool = False
) -> _Table | None:
    """A table of images, or None if it is another; `probe`: only its first rows.

    Raises ValueError if it names images but its columns are not clear.
    """
    place = tree.place(name)
    try:
        text = tree.read(name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{place}: byte {error.start}: not UTF-8") from error
    header_line = text.split("\n", 1)[0]
    delimiter = max("\t,;|", key=header_line.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        header = [column for column in reader.fieldnames or () if column]
        rows = []
        for row in reader:
            rows.append((reader.line_num, row))
            if probe and len(rows) == 10 * _PROBED_ROWS:
                break
    except csv.Error as error:
        raise ValueError(f"{place}: line {reader.line_num}: {error}") from error
    folder = name.rpartition("/")[0]
    folder = f"{folder}/" if folder else ""
    file_column = _file_column(header, rows, options, index, folder)
    if file_column is None:
        return None
    split_column = _column(header, _SPLIT_COLUMNS)
    if split_column and not any(splits_in(str(row.get(split_column))) for _, row in rows[:_PROBED_ROWS]):
        split_column = None
    label_column = options.label_key if options.label_key in header else _column(header, _LABEL_COLUMNS)
    if options.label_key is not None and options.label_key not in header:
        raise ValueError(f"{place}: --label-key must be one of {', '.join(header)}, got {options.label_key}")
    rest = [column for column in header if column not in (file_column, split_column)]
    if label_column is None and len(rest) == 1:
        label_column = rest[0]
    if label_column is None and rest:
        raise ValueError(
            f"{place}: a label column must be there ({', '.join(_LABEL_COLUMNS[:6])}, ...), got"
            f" {', '.join(header)}; --label-key names it"
        )
    table = _Table(name, file_column, label_column, split_column)
    for line, row in rows:
        table.rows.append(
            _Row(
                line,
                str(row.get(file_column) or ""),
                original_cell(str(row.get(label_column) or "").strip()) if label_column else "",
                str(row.get(split_column) or "") if split_column else "",
            )
        )
    return table


def _file_column(
    header: Sequence[str],
    rows: "Sequence[tuple[int, dict[str, str]]]",
    options: SourceOptions,
    index: _Index,
    folder: str,
) -> str | None:
    """The column whose values are files: the one named by the user, or the best of the usual names."""
    if options.image_key is not None:
        return options.image_key if options.image_key in header else None
    ranked = []
    for column in header:
        plain = re.sub(r"[^a-z]", "", column.lower())
        rank = _FILE_COLUMNS.index(plain) if plain in _FILE_COLUMNS else len(_FILE_COLUMNS)
        values = [str(row.get(column) or "") for _, row in rows[:_PROBED_ROWS]]
        hits = sum(bool(value and index.find(value, folder, None)) for value in values)
        if hits and (hits * 2 >= len(values) or rank < len(_FILE_COLUMNS)):
            ranked.append((-hits, rank, column))
    return min(ranked)[2] if ranked else None


def _column(header: Sequence[str], known: Sequence[str]) -> str | None:
    plain = {re.sub(r"[^a-z]", "", column.lower()): column for column in reversed(header)}
    return next((plain[name] for name in known if name in plain), None)


def _records_by_split(
    tree: Tree, tables: Sequence[_Table], index: _Index
) -> tuple[dict[str, list[_Record]], bool, list[str]]:
    """The records of each split, whether any split is named, and notes."""
    found: dict[str, list[_Record]] = {}
    notes: list[str] = []
    label_of: dict[str, str] = {}
    other_splits: dict[str, int] = {}
    seen: dict[str, set[str]] = {}
    named = False
    told = [split_of_path(table.name, tree.place(table.name)) for table in tables]
    for table, split in zip(tables, told, strict=True):
        if split is None and table.split_column is None and any(told):
            raise ValueError(
                f"{tree.place(table.name)}: a table must name its split (train, test or validation),"
                " as others do; rename it or move it away"
            )
    for table in tables:
        folder = table.name.rpartition("/")[0]
        folder = f"{folder}/" if folder else ""
        of_table = split_of_path(table.name, tree.place(table.name))
        named = named or of_table is not None or table.split_column is not None
        again = 0
        for row in table.rows:
            split = of_table or TRAIN
            if table.split_column is not None:
                words = splits_in(row.split)
                if len(words) != 1:
                    other_splits[row.split] = other_splits.get(row.split, 0) + 1
                    continue
                split = words.pop()
            names = index.find(row.file, folder, split) if row.file else []
            where = names[0] if names else f"{table.name}#{row.line}"
            if len(names) != 1:
                what = f"{len(names)} files are called" if names else "there is no file"
                problem: str | None = f"{table.name} line {row.line}: {what} {row.file!r}"
            elif not row.label:
                problem = f"{table.name} line {row.line}: there is no label"
            elif label_of.setdefault(where, row.label) != row.label:
                problem = f"{table.name} line {row.line}: is labelled {label_of[where]!r} elsewhere"
            else:
                problem = None
            if problem is None and where in seen.setdefault(split, set()):
                again += 1
                continue
            seen.setdefault(split, set()).add(where)
            found.setdefault(split, []).append(_Record(where, row.label, problem))
        if again:
            notes.append(
                f"{table.name} names {counted(again, 'image')} again, with the same label: each is taken once"
            )
    for split, count in sorted(other_splits.items()):
        notes.append(f"{counted(count, 'row')} of the split {split!r} left out")
    return found, named, notes


def _folders_agree(table: _Table, index: _Index) -> bool:
    """Whether the images of the first rows lie in folders that are called as their labels."""
    folder = table.name.rpartition("/")[0]
    folder = f"{folder}/" if folder else ""
    some_rows = [row for row in table.rows[:_PROBED_ROWS] if row.label]
    places = [index.find(row.file, folder, None) for row in some_rows]
    return bool(some_rows) and all(
        len(names) == 1 and row.label in names[0].split("/")[:-1]
        for row, names in zip(some_rows, places, strict=True)
    )


def in_one_folder(tree: Tree) -> bool:
    """Whether no images lie in more than one folder."""
    return len({name.rpartition("/")[0] for name in tree.names if ends_like_image(name)}) == 1
