"""A corrected copy, packed, holds the records of the pack with the overlay; SOURCE stays as it was."""

import csv
import hashlib
import json
import shutil
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pytest
from converting import as_folder, as_tar, as_zip, complaint, encoded, records, run
from pyarrow import parquet

from selfie_io.records.csv_cells import harmless_cell
from selfie_io.records.dataset import open_dataset

CLASSES = ["cat", "dog", "=sum"]


def make_members(per_class=5, single=False):
    rng = np.random.default_rng(0)
    files = {}
    for split in ("",) if single else ("train/", "test/"):
        for name in CLASSES:
            for number in range(per_class if split != "test/" else 2):
                pixels = rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)
                files[f"{split}{name}/{number}.png"] = encoded(pixels)
    files["README"] = b"about"
    return files


def digest(path):
    """Every name, content, size and link below a path, as one digest."""
    found = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        found.update(f"{file.relative_to(path)} {file.stat().st_mtime_ns if file.is_file() else ''}".encode())
        found.update(file.read_bytes() if file.is_file() else b"")
    return found.hexdigest()


def write_decisions(path, dataset, *, named=True, seed=0, count=8):
    """Scripted decisions about random records; returns the labels after them."""
    rng = np.random.default_rng(seed)
    split, labels = dataset.train, dataset.train.labels.copy()
    chosen = rng.permutation(len(split))[:count]
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["name", "record_id", "index", "given_label", "decision", "label", "note"])
        for place, index in enumerate(chosen.tolist()):
            given = int(labels[index])
            word = ("relabel", "drop", "keep", "unsure", "relabel")[place % 5]
            label = {"relabel": (given + 1) % dataset.num_classes, "drop": -1}.get(word, given)
            name = harmless_cell(split.names([index])[0]) if named else ""
            rows.writerow([name, split.record_ids[index] if named else "", index, given, word, label, "=x"])
            labels[index] = label
    return labels


WNIDS = {"n03": "cat", "n01": "dog", "n02": "=sum"}


def tiny_imagenet():
    """Tiny-ImageNet as distributed, small: files called after their class, boxes beside them."""
    rng = np.random.default_rng(2)
    files = {"wnids.txt": "\n".join(WNIDS).encode()}
    files["words.txt"] = "".join(f"{wnid}\t{word}, more\n" for wnid, word in WNIDS.items()).encode()
    notes = []
    for wnid in WNIDS:
        boxes = [f"{wnid}_{number}.JPEG\t0\t0\t5\t{number}\n" for number in range(5)]
        files[f"train/{wnid}/{wnid}_boxes.txt"] = "".join(boxes).encode()
        for number in range(7):
            name = (
                f"train/{wnid}/images/{wnid}_{number}.JPEG"
                if number < 5
                else f"val/images/{wnid}{number}.JPEG"
            )
            files[name] = encoded(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), ".jpg")
            if number >= 5:
                notes.append(f"{name.removeprefix('val/images/')}\t{wnid}\t0\t0\t5\t5\n")
    return files | {"val/val_annotations.txt": "".join(notes).encode()}


def sources(tmp_path):
    members = make_members()
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (15, 6, 5, 3), dtype=np.uint8)
    np.savez(
        tmp_path / "d.npz", x_train=pixels, y_train=np.arange(15) % 3, x_test=pixels[:3], y_test=np.arange(3)
    )
    as_folder(tmp_path / "folder", members)
    assert run("pack", tmp_path / "folder", tmp_path / "packed") == 0
    for kind in ("webdataset", "parquet", "folder"):
        assert run("export", tmp_path / "packed", tmp_path / f"as-{kind}", "--to", kind) == 0
    for table in (tmp_path / "as-parquet").rglob("*.parquet"):
        read = parquet.read_table(table)
        texts = pa.array([CLASSES[::-1][label] for label in read["label"].to_pylist()]).dictionary_encode()
        (tmp_path / "texts").mkdir(exist_ok=True)
        parquet.write_table(read.set_column(1, "label", texts), tmp_path / "texts" / table.name)
    shutil.copy(next((tmp_path / "texts").glob("train*")), tmp_path / "one.parquet")
    shutil.copy(next((tmp_path / "as-webdataset").glob("train*")), tmp_path / "one.tar")
    tiny = {f"tiny-imagenet-200/{name}": content for name, content in tiny_imagenet().items()}
    flat = {f"images/{name.replace('/', '-')}": content for name, content in members.items()}
    rows = [
        f"{name},{name.split('-')[1].replace('=', '')},{name.split('-')[0].partition('/')[2]},{i}"
        for i, name in enumerate(flat)
        if name.endswith("png")
    ]
    flat["labels.csv"] = "\r\n".join(["file,label,split,id", *rows, ""]).encode()
    return {
        "labels": as_folder(tmp_path / "flat", flat),
        "folder": tmp_path / "folder",
        "tiny": as_folder(tmp_path / "tiny", tiny),
        "tiny.zip": as_zip(tmp_path / "tiny.zip", tiny),
        "texts": tmp_path / "texts",
        "one.parquet": tmp_path / "one.parquet",
        "one.tar": tmp_path / "one.tar",
        "zip": as_zip(tmp_path / "images.zip", members),
        "tar": as_tar(tmp_path / "images.tar.gz", members, "w:gz"),
        "npz": tmp_path / "d.npz",
        "webdataset": tmp_path / "as-webdataset",
        "parquet": tmp_path / "as-parquet",
        "table": tmp_path / "as-folder",
    }


