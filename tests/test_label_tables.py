"""Tables of labels: matched by id, index or name, whatever their order; a bad cell is named."""

import csv
import json
import shutil

import numpy as np
import pytest
from converting import complaint, run

from selfie_io.labels.human_labels import import_human_labels
from selfie_io.labels.tables import parse_integer, read_table
from selfie_io.records.csv_cells import harmless_cell
from selfie_io.records.dataset import open_dataset
from selfie_io.records.split import RecordSplit

LABELS = np.array([0, 1, 2, 2, 1, 0, 0, 1])
NEW = np.array([1, 1, 0, 2, 1, 2, 0, 1])
IDS = np.array([30, 10, 40, 70, 20, 60, 50, 0])
NAMES = [f"train/c/{i}.png" for i in range(6)] + ["=evil.png", "'=quoted.png"]
CLASSES = ["cat", "dog", "bird"]


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("packed")
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "d.npz",
        x_train=rng.integers(0, 256, (8, 4, 4, 3), dtype=np.uint8),
        y_train=LABELS,
        x_test=rng.integers(0, 256, (3, 4, 4, 3), dtype=np.uint8),
        y_test=np.arange(3),
        record_ids_train=IDS,
        class_names=np.array(CLASSES),
    )
    assert run("pack", tmp_path / "d.npz", tmp_path / "set") == 0
    return tmp_path / "set"


@pytest.fixture
def dataset(packed, tmp_path, monkeypatch):
    shutil.copytree(packed, tmp_path / "set")
    monkeypatch.setattr(RecordSplit, "names", lambda _, rows: [NAMES[row] for row in rows])
    return open_dataset(tmp_path / "set")


def write(path, header, rows, *, separator=",", encoding="utf-8", quoting=csv.QUOTE_MINIMAL):
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=separator, quoting=quoting).writerows([header, *rows])
    return path


def imported(dataset, path, key="label", **options):
    overlay = import_human_labels(dataset, path, key, **options)
    return dataset.train.labels_from(overlay.name).tolist()


ROWS = [(int(i), index, NAMES[index], int(y)) for index, (i, y) in enumerate(zip(IDS, NEW, strict=True))]
HEADER = ("record_id", "index", "name", "label")


@pytest.mark.parametrize("columns", [(0, 3), (1, 3), (2, 3), (3, 0), (0, 1, 2, 3)])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_shuffled_rows_belong_to_their_records(dataset, tmp_path, columns, separator, encoding):
    ids = dataset.train.record_ids
    rows = [(int(ids[index]), *ROWS[index][1:]) for index in (5, 0, 7, 2, 6, 1, 4, 3)]
    rows = [[harmless_cell(row[2]) if c == 2 else row[c] for c in columns] for row in rows]
    path = write(
        tmp_path / "l.csv", [HEADER[c] for c in columns], rows, separator=separator, encoding=encoding
    )
    assert imported(dataset, path) == NEW.tolist()


def test_a_partial_list_changes_only_what_it_names(dataset, tmp_path):
    path = write(
        tmp_path / "l.csv", ("index", "label", "why"), [(6, "bird", 'said "so"'), (0, "", ""), (2, -1, "x;y")]
    )
    wanted = [0, 1, -1, 2, 1, 0, 2, 1]
    assert imported(dataset, path) == wanted
    again = write(tmp_path / "m.csv", ("index", "label"), [(7, "cat")])
    assert imported(dataset, again, name="more", base="label") == [*wanted[:7], 0]


def test_only_the_columns_that_are_needed_are_parsed(dataset, tmp_path):
    rows = [(i, "", "n/a", "x", float(y)) for i, y in enumerate(NEW)]
    path = write(
        tmp_path / "l.csv", ("index", "record", "score", "clean", "label"), rows, quoting=csv.QUOTE_ALL
    )
    assert imported(dataset, path) == NEW.tolist()


def test_rows_without_an_id_are_all_records_in_order(dataset, tmp_path):
    assert imported(dataset, write(tmp_path / "l.csv", ("label",), [[y] for y in NEW])) == NEW.tolist()
    short = write(tmp_path / "s.csv", ("label",), [[y] for y in NEW[:7]])
    with pytest.raises(ValueError, match=r"s\.csv: without a column .* one row for each of 8 records, got 7"):
        imported(dataset, short)
    gap = write(tmp_path / "g.csv", ("label", "more"), [("" if y == 2 else y, "") for y in NEW])
    with pytest.raises(ValueError, match=r"row 5, column label: a label is missing"):
        imported(dataset, gap)


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        (
            ("index", "label"),
            [(1, 0), (5, 1), (1, 0)],
            r"row 4, column index: names a record that row 2 names",
        ),
        (("index", "label"), [(1, 0), (8, 1)], r"row 3, column index: an index must be in 0\.\.7, got 8"),
        (("index", "label"), [(-1, 0)], r"row 2, column index: an index must be in 0\.\.7, got -1"),
        (
            ("record_id", "label"),
            [(7, 0), (9999, 0)],
            r"row 3, column record_id: no training record has this id",
        ),
        (("record_id", "label"), [("x1", 0)], r"row 2, column record_id: must be an integer, got 'x1'"),
        (("name", "label"), [("no.png", 0)], r"row 2, column name: no training record is called 'no.png'"),
        (("index", "label"), [(1, "fish")], r"row 2, column label: must be a class name, a number in 0\.\.2"),
        (("index", "label"), [(1, 3)], r"row 2, column label: a label must be in 0\.\.2, or -1, got 3"),
        (("index", "label"), [(1, 1.5)], r"row 2, column label: must be a class name"),
        (("index", "label"), [(1,)], r"row 2 has 1 cells, the header 2"),
        (("index", "label", "label"), [(1, 2, 3)], r"names the column 'label' twice"),
        (("index", "name", "label"), [(1, NAMES[2], 0)], r"row 2, column name: this record is called"),
        (("record_id", "index", "label"), [(0, 1, 0)], r"row 2, column index: names another record"),
        (("index", "lable"), [(1, 0)], r"--key must be one of \['index', 'lable'\], got 'label'"),
        (
            ("index", "label", "clean_label"),
            [(1, 0, 2)],
            r"row 2, column clean_label: clean_label is 2, the label of",
        ),
    ],
)
def test_a_bad_cell_is_named_and_nothing_is_written(dataset, tmp_path, header, rows, message):
    path = write(tmp_path / "l.csv", header, rows)
    with pytest.raises(ValueError, match=r"l\.csv: .*" + message):
        imported(dataset, path)
    assert not (dataset.path / "labels").exists()


