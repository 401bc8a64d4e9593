"""export gives a data set in other forms; packed again, the record files are the same, byte for byte."""

import csv

import numpy as np
import pytest
from converting import as_folder, as_tar, as_zip, complaint, records, run
from PIL import Image

from selfie_io.records.layout import RecordLayout
from selfie_io.records.manifest import read_manifest
from selfie_io.records.writer import DatasetWriter

NAMES = ["T-shirt/top", "10", "9", ".hidden", "guinea pig", "never used", "T-shirt_top"]


def write(folder, shape, *, counts=(("train", 300), ("test", 40)), names=NAMES):
    folder.mkdir()
    rng = np.random.default_rng(0)
    with DatasetWriter(folder, RecordLayout(*shape), len(names)) as writer:
        for split, count in counts:
            labels = rng.integers(0, len(names), count)
            labels[labels == 5] = 6
            writer.append(split, rng.integers(0, 256, (count, *shape), "u1"), labels)
        writer.finish(name="made", class_names=list(names), provenance={})
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.bin")}


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 5)])
@pytest.mark.parametrize("form", ["folder", "npz", "cifar10-bin", "webdataset", "parquet"])
def test_packed_again_it_is_the_same(tmp_path, shape, form, capsys):
    source = write(tmp_path / "source", shape)
    exported = tmp_path / ("out.npz" if form == "npz" else "out")
    if form == "cifar10-bin" and shape != (3, 32, 32):
        assert "cifar10-bin holds 3x32x32" in complaint(capsys, 1, "export", source, exported, "--to", form)
        assert not exported.exists()
        return
    assert run("export", source, exported, "--to", form) == 0
    assert run("pack", exported, tmp_path / "again") == 0
    assert contents(tmp_path / "again") == contents(source)
    assert read_manifest(tmp_path / "again").class_names == NAMES
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["again", exported.name, "source"])


@pytest.mark.parametrize("form", ["folder", "npz", "cifar10-bin", "webdataset", "parquet"])
def test_records_that_an_overlay_leaves_out_are_left_out(tmp_path, form, capsys):
    source = write(tmp_path / "source", (3, 32, 32), counts=[("train", 40), ("test", 9)])
    stored = records(source)
    labels = (stored["label"].astype(np.int64) + 1) % 5
    labels[[0, 7, 39]] = -1
    np.save(tmp_path / "labels.npy", labels)
    assert run("labels", source, tmp_path / "labels.npy", "--key", "x", "--name", "clean") == 0
    exported = tmp_path / ("out.npz" if form == "npz" else "out")
    capsys.readouterr()
    assert run("export", source, exported, "--to", form, "--labels", "clean") == 0
    said = capsys.readouterr()
    assert said.err == "3 of 40 training records are left out: clean has -1\n"
    assert f"37 train + 9 test records as {form}" in said.out
    assert run("pack", exported, tmp_path / "again") == 0
    packed, kept = records(tmp_path / "again"), np.flatnonzero(labels >= 0)
    assert packed["label"].tolist() == labels[kept].tolist()
    np.testing.assert_array_equal(packed["pixels"], stored["pixels"][kept])
    if form == "folder":
        rows = (exported / "records.csv").read_text().splitlines()[1:38]
        assert [int(row.split(",")[2]) for row in rows] == stored["record_id"][kept].tolist()
    np.testing.assert_array_equal(records(tmp_path / "again", "test"), records(source, "test"))


def test_without_test_split(tmp_path):
    source = write(tmp_path / "source", (1, 4, 4), counts=[("train", 20)])
    for form in ("folder", "npz", "webdataset", "parquet"):
        assert run("export", source, tmp_path / form, "--to", form) == 0
        assert run("pack", tmp_path / form, tmp_path / f"{form} again") == 0
        assert contents(tmp_path / f"{form} again") == contents(source)


def test_the_folder_tells_which_record_is_which(tmp_path):
    source = write(tmp_path / "source", (3, 6, 5))
    assert run("noise", source, "--rate", 0.5, "--name", "half") == 0
    assert run("export", source, tmp_path / "plain") == 0
    assert run("export", source, tmp_path / "noisy", "--labels", "half") == 0
    stored = records(source)
    tables = {}
    for name in ("plain", "noisy"):
        with (tmp_path / name / "records.csv").open(newline="") as file:
            tables[name] = [row for row in csv.DictReader(file) if row["split"] == "train"]
    for row, record in zip(tables["plain"], stored, strict=True):
        assert (int(row["record_id"]), int(row["label"])) == (record["record_id"], record["label"])
        with Image.open(tmp_path / "plain" / row["file"]) as image:
            np.testing.assert_array_equal(np.asarray(image), record["pixels"].transpose(1, 2, 0))
    noisy = [int(row["label"]) for row in tables["noisy"]]
    overlay = np.load(source / "labels" / "half.npy")
    assert noisy == overlay.tolist() != stored["label"].tolist()