def content(folder, labels=None):
    """The training records that are kept, each as (label, pixels), sorted; the test split's as they are."""
    test = records(folder, "test").tobytes() if (folder / "test_batch.bin").exists() else b""
    train = records(folder)
    labels = train["label"].astype(int) if labels is None else labels
    kept = sorted((int(y), row["pixels"].tobytes()) for y, row in zip(labels, train, strict=True) if y >= 0)
    return kept, test


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return sources(tmp_path_factory.mktemp("sources"))


KINDS = ["folder", "zip", "tar", "npz", "webdataset", "parquet", "table", "labels"]
WITHOUT_NAMES = [(kind, False) for kind in KINDS]
KINDS += ["tiny", "tiny.zip", "texts", "one.parquet", "one.tar"]


@pytest.mark.parametrize(("kind", "named"), [*((kind, True) for kind in KINDS), *WITHOUT_NAMES])
def test_applied_and_packed_is_packed_and_overlaid(made, tmp_path, kind, named, capsys):
    source = made[kind]
    before = digest(source)
    whole = ("--test-fraction", 0) if kind.startswith("one") else ()
    assert run("pack", source, tmp_path / "set", *whole) == 0
    dataset = open_dataset(tmp_path / "set")
    wanted = write_decisions(tmp_path / "decisions.csv", dataset, named=named)
    assert run("labels", tmp_path / "set", tmp_path / "decisions.csv") == 0
    np.testing.assert_array_equal(dataset.train.labels_from("decisions"), wanted)
    out = tmp_path / ("out" + "".join(source.suffixes))
    assert run("apply", source, tmp_path / "decisions.csv", out, "--dry-run", *whole) == 0
    assert not out.exists()
    capsys.readouterr()
    assert run("apply", source, tmp_path / "decisions.csv", out, *whole) == 0
    assert "3 of 15 training images are relabelled, 2 dropped" in capsys.readouterr().out
    assert digest(source) == before
    assert run("pack", out, tmp_path / "again", *whole) == 0
    assert content(tmp_path / "again") == content(tmp_path / "set", wanted)
    assert open_dataset(tmp_path / "again").class_names == dataset.class_names