DECIDED = ("name", "record_id", "index", "given_label", "decision", "label", "note")


def decided(*rows):
    """(index, decision, label) as rows of decisions.csv."""
    return [(harmless_cell(NAMES[i]), "", i, LABELS[i], word, label, "=a note") for i, word, label in rows]


def test_decisions_are_understood(dataset, tmp_path, capsys):
    rows = decided(
        (6, "relabel", 2), (0, "keep", 0), (7, "Drop", -1), (3, "unsure", 2), (1, "relabel", "cat")
    )
    path = write(
        tmp_path / "decisions.csv", DECIDED, [(*r[:1], dataset.train.record_ids[r[2]], *r[2:]) for r in rows]
    )
    assert run("labels", dataset.path, path) == 0
    said = capsys.readouterr()
    assert "1 keep, 2 relabel, 1 drop, 1 unsure" in said.err
    assert "1 records are left out" in said.out
    wanted = [0, 0, 2, 2, 1, 0, 2, -1]
    assert dataset.train.labels_from("decisions").tolist() == wanted
    assert run("labels", dataset.path, path, "--unsure", "drop", "--name", "strict", "--json") == 0
    assert json.loads(capsys.readouterr().out)["dropped"] == 2
    assert dataset.train.labels_from("strict").tolist() == [0, 0, 2, -1, 1, 0, 2, -1]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((0, "burn", 0), "row 2, column decision: must be one of keep, relabel, drop, unsure, got 'burn'"),
        ((0, "relabel", ""), "row 2, column label: relabel needs a class"),
        ((0, "relabel", -1), "row 2, column label: relabel needs a class"),
    ],
)
def test_bad_decisions_are_refused(dataset, tmp_path, capsys, row, message):
    rows = [(r[0], dataset.train.record_ids[r[2]], *r[2:]) for r in decided(row)]
    path = write(tmp_path / "decisions.csv", DECIDED, rows)
    assert message in complaint(capsys, 1, "labels", dataset.path, path)


def test_decisions_about_other_labels_are_refused_until_base_names_them(dataset, tmp_path, capsys):
    import_human_labels(
        dataset, write(tmp_path / "l.csv", ("index", "label"), [(0, 2)]), "label", name="noisy"
    )
    path = write(tmp_path / "d.csv", ("index", "given_label", "decision", "label"), [(0, 2, "keep", 2)])
    assert "the label of this record is 0, got 2" in complaint(capsys, 1, "labels", dataset.path, path)
    assert run("labels", dataset.path, path, "--base", "noisy") == 0
    assert dataset.train.labels_from("decisions")[0] == 2


def test_digits_as_class_names_are_numbers_unless_the_column_says_class(tmp_path):
    table = read_table(
        write(tmp_path / "l.csv", ("suggested_label", "suggested_class"), [(2, "2"), (1, "10")])
    )
    names = ["0", "1", "10", "2"]
    assert table.labels("suggested_label", names).tolist() == [2, 1]
    assert table.labels("suggested_class", names).tolist() == [3, 2]


def test_integers_are_read_as_spreadsheets_write_them():
    assert [parse_integer(text) for text in ("7", " -1 ", "3.0")] == [7, -1, 3]
    for text in ("", "1e3", "٣", "1.5", "--1", "9" * 19):
        with pytest.raises(ValueError, match="must be an integer"):
            parse_integer(text)


def test_names_that_stand_twice_or_are_unknown_decide_nothing(dataset, tmp_path, monkeypatch):
    path = write(tmp_path / "l.csv", ("name", "label"), [("a.png", 0)])
    monkeypatch.setattr(RecordSplit, "names", lambda _, rows: ["a.png"] * len(rows))
    with pytest.raises(ValueError, match=r"more than one record is called 'a\.png'; add a column index"):
        imported(dataset, path)
    monkeypatch.setattr(RecordSplit, "names", lambda _, rows: [None] * len(rows))
    with pytest.raises(ValueError, match="keeps no names of its records; pack the source again"):
        imported(dataset, path)
