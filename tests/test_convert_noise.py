"""selfie-convert noise and info --overlay: what is drawn, and what is told and shown of it."""

import json

import numpy as np
import pytest
from conftest import make_folder
from converting import complaint, run
from PIL import Image

from selfie_io.labels.instance_noise import inject_instance_noise
from selfie_io.records.dataset import open_dataset


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
    picture = tmp_path / "matrix.png"
    assert run("info", folder, "--overlay", "pair-0.4", "--json", "--picture", picture) == 0
    told = json.loads(capsys.readouterr().out)
    train = open_dataset(folder).train
    changed = train.labels != train.labels_from("pair-0.4")
    assert told["observed_noise_rate"] == changed.mean()
    for label in range(10):
        rate = changed[train.labels == label].mean()
        assert told["noise_rate_of_class"][label] == pytest.approx(rate)
        assert told["observed_matrix"][label][(label + 1) % 10] == pytest.approx(rate)
    with Image.open(picture) as image:
        assert image.width > 500
    assert run("info", folder, "--overlay", "pair-0.4") == 0
    shown = capsys.readouterr().out
    assert f"{changed.mean():.2%} of the labels changed, 40.00% asked" in shown
    assert f"4 {changed[train.labels == 3].mean():.2%}" in shown  # most of class 3 goes to class 4


def test_senseless_commands(folder, tmp_path, capsys):
    assert "[0, 1], got 1.5" in complaint(capsys, 2, "noise", folder, "--kind", "instance", "--rate", 1.5)
    assert "--exact" in complaint(capsys, 2, "noise", folder, "--kind", "instance", "--rate", 0.4, "--exact")
    assert "--overlay" in complaint(capsys, 2, "info", folder, "--picture", tmp_path / "x.png")
    assert ".png file" in complaint(
        capsys, 2, "info", folder, "--overlay", "a", "--picture", tmp_path / "x.jpg"
    )
    assert "no such overlay" in complaint(capsys, 1, "info", folder, "--overlay", "a")