def test_a_folder_is_moved_linked_and_listed(made, tmp_path, capsys):
    rows = "name,given_label,decision,label\ntrain/cat/1.png,cat,relabel,dog\ntrain/dog/2.png,2,drop,-1\n"
    (tmp_path / "decisions.csv").write_text(rows)
    out = tmp_path / "out"
    assert run("apply", made["folder"], tmp_path / "decisions.csv", out, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["changes"][0] == {
        "name": "train/cat/1.png",
        "now": "train/dog/1_from_cat.png",
        "given": 1,
        "label": 2,
    }
    expected = {path.relative_to(made["folder"]) for path in made["folder"].rglob("*") if path.is_file()}
    assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == (
        {str(path) for path in expected} - {"train/cat/1.png", "train/dog/2.png"}
    ) | {"train/dog/1_from_cat.png", "_dropped/train/dog/2.png", "_dropped/undo.csv"}
    moved = out / "train/dog/1_from_cat.png"
    assert moved.samefile(made["folder"] / "train/cat/1.png")
    with (out / "_dropped/undo.csv").open(newline="") as file:
        assert [(row["name"], row["now"]) for row in csv.DictReader(file)] == [
            ("train/cat/1.png", "train/dog/1_from_cat.png"),
            ("train/dog/2.png", "_dropped/train/dog/2.png"),
        ]
    assert run("apply", made["folder"], tmp_path / "decisions.csv", tmp_path / "copies", "--copy") == 0
    assert not (tmp_path / "copies/train/dog/0.png").samefile(made["folder"] / "train/dog/0.png")


def test_boxes_of_tiny_imagenet_follow_their_images(tmp_path):
    source = as_folder(tmp_path / "tiny", tiny_imagenet())
    rows = ["train/n03/images/n03_1.JPEG,relabel,dog", "train/n01/images/n01_0.JPEG,drop,"]
    (tmp_path / "d.csv").write_text("name,decision,label\n" + "\n".join(rows))
    out = tmp_path / "out"
    assert run("apply", source, tmp_path / "d.csv", out) == 0
    tables = {
        wnid: [line.split("\t") for line in (out / f"train/{wnid}/{wnid}_boxes.txt").read_text().splitlines()]
        for wnid in WNIDS
    }
    assert [line[0] for line in tables["n03"]] == [f"n03_{number}.JPEG" for number in (0, 2, 3, 4)]
    assert tables["n01"][-1] == ["n03_1.JPEG", "0", "0", "5", "1"]
    assert len(tables["n01"]) == len(tables["n02"]) == 5
    assert (out / "train/n01/images/n03_1.JPEG").exists()
    assert (out / "_dropped/train/n01/images/n01_0.JPEG").exists()


def test_a_class_that_is_called_as_its_split_and_one_that_is_emptied(tmp_path, capsys):
    images = {
        f"train/{name}/{i}.png": make_members()[f"train/cat/{i}.png"]
        for i in (0, 1)
        for name in ("train", "x")
    }
    source = as_folder(tmp_path / "source", images)
    (tmp_path / "d.csv").write_text(
        "name,decision,label\ntrain/train/0.png,relabel,x\ntrain/train/1.png,drop,\n"
    )
    whole = ("--test-fraction", 0, "--kind", "image-folder")
    assert run("apply", source, tmp_path / "d.csv", tmp_path / "out", *whole) == 0
    assert "no training image of 'train' is left" in capsys.readouterr().err
    assert (tmp_path / "out/train/x/0_from_train.png").exists()
    assert (tmp_path / "out/_dropped/train/train/1.png").exists()


def test_a_single_tree_and_an_archive_keep_what_is_beside_the_classes(tmp_path):
    members = make_members(single=True)
    for source in (as_folder(tmp_path / "tree", members), as_zip(tmp_path / "tree.zip", members)):
        (tmp_path / "d.csv").write_text("name,decision,label\ncat/0.png,drop,\ncat/1.png,relabel,dog\n")
        out = source.with_name(f"out{source.suffix}")
        fraction = ("--test-fraction", "0")
        assert run("apply", source, tmp_path / "d.csv", out, *fraction) == 0
        assert run("pack", out, tmp_path / f"set{source.suffix}", *fraction) == 0
        dataset = open_dataset(tmp_path / f"set{source.suffix}")
        assert dataset.class_names == ["=sum", "cat", "dog"]
        assert np.bincount(dataset.train.labels).tolist() == [5, 3, 6]
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert {"README", "_dropped/cat/0.png", "_dropped/undo.csv"} <= {*archive.namelist()}


def test_dropped_samples_of_shards_and_arrays_are_kept_aside(made, tmp_path):
    (tmp_path / "d.csv").write_text("index,decision,label\n3,drop,-1\n")
    for kind in ("webdataset", "parquet", "npz"):
        assert run("apply", made[kind], tmp_path / "d.csv", tmp_path / f"{kind}{made[kind].suffix}") == 0
    with tarfile.open(tmp_path / "webdataset/_dropped/train-000000.tar") as shard:
        assert shard.getnames() == ["000000003.png", "000000003.cls"]
    (table,) = (tmp_path / "parquet/_dropped").rglob("*.parquet")
    import pyarrow.parquet

    assert pyarrow.parquet.read_table(table)["record_id"].to_pylist() == [3]
    with np.load(tmp_path / "npz_dropped.npz") as arrays:
        assert arrays["y_train"].tolist() == [0]
        assert len(arrays["x_train"]) == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("name,decision,label\ntrain/cat/9.png,keep,\n", "row 2, column name: no training record is called"),
        (
            "name,given_label,decision,label\ntrain/cat/1.png,dog,keep,\n",
            "the source has changed since it was",
        ),
        ("index,decision,label\n15,keep,\n", r"row 2, column index: an index must be in 0..14, got 15"),
        ("index,label\n1,1\n", "must have a column decision"),
        ("index,decision,label\n1,relabel,fish\n", "row 2, column label: must be a class name"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(made, tmp_path, capsys, rows, message):
    (tmp_path / "d.csv").write_text(rows)
    assert message in complaint(capsys, 1, "apply", made["folder"], tmp_path / "d.csv", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["d.csv"]


def test_wrong_places_are_refused(made, tmp_path, capsys):
    (tmp_path / "d.csv").write_text("index,decision\n1,keep\n")
    (tmp_path / "there").mkdir()
    for source, out, message in [
        (made["folder"], tmp_path / "there", "OUT must be absent"),
        (made["folder"], made["folder"] / "in", "OUT must not lie in SOURCE"),
        (made["zip"], tmp_path / "out", "OUT must end in .zip"),
        (tmp_path / "no", tmp_path / "out", "SOURCE must exist"),
        ("digits", tmp_path / "out", "SOURCE must exist"),
    ]:
        assert message in complaint(capsys, 2, "apply", source, tmp_path / "d.csv", out)
