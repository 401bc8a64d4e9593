"""Which part of a source is for training and which for testing: one vocabulary for all kinds of sources."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from converting import as_folder, as_tar, as_zip, complaint, encoded, run

import selfie_io as sio
from selfie_io.convert.sources.split_words import class_order, split_of_folder, split_of_path, splits_in

PNG = encoded(np.zeros((4, 4, 3), np.uint8))


def folders(*names, classes=("cat", "dog"), per_class=2):
    return {f"{name}/{c}/{i}.png": PNG for name in names for c in classes for i in range(per_class)}


def packed(out):
    dataset = sio.open_dataset(out)
    return dataset.class_names, {name: len(split) for name, split in dataset.splits.items()}


def notes(out):
    return json.loads((out / "dataset.json").read_text())["provenance"].get("notes", [])


@pytest.mark.parametrize(
    "name",
    [
        "train",
        "Training",
        "TRAIN",
        "train_set",
        "trainset",
        "TrainImages",
        "seg_train",
        "train-2017",
        "Training Data",
        "my_train_data",
    ],
)
def test_words_for_training(name):
    assert split_of_folder(name) == "train"


@pytest.mark.parametrize(
    "name", ["test", "Testing", "TEST_SET", "testset", "testData", "seg_test", "test images"]
)
def test_words_for_testing(name):
    assert split_of_folder(name) == "test"


@pytest.mark.parametrize(
    "name", ["val", "VALID", "validation", "Dev", "eval", "val2017", "valid_images", "dev-set", "evaluation"]
)
def test_words_for_validation(name):
    assert split_of_folder(name) == "validation"


@pytest.mark.parametrize(
    "name",
    ["cat", "trainer", "contest", "latest", "evaluator", "valley", "test_tube", "train_station", "device"],
)
def test_words_that_are_no_split(name):
    assert split_of_folder(name) is None


def test_a_pair_of_names_tells_a_split():
    assert split_of_folder("birds_train", ["birds_train", "birds_test"]) == "train"
    assert split_of_folder("birds_train", ["birds_train", "fish_test"]) is None


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train_test/test-0.tar", "test"),
        ("train/validation.parquet", "validation"),
        ("a/train/0000.parquet", "train"),
        ("cifar10-train-00000-of-00001.parquet", "train"),
        ("t10k-data.tar", "test"),
        ("part-0.tar", None),
    ],
)
def test_the_own_name_decides_before_the_folder(path, split):
    assert split_of_path(path, path) == split


@pytest.mark.parametrize(
    "path", ["train_test/0.tar", "train/val/0.tar", "train-test.parquet", "test/training/x/1.tar"]
)
def test_a_path_of_two_splits_is_refused(path):
    with pytest.raises(ValueError, match=f"{path}: a path must name one split"):
        split_of_path(path, path)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"), ("Train", "Test"), ("training_set", "test_set"), ("TRAINING", "TESTING"),
        ("seg_train/seg_train", "seg_test/seg_test"), ("pets-train", "pets-test"),
        ("data/train/images", "data/test/images"),
        ("trainset", "testset"), ("training", "validation"), ("train", "dev"), ("x/y/train", "x/y/eval"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("layout", [as_folder, as_zip])
def test_split_folders_of_any_name(tmp_path, train, test, layout):
    members = folders(train, per_class=3) | folders(test, per_class=1)
    assert run("pack", layout(tmp_path / "source", members), tmp_path / "out") == 0
    assert packed(tmp_path / "out") == (["cat", "dog"], {"train": 6, "test": 2})
    if not splits_in(test.rsplit("/", 1)[-1]) <= {"test"} and "images" not in test:
        assert any("becomes the test split" in note for note in notes(tmp_path / "out"))


def test_validation_beside_test_is_said_to_be_left_out(tmp_path):
    source = as_folder(tmp_path / "s", folders("Train", "Test", "Valid"))
    assert run("pack", source, tmp_path / "out") == 0
    assert packed(tmp_path / "out")[1] == {"train": 4, "test": 4}
    assert "Valid/ is left out: Test/ is the test split" in notes(tmp_path / "out")


@pytest.mark.parametrize(
    "names",
    [
        ("train", "Training"),
        ("train", "val", "dev"),
        ("train", "test", "testing"),
        ("train_a", "train", "test"),
    ],
)
def test_two_folders_of_one_split_are_refused(tmp_path, names, capsys):
    said = complaint(capsys, 1, "pack", as_folder(tmp_path / "s", folders(*names)), tmp_path / "out")
    assert "one folder must hold the" in said


@pytest.mark.parametrize("word", ["train", "test", "Train", "dev"])
def test_a_class_may_be_called_like_a_split(tmp_path, word):
    members = {f"{name}/{i}.png": PNG for name in ("bus", "car", word) for i in range(4)}
    assert run("pack", as_folder(tmp_path / "s", members), tmp_path / "out", "--test-fraction", 0) == 0
    assert packed(tmp_path / "out") == (sorted(["bus", "car", word]), {"train": 12})
    assert any(f"{word}/ is taken for a class" in note for note in notes(tmp_path / "out"))


@pytest.mark.parametrize("word", ["train", "test"])
def test_a_class_called_like_a_split_inside_splits(tmp_path, word):
    members = folders("train", "test", classes=("bus", word))
    assert run("pack", as_folder(tmp_path / "s", members), tmp_path / "out") == 0
    assert packed(tmp_path / "out") == (sorted(["bus", word]), {"train": 4, "test": 4})


@pytest.mark.parametrize(
    "members",
    [
        {f"{c}/{s}/{i}.png": PNG for c in ("cat", "dog") for s in ("train", "test") for i in range(2)},
        {f"train/{s}/{c}/{i}.png": PNG for c in ("cat", "dog") for s in ("train", "test") for i in range(2)},
        {f"train/{c}/val/{i}.png": PNG for c in ("cat", "dog") for i in range(2)},
        {f"{s}/{i}.png": PNG for s in ("train", "test") for i in range(2)},
        folders("test", "val"),
    ],
)
def test_splits_in_the_wrong_place_are_refused_with_a_way_out(tmp_path, members, capsys):
    said = complaint(capsys, 1, "pack", as_folder(tmp_path / "s", members), tmp_path / "out")
    assert "split" in said
    assert "image-folder: " in said
    assert not (tmp_path / "out").exists()


def test_a_training_folder_beside_a_class_is_ambiguous(tmp_path, capsys):
    source = as_folder(tmp_path / "s", folders("train") | {"bus/0.png": PNG})
    assert "or a class beside bus/" in complaint(capsys, 1, "pack", source, tmp_path / "out")
    assert run("pack", source, tmp_path / "out", "--kind", "image-folder") == 0
    assert packed(tmp_path / "out") == (["cat", "dog"], {"train": 4})
    assert "bus/ is left out: its name is no split" in notes(tmp_path / "out")


@pytest.mark.parametrize("names", [[str(i) for i in range(12)], ["7", "10", "9"], ["01", "2", "10"]])
def test_integer_class_names_are_sorted_as_numbers(tmp_path, names):
    members = {f"train/{name}/0.png": PNG for name in names}
    assert run("pack", as_folder(tmp_path / "s", members), tmp_path / "out") == 0
    assert packed(tmp_path / "out")[0] == sorted(names, key=int)
    assert any("sorted as numbers" in note for note in notes(tmp_path / "out"))
    assert class_order(["b", "10", "9"]) == (["10", "9", "b"], [])


def parquet(path, labels):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pa.array(
        [{"bytes": PNG, "path": None}] * len(labels),
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    pq.write_table(pa.table({"image": image, "label": pa.array(labels, pa.int64())}), path)


@pytest.mark.parametrize("folder", ["train_test", "my-training", "test"])
def test_tables_and_shards_in_folders_with_split_words(tmp_path, folder):
    source = tmp_path / "pq"
    parquet(source / folder / "train-0.parquet", [0, 1, 2])
    parquet(source / folder / "test-0.parquet", [0, 1])
    assert run("pack", source, tmp_path / "out") == 0
    assert packed(tmp_path / "out")[1] == {"train": 3, "test": 2}
    (tmp_path / "wds" / folder).mkdir(parents=True)
    for split, count in (("train", 3), ("test", 2)):
        members = {
            f"{i}.{end}": PNG if end == "png" else b"0" for i in range(count) for end in ("png", "cls")
        }
        as_tar(tmp_path / "wds" / folder / f"{split}-0.tar", members)
    assert run("pack", tmp_path / "wds", tmp_path / "out2") == 0
    assert packed(tmp_path / "out2")[1] == {"train": 3, "test": 2}


def test_an_unlabelled_test_split_makes_room_for_validation(tmp_path):
    parquet(tmp_path / "s" / "train.parquet", [0, 1])
    parquet(tmp_path / "s" / "test.parquet", [-1, -1])
    parquet(tmp_path / "s" / "validation.parquet", [1])
    assert run("pack", tmp_path / "s", tmp_path / "out") == 0
    assert packed(tmp_path / "out")[1] == {"train": 2, "test": 1}
    assert any("has no labels" in note for note in notes(tmp_path / "out"))
    images = np.zeros((2, 3, 3), np.uint8)
    np.savez(
        tmp_path / "d.npz",
        x_train=images,
        y_train=[0, 1],
        x_test=images,
        y_test=[-1, -1],
        x_val=images,
        y_val=[1, 0],
    )
    assert run("pack", tmp_path / "d.npz", tmp_path / "out2") == 0
    assert packed(tmp_path / "out2")[1] == {"train": 2, "test": 2}
    assert sio.open_dataset(tmp_path / "out2").test.names([0]) == ["x_val.npy#0"]


def test_two_configurations_are_refused(tmp_path, capsys):
    for config in ("full", "small"):
        parquet(tmp_path / "s" / config / "train-00000-of-00001.parquet", [0, 1])
    said = complaint(capsys, 1, "pack", tmp_path / "s", tmp_path / "out")
    assert "two configurations" in said
    assert "--join-folders" in said
    assert run("pack", tmp_path / "s" / "small", tmp_path / "out") == 0
    assert run("pack", tmp_path / "s", tmp_path / "both", "--join-folders") == 0
    assert packed(tmp_path / "both")[1] == {"train": 4}


SOURCES = {
    "npz": lambda path: np.savez(path, x_train=np.zeros((40, 3, 3), np.uint8), y_train=np.arange(40) % 4),
    "npz pool": lambda path: np.savez(path, images=np.zeros((40, 3, 3), np.uint8), labels=np.arange(40) % 4),
    "parquet": lambda path: parquet(path / "train.parquet", [i % 4 for i in range(40)]),
    "folder": lambda path: as_folder(path, folders("train", classes="abcd", per_class=10)),
    "tree": lambda path: as_folder(path, {f"{c}/{i}.png": PNG for c in "abcd" for i in range(10)}),
    "kaggle": lambda path: as_folder(
        path, folders("train", classes="abcd", per_class=10) | {"test/1.png": PNG}
    ),
    "webdataset": lambda path: as_tar(
        path,
        {f"{i}.{e}": PNG if e == "png" else str(i % 4).encode() for i in range(40) for e in ("png", "cls")},
    ),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_test_split_can_be_held_out_of_every_source(tmp_path, kind):
    source = tmp_path / ("source.npz" if kind.startswith("npz") else "source")
    SOURCES[kind](source)
    assert run("pack", source, tmp_path / "a", "--test-fraction", 0.2) == 0
    dataset = sio.open_dataset(tmp_path / "a")
    assert np.bincount(dataset.train.labels).tolist() == [8] * 4
    assert np.bincount(dataset.test.labels).tolist() == [2] * 4
    train, test = dataset.train.names(np.arange(32)), dataset.test.names(np.arange(8))
    assert len({*train, *test}) == 40
    assert any("8 of 40 records" in note and "seed 0" in note for note in notes(tmp_path / "a"))
    assert run("pack", source, tmp_path / "b", "--test-fraction", 0.2, "--test-seed", 7) == 0
    assert sio.open_dataset(tmp_path / "b").test.names(np.arange(8)) != test
    assert run("pack", source, tmp_path / "c", "--test-fraction", 0) == 0
    assert packed(tmp_path / "c")[1] == {"train": 40}


def test_plan_run_and_merge_hold_out_the_same(tmp_path):
    source = SOURCES["tree"](tmp_path / "source")
    options = ("--test-fraction", 0.25, "--test-seed", 3, "--records-per-file", 7, "--name", "x")
    assert run("pack", source, tmp_path / "packed", *options) == 0
    assert (
        run("plan", source, tmp_path / "p.json", "--shards", 3, "--out", tmp_path / "merged", *options) == 0
    )
    assert [run("run", tmp_path / "p.json", "--shard", shard) for shard in range(3)] == [0, 0, 0]
    assert run("merge", tmp_path / "p.json") == 0
    for path in (tmp_path / "packed").iterdir():
        assert (tmp_path / "merged" / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_test_fraction_that_makes_no_sense_is_refused(tmp_path, capsys):
    source = as_folder(tmp_path / "s", folders("train", "test"))
    assert "without a test split" in complaint(
        capsys, 1, "pack", source, tmp_path / "o", "--test-fraction", 0.2
    )
    small = as_folder(tmp_path / "t", folders("train"))
    said = complaint(capsys, 1, "pack", small, tmp_path / "o", "--test-fraction", 0.1)
    assert "must hold out at least one record" in said
    assert "must be at least 0" in complaint(
        capsys, 2, "pack", small, tmp_path / "o", "--test-fraction", -0.5
    )


def test_our_own_export_is_held_out_of_too(tmp_path):
    source = SOURCES["tree"](tmp_path / "s")
    assert run("pack", source, tmp_path / "set", "--test-fraction", 0) == 0
    for to, name in (
        ("folder", "f"),
        ("npz", "n.npz"),
        ("webdataset", "w"),
        ("parquet", "p"),
        ("cifar10-bin", None),
    ):
        if name is None:
            continue
        assert run("export", tmp_path / "set", tmp_path / name, "--to", to) == 0
        assert run("pack", tmp_path / name, tmp_path / f"{name} again", "--test-fraction", 0.2) == 0
        assert packed(tmp_path / f"{name} again")[1] == {"train": 32, "test": 8}


@pytest.mark.parametrize("test", ["asl_test/asl_test/{}.png", "asl_test/images/{}.png", "asl_test/{}.png"])
def test_a_flat_test_folder_however_wrapped_has_no_labels(tmp_path, test):
    members = folders("asl_train/asl_train") | {test.format(i): PNG for i in "AB"}
    assert run("pack", as_folder(tmp_path / "s", members), tmp_path / "out") == 0
    assert packed(tmp_path / "out") == (["cat", "dog"], {"train": 4})
    assert any("asl_test/ is left out: it has no class folders" in note for note in notes(tmp_path / "out"))


def test_a_split_inside_another_split_is_refused(tmp_path, capsys):
    members = folders("test") | {f"train/test_images/{i}.png": PNG for i in range(3)}
    said = complaint(capsys, 1, "pack", as_folder(tmp_path / "s", members), tmp_path / "out")
    assert "a path must name one split" in said
