"""Tiny-ImageNet and ANIMAL-10N as their authors lay them out."""

import numpy as np
import pytest
from converting import as_folder, as_zip, complaint, encoded, records, run

from selfie_io.records.manifest import read_manifest


def image(value, shape=(6, 6, 3)):
    return encoded(np.full(shape, value, np.uint8))


@pytest.fixture
def tiny():
    """Three classes of two training images, one of them grey; three validation images."""
    files = {
        "wnids.txt": b"n03\nn01\nn02\n",
        "words.txt": b"n01\tgoldfish, Carassius auratus\nn02\tcrane\nn03\tcrane\nn99\tunused\n",
        "val/val_annotations.txt": b"val_1.JPEG\tn01\t0\t32\t44\t62\nval_0.JPEG\tn03\t1\t2\t3\t4\n"
        b"val_10.JPEG\tn02\t1\t2\t3\t4\n",
        "test/images/test_0.JPEG": image(99),
    }
    for position, wnid in enumerate(("n01", "n02", "n03")):
        files[f"train/{wnid}/{wnid}_boxes.txt"] = b"x\t0\t0\t1\t1\n"
        for number in (0, 1):
            grey = (wnid, number) == ("n02", 0)
            files[f"train/{wnid}/images/{wnid}_{number}.JPEG"] = image(
                10 * position + number, (6, 6) if grey else (6, 6, 3)
            )
    for number in (0, 1, 10):
        files[f"val/images/val_{number}.JPEG"] = image(100 + number)
    return {f"tiny-imagenet-200/{name}": content for name, content in files.items()}


@pytest.mark.parametrize("form", ["zip", "folder"])
def test_tiny_imagenet(tmp_path, tiny, form):
    source = {"zip": as_zip, "folder": as_folder}[form](tmp_path / "source", tiny)
    assert run("pack", source, tmp_path / "out") == 0
    assert read_manifest(tmp_path / "out").class_names == ["crane (n03)", "goldfish", "crane (n02)"]
    stored = records(tmp_path / "out")
    assert stored["label"].tolist() == [0, 0, 1, 1, 2, 2]
    assert stored["pixels"][:, :, 0, 0].tolist() == [[v] * 3 for v in (20, 21, 0, 1, 10, 11)]
    stored = records(tmp_path / "out", "test")
    assert stored["label"].tolist() == [0, 1, 2]
    assert stored["pixels"][:, 0, 0, 0].tolist() == [100, 101, 110]


ROOT = "tiny-imagenet-200/"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("val/val_annotations.txt", b"val_0.JPEG\tn77\t0\n", "val_annotations.txt: line 1: 'n77' is not in"),
        (
            "val/val_annotations.txt",
            b"val_0.JPEG\tn01\nval_7.JPEG\tn01\n",
            "line 2: there is no val/images/val_7",
        ),
        ("val/val_annotations.txt", b"val_0.JPEG\n", "line 1: '' is not in wnids.txt"),
        ("wnids.txt", b"x\n" * 65537, "wnids.txt: must hold at most 65536 classes"),
        ("words.txt", b"x" * (1 << 20), "words.txt: byte 0: a line of 1048576 bytes or more"),
        ("val/val_annotations.txt", b"\xff\xfe", "val_annotations.txt: byte 0: not UTF-8"),
        ("val/images/val_3.JPEG", b"", "val_3.JPEG: is not in val_annotations.txt"),
        ("train/n07/images/x.JPEG", b"", "x.JPEG: 'n07' is not in wnids.txt"),
        ("wnids.txt", b"n01\nn02\nn03\nn01\n", "wnids.txt: a class is there twice"),
        ("train/n01/images/n01_0.JPEG", b"?", "n01_0.JPEG: is not an image"),
    ],
)
def test_tiny_imagenet_defects_are_named(tmp_path, tiny, name, content, reason, capsys):
    source = as_zip(tmp_path / "source.zip", {**tiny, ROOT + name: content})
    said = complaint(capsys, 1, "pack", source, tmp_path / "out", "--kind", "tiny-imagenet")
    assert reason in said
    assert not (tmp_path / "out").exists()


@pytest.fixture
def animal():
    files = {f"training/{label}_{number:03d}.jpg": image(label) for label in range(10) for number in (2, 1)}
    files.update({f"testing/{label}_x.jpg": image(100 + label) for label in (9, 3)})
    return files


@pytest.mark.parametrize("prefix", ["", "ANIMAL-10N/raw/"])
def test_animal10n(tmp_path, animal, prefix):
    source = as_zip(tmp_path / "a.zip", {prefix + name: content for name, content in animal.items()})
    assert run("pack", source, tmp_path / "out") == 0
    assert read_manifest(tmp_path / "out").class_names[7:] == ["orangutan", "hamster", "guinea pig"]
    assert read_manifest(tmp_path / "out").provenance["source"]["kind"] == "animal10n"
    assert records(tmp_path / "out")["label"].tolist() == [label for label in range(10) for _ in (1, 2)]
    assert records(tmp_path / "out", "test")["pixels"][:, 0, 0, 0].tolist() == [103, 109]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("training/10_x.jpg", "training/10_x.jpg: a label must be in 0..9, got 10"),
        ("training/cat_x.jpg", "training/cat_x.jpg: images must be named <label>_<anything>.jpg"),
        ("testing/readme.txt", "testing/readme.txt: images must be named"),
        ("other/training/1_x.jpg", "stand in more than one folder"),
        ("training/99999999999999999999_x.jpg", "images must be named <label>_<anything>.jpg"),
    ],
)
def test_animal10n_defects_are_named(tmp_path, animal, name, reason, capsys):
    source = as_folder(tmp_path / "a", {**animal, name: image(0)})
    said = complaint(capsys, 1, "pack", source, tmp_path / "out", "--kind", "animal10n")
    assert reason in said
