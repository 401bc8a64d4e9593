"""selfie-convert, end to end: pack what an independent writer made, check it, and break it in every way."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from converting import as_folder, as_tar, as_zip, complaint, encoded, expected, records, run
from PIL import Image

from selfie_io.records.dataset import open_dataset
from selfie_io.records.layout import RecordLayout
from selfie_io.records.manifest import read_manifest


@pytest.mark.parametrize("form", ["folder", "zip", "tar", "tar.gz", "tar.xz", "nested"])
def test_image_folder_in_every_form(tmp_path, members, form):
    if form == "folder":
        source = as_folder(
            tmp_path / "source", {**members, "README": b"", "train/.DS_Store": b"", ".x/y/z": b""}
        )
    elif form == "zip":
        source = as_zip(tmp_path / "a.zip", {**members, "__MACOSX/train/cat/._0.png": b"?"})
    elif form == "nested":
        source = as_zip(tmp_path / "a.zip", {f"my set/data/{name}": members[name] for name in members})
    else:
        shuffled = dict(sorted(members.items(), key=lambda item: item[0][::-1]))
        source = as_tar(tmp_path / f"a.{form}", shuffled, "w:" + form.partition(".")[2])
    out = tmp_path / "out"
    assert run("pack", source, out, "--records-per-file", 3, "--workers", 1) == 0
    for split in ("train", "test"):
        pixels, labels = expected(members, split)
        stored = records(out, split)
        np.testing.assert_array_equal(stored["pixels"], pixels)
        np.testing.assert_array_equal(stored["label"], labels)
        np.testing.assert_array_equal(stored["record_id"], np.arange(len(labels)))
    manifest = read_manifest(out)
    assert manifest.class_names == ["cat", "dog"]
    assert [file.records for file in manifest.splits["train"].files] == [3, 3, 2]
    assert manifest.provenance["source"] == {"kind": "image-folder", "name": source.name}
    assert run("verify", out, "--deep") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([source.name, "out"])


def test_the_bytes_do_not_depend_on_the_workers(tmp_path, members, monkeypatch):
    monkeypatch.setattr("selfie_io.convert.decoding.decoder._CHUNK_ITEMS", 16)  # more chunks than may wait
    rng = np.random.default_rng(1)
    many = {
        f"train/{name}/{number:03d}.jpg": encoded(rng.integers(0, 256, (9, 8, 3), dtype=np.uint8), ".jpg")
        for name in ("cat", "dog")
        for number in range(200)
    }
    source = as_zip(tmp_path / "a.zip", {**members, **many, "train/cat/zz.png": b"no image"})
    options = ("--size", "8x8", "--skip-bad", "--name", "same")
    for workers in (1, 2, 3):
        assert run("pack", source, tmp_path / str(workers), *options, "--workers", workers) == 0
    contents = [
        {path.name: path.read_bytes() for path in (tmp_path / str(workers)).iterdir()}
        for workers in (1, 2, 3)
    ]
    assert contents[0] == contents[1] == contents[2]
    assert len(records(tmp_path / "1")) == 408


def test_a_decoding_process_that_dies_is_told(tmp_path, members, monkeypatch, capsys):
    class Dying(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.kill()

    monkeypatch.setattr("selfie_io.convert.decoding.decoder._CHUNK_ITEMS", 2)
    monkeypatch.setattr("selfie_io.convert.decoding.worker_process.subprocess.Popen", Dying)
    source = as_zip(tmp_path / "a.zip", members)
    said = complaint(capsys, 1, "pack", source, tmp_path / "out", "--workers", 2)
    assert re.search(r"a decoding process died at one of train/\S+\.png \.\. train/\S+\.png", said)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_classes_come_in_the_order_of_their_sorted_names(tmp_path):
    names = ["10", "9", "Zebra", "apple", "bee", "ant", "émeu"]
    files = {f"train/{name}/0.png": encoded(np.full((4, 4), n, np.uint8)) for n, name in enumerate(names)}
    assert run("pack", as_zip(tmp_path / "a.zip", files), tmp_path / "out") == 0
    assert read_manifest(tmp_path / "out").class_names == sorted(names)
    stored = records(tmp_path / "out")
    assert [names[pixels[0, 0, 0]] for pixels in stored["pixels"]] == sorted(names)


def test_val_stands_for_test_and_a_third_split_is_said_to_be_left_out(tmp_path, members, capsys):
    renamed = {name.replace("test/", "val/"): content for name, content in members.items()}
    assert run("pack", as_zip(tmp_path / "a.zip", renamed), tmp_path / "a") == 0
    assert len(records(tmp_path / "a", "test")) == 4
    assert run("pack", as_zip(tmp_path / "b.zip", {**renamed, **members}), tmp_path / "b") == 0
    assert "note: val/ is left out: test/ is the test split" in capsys.readouterr().err


def test_a_single_tree_is_split_by_class_and_name(tmp_path, members, capsys):
    tree = {name.removeprefix("train/"): content for name, content in members.items() if "train" in name}
    source = as_folder(tmp_path / "source", tree)
    assert "--test-fraction is needed" in complaint(capsys, 1, "pack", source, tmp_path / "out")
    assert run("pack", source, tmp_path / "out", "--test-fraction", 0.25) == 0
    assert np.bincount(records(tmp_path / "out", "test")["label"]).tolist() == [1, 1]
    assert np.bincount(records(tmp_path / "out")["label"]).tolist() == [3, 3]
    assert run("pack", source, tmp_path / "none", "--test-fraction", 0) == 0
    assert list(read_manifest(tmp_path / "none").splits) == ["train"]
    assert "below 1, got 1.0" in complaint(capsys, 2, "pack", source, tmp_path / "x", "--test-fraction", 1)


def test_size_and_channels(tmp_path, capsys):
    rng = np.random.default_rng(2)
    colour = rng.integers(0, 256, (12, 10, 3), dtype=np.uint8)
    grey = rng.integers(0, 256, (12, 10), dtype=np.uint8)
    small = rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)
    source = as_folder(
        tmp_path / "mixed",
        {"train/a/0.png": encoded(colour), "train/a/1.png": encoded(grey), "train/b/0.png": encoded(small)},
    )
    said = complaint(capsys, 1, "pack", source, tmp_path / "out")
    assert "train/b/0.png: has 6x5 pixels, the first has 12x10 (--size 12x10 scales all)" in said
    assert not (tmp_path / "out").exists()
    assert run("pack", source, tmp_path / "out", "--size", "6x5") == 0
    pixels = records(tmp_path / "out")["pixels"]
    bilinear = Image.Resampling.BILINEAR
    np.testing.assert_array_equal(
        pixels[0], np.asarray(Image.fromarray(colour).resize((5, 6), bilinear)).transpose(2, 0, 1)
    )
    np.testing.assert_array_equal(pixels[1][0], np.asarray(Image.fromarray(grey).resize((5, 6), bilinear)))
    np.testing.assert_array_equal(pixels[1][0], pixels[1][2])
    np.testing.assert_array_equal(pixels[2], small.transpose(2, 0, 1))
    assert run("pack", source, tmp_path / "grey", "--size", "6x5", "--channels", 1) == 0
    assert read_manifest(tmp_path / "grey").layout == RecordLayout(1, 6, 5)


def test_a_grey_set_stays_grey_and_refuses_colour(tmp_path, capsys):
    grey = encoded(np.arange(20, dtype=np.uint8).reshape(5, 4))
    colour = encoded(np.zeros((5, 4, 3), np.uint8))
    source = as_folder(tmp_path / "grey", {"train/a/0.png": grey, "train/b/0.png": grey})
    assert run("pack", source, tmp_path / "out") == 0
    assert read_manifest(tmp_path / "out").layout == RecordLayout(1, 5, 4)
    (source / "train/b/1.png").write_bytes(colour)
    said = complaint(capsys, 1, "pack", source, tmp_path / "out2")
    assert "b/1.png: has colours, the first is grey (--channels 3 makes all of them colour)" in said
    assert run("pack", source, tmp_path / "out2", "--channels", 3) == 0


def test_targets(tmp_path, members, capsys):
    source = as_folder(tmp_path / "source", members)
    out = tmp_path / "out"
    out.mkdir()
    assert run("pack", source, out) == 0, "an empty folder is taken"
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert "--force replaces it" in complaint(capsys, 2, "pack", source, out)
    (source / "test/cat/0.png").write_bytes(b"?")
    assert "test/cat/0.png" in complaint(capsys, 1, "pack", source, out, "--force")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before, "the old state stays"
    (source / "test/cat/0.png").unlink()
    assert run("pack", source, out, "--force") == 0
    assert len(records(out, "test")) == 3
    assert "OUT must not hold SOURCE" in complaint(capsys, 2, "pack", source, source, "--force")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "precious.txt").touch()
    assert "OUT must be absent, empty or a data set" in complaint(
        capsys, 2, "pack", source, tmp_path / "notes", "--force"
    )
    assert "OUT must be a folder" in complaint(capsys, 2, "pack", source, tmp_path / "notes" / "precious.txt")
    assert "SOURCE must exist, there is none at" in complaint(
        capsys, 2, "pack", tmp_path / "absent", tmp_path / "x"
    )
    assert "a size must be HEIGHTxWIDTH" in complaint(
        capsys, 2, "pack", source, tmp_path / "x", "--size", "8"
    )


def test_a_full_disk_leaves_the_old_state(tmp_path, members):
    """A limit on the size of files stands for the disk: writing fails in the same way but for the number."""
    source = as_folder(tmp_path / "source", members)
    out = tmp_path / "out"
    assert run("pack", source, out) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))\n"
        "from selfie_io.convert.cli import main\n"
        f"sys.exit(main(['pack', {str(source)!r}, {str(out)!r}, '--force']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert ".bin'" in done.stderr, "the file is named"
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]


def test_the_kind_must_be_plain(tmp_path, members, capsys):
    idx = {"train-images-idx3-ubyte": b"", "train-labels-idx1-ubyte": b""}
    source = as_folder(tmp_path / "source", {**members, **idx})
    said = complaint(capsys, 1, "pack", source, tmp_path / "out")
    assert "choose with --kind: image-folder (train/cat/0.png); idx (train-images-idx3-ubyte)" in said
    assert run("pack", source, tmp_path / "out", "--kind", "image-folder") == 0
    assert "got 'nonsense'" in complaint(capsys, 1, "pack", source, tmp_path / "x", "--kind", "nonsense")


def test_json_and_digits(tmp_path, capsys):
    assert run("pack", "digits", tmp_path / "digits", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["shape"], said["records"]) == ([1, 8, 8], {"train": 1438, "test": 359})
    from sklearn.datasets import load_digits

    stored = np.concatenate([records(tmp_path / "digits", split) for split in ("train", "test")])
    original = np.rint(load_digits().images * 255 / 16).astype(np.uint8)
    assert sorted(map(bytes, stored["pixels"])) == sorted(map(bytes, original))
    assert run("info", tmp_path / "digits", "--json") == 0
    info = json.loads(capsys.readouterr().out)
    assert info["splits"]["train"]["records"] == 1438
    assert sum(info["splits"]["test"]["records_per_class"]) == 359
    assert info["defects"] == []


@pytest.mark.parametrize(
    "foreign",
    [
        "notes.txt",
        "runs/a/summary.json",
        "labels/mine.txt",
        "labels/mine.json",
        "data_batch_9.bin",
        ".git/HEAD",
    ],
)
def test_force_replaces_a_data_set_and_nothing_else(tmp_path, members, foreign, capsys):
    source, out = as_folder(tmp_path / "source", members), tmp_path / "out"
    assert run("pack", source, out) == 0
    assert run("noise", out, "--rate", 0.5) == 0
    as_folder(out, {foreign: b"mine"})
    said = complaint(capsys, 2, "pack", source, out, "--force")
    assert "must hold a data set alone" in said
    assert foreign.split("/")[0] in said
    assert (out / foreign).read_bytes() == b"mine"
    (out / foreign).unlink()
    for folder in list((out / foreign).parents):
        if folder in (out, out / "labels"):
            break
        folder.rmdir()
    assert run("pack", source, out, "--force") == 0
    assert not (out / "labels").exists()


def test_out_inside_source_is_refused(tmp_path, members, capsys):
    source = as_folder(tmp_path / "source", members)
    for out in (source / "out", source / "train" / "out", source):
        assert "OUT must not" in complaint(capsys, 2, "pack", source, out)
    (tmp_path / "link").symlink_to(source)
    assert "OUT must not be inside SOURCE" in complaint(capsys, 2, "pack", source, tmp_path / "link" / "out")
    assert run("pack", source, tmp_path / "source-out") == 0


@pytest.mark.parametrize("module", ["json", "pickle", "numpy", "PIL"])
def test_decoding_runs_no_module_of_the_current_folder(tmp_path, members, module):
    many = {f"train/cat/{i:04d}.png": next(iter(members.values())) for i in range(300)}
    source = as_folder(tmp_path / "source", many)
    here = as_folder(tmp_path / "here", {f"{module}.py": b"open('ran', 'w'); raise SystemExit(3)"})
    result = subprocess.run(
        [Path(sys.executable).parent / "selfie-convert", "pack", source, tmp_path / "out", "--workers", "3"],
        cwd=here, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in here.iterdir()) == [f"{module}.py"]


def test_folders_need_no_utf_8(tmp_path, members):
    """Their bytes reach the core; the name in dataset.json has a question mark."""
    source, out = (Path(os.fsdecode(os.fsencode(tmp_path / name) + b"\xff")) for name in ("source", "out"))
    as_folder(source, members)
    assert run("pack", source, out) == 0
    dataset = open_dataset(out)
    assert dataset.name == "out?"
    assert dataset.train.images([0]).shape[0] == 1
    assert run("noise", out, "--rate", 0.5) == 0
    (out / "data_batch_1.bin").unlink()
    with pytest.raises(OSError, match="data_batch_1") as caught:
        dataset.train.open_files("pread")
    assert os.fsencode(caught.value.filename).startswith(os.fsencode(out))
