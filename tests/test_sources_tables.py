"""Images with a table of labels, arrays and columns under other names, Tiny-ImageNet rearranged."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from converting import as_folder, as_tar, as_zip, complaint, encoded, run

import selfie_io as sio

IMAGES = {str(i): encoded(np.full((4, 4, 3), i, np.uint8)) for i in range(6)}
FLAT = {f"{i}.png": content for i, content in IMAGES.items()}
KINDS = ("cat", "dog", "ant")


def notes(out):
    return json.loads((out / "dataset.json").read_text())["provenance"].get("notes", [])


def table(header, rows, sep=","):
    return "\n".join(sep.join(row) for row in [header, *rows]).encode() + b"\n"


def pixel_values(split):
    return split.images(np.arange(len(split)))[:, 0, 0, 0].tolist()


ROWS = [(str(i), KINDS[i % 3]) for i in (3, 0, 5, 1, 2, 4)]


@pytest.mark.parametrize("layout", [as_folder, as_zip, as_tar])
@pytest.mark.parametrize(
    ("name", "header", "cell", "sep"),
    [
        ("labels.csv", ("file", "label"), "{}.png", ","),
        ("labels.tsv", ("filename", "class"), "{}.png", "\t"),
        ("train.csv", ("id", "breed"), "{}", ","),
        ("data.csv", ("Image_ID", "Target"), "./{}.png", ";"),
        ("annotations.csv", ("path", "category"), "whatever\\{}.png", ","),
    ],
)
def test_a_flat_folder_with_a_table(tmp_path, layout, name, header, cell, sep):
    prefix = "whatever/" if "whatever" in cell else ""
    members = {prefix + file: content for file, content in FLAT.items()}
    members[name] = table(header, [(cell.format(i), label) for i, label in ROWS], sep)
    options = [] if name == "train.csv" else ["--test-fraction", 0]
    assert run("pack", layout(tmp_path / "source", members), tmp_path / "out", *options) == 0
    dataset = sio.open_dataset(tmp_path / "out")
    assert dataset.class_names == ["ant", "cat", "dog"]
    assert pixel_values(dataset.train) == [int(i) for i, _ in ROWS]
    assert [dataset.class_names[label] for label in dataset.train.labels] == [label for _, label in ROWS]
    assert dataset.train.names([0]) == [f"{prefix}3.png"]
    assert any(header[1] in note and header[0] in note for note in notes(tmp_path / "out"))


@pytest.mark.parametrize("fraction", [0.34, 0])
def test_images_in_a_folder_beside_the_table(tmp_path, fraction):
    members = {f"images/{name}": content for name, content in FLAT.items()}
    members["labels.csv"] = table(
        ("image", "width", "label"), [(f"{i}.png", "4", label) for i, label in ROWS]
    )
    source = as_folder(tmp_path / "s", members)
    assert run("pack", source, tmp_path / "out", "--test-fraction", fraction) == 0
    dataset = sio.open_dataset(tmp_path / "out")
    assert len(dataset.train) == (3 if fraction else 6)
    assert sorted(dataset.splits) == (["test", "train"] if fraction else ["train"])


def test_tables_of_two_splits_and_an_unlabelled_one(tmp_path):
    members = {f"train/{i}.png": IMAGES[str(i)] for i in range(4)} | {
        "val/4.png": IMAGES["4"],
        "test/5.png": IMAGES["5"],
    }
    members["train.csv"] = table(("filename", "label"), [(f"{i}.png", KINDS[i % 2]) for i in range(4)])
    members["val.csv"] = table(("filename", "label"), [("4.png", "cat")])
    members["test.csv"] = table(("filename",), [("5.png",)])
    assert run("pack", as_folder(tmp_path / "s", members), tmp_path / "out") == 0
    dataset = sio.open_dataset(tmp_path / "out")
    assert {name: pixel_values(split) for name, split in dataset.splits.items()} == {
        "train": [0, 1, 2, 3],
        "test": [4],
    }
    said = " ".join(notes(tmp_path / "out"))
    assert "test.csv is left out: it has no label column" in said
    assert "becomes the test split" in said


def test_a_split_column(tmp_path):
    rows = [
        (f"{i}.png", KINDS[i % 2], split)
        for i, split in enumerate(("train", "Train", "test", "train", "valid", "none"))
    ]
    members = {**FLAT, "all.csv": table(("file", "label", "split"), rows)}
    assert run("pack", as_folder(tmp_path / "s", members), tmp_path / "out") == 0
    dataset = sio.open_dataset(tmp_path / "out")
    assert {name: pixel_values(split) for name, split in dataset.splits.items()} == {
        "train": [0, 1, 3],
        "test": [2],
    }
    assert "1 row of the split 'none' left out" in notes(tmp_path / "out")


def test_integer_labels_are_sorted_as_numbers_and_given_their_names(tmp_path):
    members = {
        **FLAT,
        "labels.csv": table(("file", "label"), [(f"{i}.png", str(2 * i + 1)) for i in range(6)]),
    }
    assert run("pack", as_folder(tmp_path / "s", members), tmp_path / "out", "--test-fraction", 0) == 0
    dataset = sio.open_dataset(tmp_path / "out")
    assert dataset.class_names == ["1", "3", "5", "7", "9", "11"]
    assert dataset.train.labels.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ([("9.png", "cat")], "labels.csv line 8: there is no file '9.png'"),
        ([("0.png", "dog")], "labels.csv line 8: is labelled 'cat' elsewhere"),
        ([("0.png", "")], "labels.csv line 8: there is no label"),
    ],
)
def test_bad_rows_are_named_and_can_be_skipped(tmp_path, extra, reason, capsys):
    rows = [(f"{i}.png", KINDS[i % 3]) for i in range(6)]
    source = as_folder(tmp_path / "s", {**FLAT, "labels.csv": table(("file", "label"), rows + extra)})
    options = ("--test-fraction", 0)
    assert reason in complaint(capsys, 1, "pack", source, tmp_path / "out", *options)
    assert run("pack", source, tmp_path / "out", "--skip-bad", *options) == 0
    assert len(sio.open_dataset(tmp_path / "out").train) == 6
    assert reason in " ".join(notes(tmp_path / "out"))


def test_repeated_rows_and_unlisted_images_are_said(tmp_path):
    rows = [(f"{i}.png", KINDS[i % 3]) for i in range(5)]
    source = as_folder(tmp_path / "s", {**FLAT, "labels.csv": table(("file", "label"), rows + rows[:2])})
    assert run("pack", source, tmp_path / "out", "--test-fraction", 0) == 0
    assert len(sio.open_dataset(tmp_path / "out").train) == 5
    said = notes(tmp_path / "out")
    assert "labels.csv names 2 images again, with the same label: each is taken once" in said
    assert "1 image in no table left out (5.png)" in said


def test_columns_that_are_not_clear_are_listed(tmp_path, capsys):
    rows = [(f"{i}.png", KINDS[i % 3], "x") for i in range(6)]
    source = as_folder(tmp_path / "s", {**FLAT, "t.csv": table(("file", "species", "photographer"), rows)})
    said = complaint(capsys, 1, "pack", source, tmp_path / "out", "--test-fraction", 0)
    assert "got file, species, photographer; --label-key names it" in said
    assert run("pack", source, tmp_path / "out", "--test-fraction", 0, "--label-key", "species") == 0
    assert sio.open_dataset(tmp_path / "out").class_names == ["ant", "cat", "dog"]
    assert "--label-key must be one of" in complaint(
        capsys, 1, "pack", source, tmp_path / "x", "--label-key", "no"
    )


def test_class_folders_with_a_table_that_says_the_same(tmp_path):
    members = {f"{KINDS[i % 3]}/{i}.png": IMAGES[str(i)] for i in range(6)}
    members["labels.csv"] = table(("file", "label"), [(name, name.split("/")[0]) for name in members])
    assert run("pack", as_folder(tmp_path / "s", members), tmp_path / "out", "--test-fraction", 0) == 0
    manifest = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert manifest["provenance"]["source"]["kind"] == "image-folder"


def test_images_without_labels_say_what_is_missing(tmp_path, capsys):
    said = complaint(capsys, 1, "pack", as_folder(tmp_path / "s", FLAT), tmp_path / "out")
    assert "images need labels: class folders, or a table of file and label; the first file is 0.png" in said


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


X, Y = np.arange(4 * 9, dtype=np.uint8).reshape(4, 3, 3), [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("arrays", "splits"),
    [
        ({"X_train": X, "Y_train": Y, "X_test": X[:1], "Y_test": Y[:1]}, {"train": 4, "test": 1}),
        ({"train_x": X, "train_y": Y}, {"train": 4}),
        ({"x_train": X, "y_train": Y, "x_val": X[:2], "y_val": Y[:2]}, {"train": 4, "test": 2}),
        (
            {"train_data": X, "train_labels": Y, "valid_data": X[:2], "valid_labels": Y[:2]},
            {"train": 4, "test": 2},
        ),
    ],
)
def test_npz_under_names_in_use(tmp_path, arrays, splits):
    assert run("pack", npz(tmp_path / "d.npz", **arrays), tmp_path / "out") == 0
    dataset = sio.open_dataset(tmp_path / "out")
    assert {name: len(split) for name, split in dataset.splits.items()} == splits
    np.testing.assert_array_equal(dataset.train.images(np.arange(4))[:, 0], X)


@pytest.mark.parametrize(
    ("arrays", "keys", "splits"),
    [
        ({"pics": X, "what": Y, "more": [1]}, ("pics", "what"), {"train": 4}),
        (
            {"trainX": X, "trainL": Y, "testX": X[:1], "testL": Y[:1]},
            ("trainX", "trainL"),
            {"train": 4, "test": 1},
        ),
        ({"arr_0": X, "arr_1": Y}, ("arr_0", "arr_1"), {"train": 4}),
    ],
)
def test_npz_under_other_names(tmp_path, arrays, keys, splits, capsys):
    source = npz(tmp_path / "d.npz", **arrays)
    said = complaint(capsys, 1, "pack", source, tmp_path / "out")
    assert all(name in said for name in (*arrays, "x_train", "--image-key", "--label-key"))
    options = ("--image-key", keys[0], "--label-key", keys[1])
    fraction = () if "test" in splits else ("--test-fraction", 0)
    assert run("pack", source, tmp_path / "out", *options, *fraction) == 0
    dataset = sio.open_dataset(tmp_path / "out")
    assert {name: len(split) for name, split in dataset.splits.items()} == splits
    said = complaint(capsys, 1, "pack", source, tmp_path / "x", "--image-key", keys[0])
    assert "--label-key must be one of the arrays" in said


def test_keys_are_refused_where_they_mean_nothing(tmp_path, capsys):
    source = as_folder(tmp_path / "s", {"train/a/0.png": IMAGES["0"]})
    said = complaint(capsys, 1, "pack", source, tmp_path / "out", "--label-key", "x")
    assert "--label-key is for the kinds image-table, npz, parquet, this is image-folder" in said


def test_columns_of_parquet_under_other_names(tmp_path, capsys):
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = pa.array([{"bytes": IMAGES[str(i)], "path": None} for i in range(4)], struct)
    pq.write_table(pa.table({"photo": rows, "digit": Y}), tmp_path / "train.parquet")
    assert "--image-key" in complaint(capsys, 1, "pack", tmp_path / "train.parquet", tmp_path / "out")
    options = ("--image-key", "photo", "--label-key", "digit")
    assert run("pack", tmp_path / "train.parquet", tmp_path / "out", *options) == 0
    assert sio.open_dataset(tmp_path / "out").train.labels.tolist() == Y


@pytest.mark.parametrize("inner", ["", "images/"])
@pytest.mark.parametrize("annotations", [True, False])
def test_rearranged_tiny_imagenet(tmp_path, inner, annotations):
    files = {"wnids.txt": b"n03\nn01\n", "test/images/t.JPEG": IMAGES["5"]}
    for position, wnid in enumerate(("n01", "n03")):
        files[f"train/{wnid}/images/{wnid}_0.JPEG"] = IMAGES[str(position)]
        files[f"train/{wnid}/{wnid}_boxes.txt"] = b"x"
        files[f"val/{wnid}/{inner}val_{position}.JPEG"] = IMAGES[str(position + 2)]
    if annotations:
        files["val/val_annotations.txt"] = b"val_0.JPEG\tn01\n"
    source = as_zip(
        tmp_path / "s.zip", {f"tiny-imagenet-200/{name}": content for name, content in files.items()}
    )
    assert run("pack", source, tmp_path / "out") == 0
    dataset = sio.open_dataset(tmp_path / "out")
    assert dataset.class_names == ["n03", "n01"]
    assert (pixel_values(dataset.train), pixel_values(dataset.test)) == ([1, 0], [3, 2])
    assert any("has no labels: 1 image left out" in note for note in notes(tmp_path / "out"))


def test_zip_entries_with_backslashes(tmp_path):
    file = io.BytesIO()
    import zipfile

    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("train\\", b"")
        for kind in ("cat", "dog"):
            archive.writestr(f"train\\{kind}\\", b"")
            archive.writestr(f"train\\{kind}\\0.png", IMAGES["0"])
    (tmp_path / "s.zip").write_bytes(file.getvalue())
    assert run("pack", tmp_path / "s.zip", tmp_path / "out") == 0
    assert sio.open_dataset(tmp_path / "out").train.names([1]) == ["train/dog/0.png"]


def test_a_sample_submission_gives_no_labels(tmp_path, capsys):
    members = {f"train/{i}.png": IMAGES[str(i)] for i in range(4)} | {
        "test/4.png": IMAGES["4"],
        "test/5.png": IMAGES["5"],
    }
    members["train.csv"] = table(("id", "label"), [(str(i), KINDS[i % 2]) for i in range(4)])
    members["sample_submission.csv"] = table(("id", "label"), [("4", "cat"), ("5", "cat")])
    source = as_folder(tmp_path / "s", members)
    assert run("pack", source, tmp_path / "out") == 0
    assert pixel_values(sio.open_dataset(tmp_path / "out").train) == [0, 1, 2, 3]
    assert "sample_submission.csv is left out: its labels are placeholders" in notes(tmp_path / "out")
    (source / "sample_submission.csv").rename(source / "more.csv")
    assert "more.csv: a table must name its split" in complaint(capsys, 1, "pack", source, tmp_path / "x")


def test_a_packed_set_is_named_for_what_it_is(tmp_path, capsys):
    assert run("pack", "digits", tmp_path / "set") == 0
    assert "this is a data set that pack wrote" in complaint(
        capsys, 1, "pack", tmp_path / "set", tmp_path / "x"
    )
