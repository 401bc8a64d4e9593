"""selfie-convert noise and info --overlay: what is drawn, and what is told and shown of it."""

import json

import numpy as np
import pytest
from conftest import make_folder
from converting import complaint, run
from PIL import Image

from selfie_io.labels import overlay_writer
from selfie_io.labels.instance_noise import inject_instance_noise
from selfie_io.labels.open_set import replaced_images, write_open_set
from selfie_io.records.dataset import open_dataset
from selfie_io.records.overlay_reader import load_overlay


@pytest.fixture
def folder(tmp_path):
    make_folder(tmp_path / "set", train_files=(300, 200), num_classes=10)
    assert run("adopt", tmp_path / "set", "--shape", "3,32,32") == 0
    return tmp_path / "set"


def test_instance_noise_is_the_librarys(folder, capsys):
    capsys.readouterr()
    assert run("noise", folder, "--kind", "instance", "--rate", 0.4, "--seed", 3, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    train = open_dataset(folder).train
    noisy = inject_instance_noise(train, train.labels, 10, 0.4, seed=3, record_ids=train.record_ids)
    assert told["name"] == "instance-0.4"
    np.testing.assert_array_equal(train.labels_from("instance-0.4"), noisy)


def test_info_tells_and_draws_an_overlay(folder, tmp_path, capsys):
    assert run("noise", folder, "--kind", "pair", "--rate", 0.4, "--exact") == 0
    capsys.readouterr()
    image = tmp_path / "matrix.png"
    assert run("info", folder, "--overlay", "pair-0.4", "--json", "--image", image) == 0
    told = json.loads(capsys.readouterr().out)
    train = open_dataset(folder).train
    changed = train.labels != train.labels_from("pair-0.4")
    assert told["observed_noise_rate"] == changed.mean()
    for label in range(10):
        rate = changed[train.labels == label].mean()
        assert told["noise_rate_of_class"][label] == pytest.approx(rate)
        assert told["observed_matrix"][label][(label + 1) % 10] == pytest.approx(rate)
    with Image.open(image) as image:
        assert image.width > 500
    assert run("info", folder, "--overlay", "pair-0.4") == 0
    shown = capsys.readouterr().out
    assert f"{changed.mean():.2%} of the labels changed, 40.00% asked" in shown
    assert f"4 {changed[train.labels == 3].mean():.2%}" in shown  # most of class 3 goes to class 4


def test_a_matrix_of_many_classes_is_left_out_of_the_overlay(folder, capsys, monkeypatch):
    monkeypatch.setattr(overlay_writer, "MOST_CLASSES_TOLD", 9)
    assert run("noise", folder, "--rate", 0.4, "--name", "n") == 0
    assert "the transition matrix of 10 classes is left out of n.json" in capsys.readouterr().err
    assert load_overlay(folder, "n")[0].transition_matrix is None
    assert run("info", folder, "--overlay", "n") == 0


def test_symmetric_noise_that_may_draw_the_true_class(folder, capsys):
    capsys.readouterr()
    arguments = ("noise", folder, "--kind", "symmetric", "--rate", 0.5, "--include-true", "--exact", "--json")
    assert run(*arguments) == 0
    assert json.loads(capsys.readouterr().out)["observed_noise_rate"] == pytest.approx(0.45, abs=0.02)


def test_open_set_noise_is_the_librarys(folder, tmp_path, capsys):
    make_folder(tmp_path / "other", train_files=(100,), num_classes=3, seed=1)
    other = tmp_path / "other"
    arguments = ("noise", folder, "--kind", "open-set", "--rate", 0.4, "--seed", 3, "--other", other)
    capsys.readouterr()
    assert run(*arguments, "--out", tmp_path / "out", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    write_open_set(open_dataset(folder), open_dataset(other), 0.4, tmp_path / "expected", seed=3)
    written, expected = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("out", "expected")
    )
    assert written == expected
    assert told["replaced"] == replaced_images(open_dataset(tmp_path / "out")).sum()
    assert "holds a data set" in complaint(capsys, 2, *arguments, "--out", tmp_path / "out")
    assert "--other and --out" in complaint(capsys, 2, *arguments)
    assert "--other and --out" in complaint(
        capsys, 2, "noise", folder, "--rate", 0.4, "--out", tmp_path / "x"
    )


def test_senseless_commands(folder, tmp_path, capsys):
    assert "[0, 1], got 1.5" in complaint(capsys, 2, "noise", folder, "--kind", "instance", "--rate", 1.5)
    assert "--exact" in complaint(capsys, 2, "noise", folder, "--kind", "instance", "--rate", 0.4, "--exact")
    assert "--include-true" in complaint(capsys, 2, "noise", folder, "--rate", 0.4, "--include-true")
    assert "--overlay" in complaint(capsys, 2, "info", folder, "--image", tmp_path / "x.png")
    assert ".png file" in complaint(
        capsys, 2, "info", folder, "--overlay", "a", "--image", tmp_path / "x.jpg"
    )
    assert "no such overlay" in complaint(capsys, 1, "info", folder, "--overlay", "a")
