"""Several processes train as one: the same choices and histories, the same losses but for rounding."""

import json
import os
import subprocess
import sys
from pathlib import Path

import plain_net
import pytest
import torch

import selfie_train.parts
from selfie_train import TrainConfig, resume, train
from selfie_train.distributed import Group
from selfie_train.logs import read_log


def settings(digits, out, **options):
    defaults = {
        "model": "plain-net",
        "noise": "pair:0.4",
        "epochs": 3,
        "warmup": 1,
        "history": 2,
        "restarts": 0,
        "lr": 0.01,
        "batch_size": 96,  # 94 records are left for the last batch: 4 processes share them unevenly
    }
    return TrainConfig(str(digits), out=str(out), **{**defaults, **options})


def train_in_processes(number, config):
    """Train in so many processes of one thread each."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={number}"]
    command = [*launcher, str(Path(plain_net.__file__)), json.dumps(config.to_json())]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=240)
    first = json.loads((config.run_folder / "events.jsonl").read_text().splitlines()[0])
    assert first["world_size"] == number


def assert_same_but_for_rounding(one, other):
    for row, same in zip(read_log(one), read_log(other), strict=True):
        for name, value in row.items():
            assert same[name] == (value if value is None else pytest.approx(value, rel=1e-5, abs=1e-9)), name
    assert (one / "labels.csv").read_text() == (other / "labels.csv").read_text()


@pytest.mark.slow
def test_two_processes_train_as_one_and_one_goes_on_where_they_stopped(digits, tmp_path):
    train(settings(digits, tmp_path / "one"), quiet=True)
    train_in_processes(2, settings(digits, tmp_path / "two", checkpoint_batches=4))
    assert_same_but_for_rounding(tmp_path / "one", tmp_path / "two")
    assert read_log(tmp_path / "one")[-1]["refurbished_fraction"] > 0.2

    # Back to the older checkpoint, in the middle of an epoch, as after a crash that lost the newest.
    checkpoints = tmp_path / "two" / "checkpoints"
    older, newest = sorted(path.stem for path in checkpoints.glob("*.json"))
    assert json.loads((checkpoints / f"{older}.json").read_text())["values"]["position"]["batch"] > 0
    for file in checkpoints.glob(f"{newest}.*"):
        file.unlink()
    resume(tmp_path / "two", quiet=True)
    assert_same_but_for_rounding(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_four_processes_with_two_networks_each_train_as_one(digits, tmp_path):
    train(settings(digits, tmp_path / "one", method="co-teaching"), quiet=True)
    train_in_processes(4, settings(digits, tmp_path / "four", method="co-teaching"))
    assert_same_but_for_rounding(tmp_path / "one", tmp_path / "four")


@pytest.mark.slow
def test_a_network_with_batch_norm_trains_in_two_processes(digits, tmp_path):
    train_in_processes(2, settings(digits, tmp_path / "run", model="convnet", method="default", lr=0.1))
    log = read_log(tmp_path / "run")
    assert log[-1]["test_error"] < log[0]["test_error"]


def test_a_batch_must_be_shared_evenly(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(selfie_train.parts, "join_group", lambda _: Group(0, 2, torch.device("cpu")))
    with pytest.raises(ValueError, match="must be a multiple of their number, 2; got 97"):
        train(settings(digits, tmp_path / "odd", batch_size=97), quiet=True)