def test_an_exported_folder_packs_from_any_archive(tmp_path):
    source = write(tmp_path / "source", (1, 4, 4))
    assert run("export", source, tmp_path / "out") == 0
    members = {
        f"out/{path.relative_to(tmp_path / 'out').as_posix()}": path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    for archive in (as_zip(tmp_path / "a.zip", members), as_tar(tmp_path / "a.tar.gz", members, "w:gz")):
        assert run("pack", archive, tmp_path / "again", "--force") == 0
        assert contents(tmp_path / "again") == contents(source)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (
            lambda text: text.replace("file,split", "path,split"),
            "line 1: the columns must be file,split,record_id,label",
        ),
        (lambda text: text.replace("/00.png", "/77.png"), "is not there"),
        (lambda text: text + text.splitlines()[-1], "line 27: 'test/"),
        (lambda text: text.replace(",train,", ",dev,"), "line 2: a row must be file, train or test"),
        (lambda text: "\n".join(text.splitlines()[:-1]), "is not in records.csv"),
        (lambda text: text.replace("\n", "\r,\n", 3), "records.csv: line 1: new-line character"),
        (lambda text: text.replace(",train,0,", ",train,0,9"), "must be in 0..6"),
    ],
)
def test_a_records_csv_that_does_not_fit_is_refused(tmp_path, edit, reason, capsys):
    source = write(tmp_path / "source", (1, 4, 4), counts=[("train", 20), ("test", 5)])
    assert run("export", source, tmp_path / "out") == 0
    table = tmp_path / "out" / "records.csv"
    table.write_text(edit(table.read_text()))
    assert reason in complaint(capsys, 1, "pack", tmp_path / "out", tmp_path / "again")


def test_targets_are_not_overwritten(tmp_path, capsys):
    source = write(tmp_path / "source", (1, 4, 4))
    as_folder(tmp_path / "out", {"precious.txt": b""})
    assert "is there already" in complaint(capsys, 2, "export", source, tmp_path / "out")
    assert "is there already" in complaint(capsys, 2, "export", source, tmp_path / "out", "--to", "npz")
    assert "FOLDER must be a folder" in complaint(capsys, 2, "export", tmp_path / "absent", tmp_path / "x")
    assert "no such overlay" in complaint(capsys, 1, "export", source, tmp_path / "x", "--labels", "y")
    odd = write(tmp_path / "odd", (2, 4, 4))
    assert "a PNG must have 1 or 3 channels, got 2" in complaint(capsys, 1, "export", odd, tmp_path / "x")
    lines = write(tmp_path / "lines", (1, 4, 4), names=["a\nb", "c"])
    assert "'a\\nb' is not a line" in complaint(capsys, 1, "export", lines, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_labels_by_people(tmp_path, capsys):
    source = write(tmp_path / "source", (1, 4, 4))
    clean = records(source)["label"].astype(np.int64)
    np.save(tmp_path / "labels.npy", (clean + 1) % 7)
    assert run("labels", source, tmp_path / "labels.npy", "--key", "worse_label") == 0
    assert "overlay worse_label: 100.00% of 300 labels differ" in capsys.readouterr().out
    rows = "\n".join(f"{a},{b}" for a, b in zip(clean, np.roll(clean, 1), strict=True))
    (tmp_path / "labels.csv").write_text(f"clean_label,noisy_label\n{rows}\n")
    assert run("labels", source, tmp_path / "labels.csv", "--key", "noisy_label", "--name", "n") == 0
    assert np.load(source / "labels" / "n.npy").tolist() == np.roll(clean, 1).tolist()
    said = complaint(capsys, 1, "labels", source, tmp_path / "labels.csv", "--key", "nonsense")
    assert "got 'nonsense'" in said
    assert "FILE must exist" in complaint(capsys, 2, "labels", source, tmp_path / "absent", "--key", "x")
