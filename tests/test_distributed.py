"""Several processes train as one: the same choices and histories, the same losses but for rounding."""

import json
import os
import subprocess
import sys
from pathlib import Path

import in_processes
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from training import small

import selfie_io as sio
import selfie_train.training.components
from selfie_train import train
from selfie_train.runs.log import read_log
from selfie_train.training.checkpoint import latest_checkpoint
from selfie_train.training.distributed import ProcessGroup
from selfie_train.training.learner import Learner

# Of 1,438 records a batch of 716 leaves 6, too few to be shared by four processes: each takes all of them.
BATCH = {"model": "plain-net", "batch_size": 716, "lr": 0.02, "epochs": 6, "device": "cpu"}  # GPUs may be few
WATCHED = {
    "selfie": {"method": "watched-selfie"},
    "second-pass": {"method": "watched-selfie", "two_pass": True},
    "official": {"method": "watched-selfie", "variant": "official", "history": 3},
}
NUMBERS = (1, 2, 4)
# Methods that ask for probabilities, or weigh the loss by the size of the whole batch.
SOFT = {
    "gce": {"method": "gce"},
    "elr": {"method": "elr"},
    "forward": {"method": "forward"},
    "dividemix": {"method": "dividemix", "epochs": 4, "method_options": ("lambda_u=5",)},
    "label-wave": {"method": "default", "early_stopping": "label-wave", "patience": 1},
}


def in_processes_of(number, tasks):
    """Do the tasks in so many processes of one thread each."""
    if number == 1:
        for task in tasks:
            in_processes.do(task)
        return
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={number}"]
    command = [*launcher, str(Path(in_processes.__file__)), json.dumps(tasks)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-6000:]


@pytest.fixture(scope="module")
def runs(digits, tmp_path_factory):
    """The folder of all runs, trained by two launches of many processes: starting them is what takes long."""
    folder = tmp_path_factory.mktemp("runs")

    def config(name, **options):
        return {"config": small(digits, folder / name, **{**BATCH, **options}).to_json()}

    # Begun by one process, continued by two and then by four, ended by one.
    moving = {"checkpoint_batches": 1, "epochs": 8}
    chain = {
        1: {**config("moved", **moving), "stop_after": 4},
        2: {"resume": str(folder / "moved"), "stop_after": 2},
        4: {"resume": str(folder / "moved"), "stop_after": 2},
    }
    for number in NUMBERS:
        tasks = [chain[number]]
        tasks += [config(f"{name}-{number}", **options) for name, options in WATCHED.items()]
        tasks += [config(f"co-teaching-{number}", method="co-teaching")]
        tasks += [config(f"soft-{number}", method="soft")]
        if number == 1:
            tasks += [config("whole", **moving)]
        if number == 2:
            options = {"model": "normed-net", "method": "first-alone", "batch_size": 1438, "epochs": 1}
            tasks += [config(f"alone-{again}", two_pass=again, **options) for again in (False, True)]
        if number == 4:
            tasks += [config("normed", model="convnet", two_pass=True, lr=0.1, batch_size=180)]
        in_processes_of(number, tasks)
    in_processes_of(1, [{"resume": str(folder / "moved")}])
    return folder


@pytest.fixture(scope="module")
def soft_runs(digits, tmp_path_factory):
    """The runs of SOFT, by one process and by two."""
    folder = tmp_path_factory.mktemp("soft")
    for number in (1, 2):
        configs = [
            small(digits, folder / f"{name}-{number}", **{**BATCH, **options})
            for name, options in SOFT.items()
        ]
        in_processes_of(number, [{"config": config.to_json()} for config in configs])
    return folder


def assert_same_but_for_rounding(one, other, *, but=()):
    for row, same in zip(read_log(one), read_log(other), strict=True):
        for name, value in row.items():
            assert same[name] == (value if value is None else pytest.approx(value, rel=1e-5, abs=1e-9)), name
    labels = [np.genfromtxt(path / "labels.csv", delimiter=",", names=True) for path in (one, other)]
    for name in set(labels[0].dtype.names) - set(but):
        # Two losses that rounding lets change places move the ranks of both records.
        atol = 1e-3 if name == "loss_rank" else 2e-6
        np.testing.assert_allclose(labels[1][name], labels[0][name], rtol=1e-4, atol=atol, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", WATCHED)
@pytest.mark.parametrize("number", NUMBERS[1:])
def test_every_process_sees_and_chooses_what_one_process_would(runs, name, number):
    with np.load(runs / f"{name}-1" / "watched-0.npz") as alone:
        expected = dict(alone)
    steps = [entry for entry in expected if entry.endswith(" indices")]
    assert len(steps) == 18
    assert np.mean([expected[f"{step} chosen_weights"].mean() for step in range(6, 18)]) < 0.95
    for rank in range(number):
        with np.load(runs / f"{name}-{number}" / f"watched-{rank}.npz") as together:
            assert set(together) == set(expected)
            for entry, values in expected.items():
                if entry.endswith(" losses"):
                    np.testing.assert_allclose(together[entry], values, rtol=1e-5, atol=1e-6, err_msg=entry)
                else:
                    np.testing.assert_array_equal(together[entry], values, err_msg=entry)
    # The official order draws a record several times in an epoch: then the order of its visits is lost.
    but = ("forgetting_events", "other_label", "other_class") if name == "official" else ()
    assert_same_but_for_rounding(runs / f"{name}-1", runs / f"{name}-{number}", but=but)


@pytest.mark.slow
@pytest.mark.parametrize("number", NUMBERS[1:])
@pytest.mark.parametrize("name", ["co-teaching", "soft"])
def test_processes_with_two_networks_each_train_as_one(runs, name, number):
    assert_same_but_for_rounding(runs / f"{name}-1", runs / f"{name}-{number}")


@pytest.mark.slow
@pytest.mark.parametrize("name", SOFT)
def test_soft_targets_and_early_stopping_are_the_same_in_two_processes(soft_runs, name):
    assert_same_but_for_rounding(soft_runs / f"{name}-1", soft_runs / f"{name}-2")
    one, two = (
        {path.name for path in (soft_runs / f"{name}-{number}" / "checkpoints").iterdir()}
        for number in (1, 2)
    )
    assert one == two


@pytest.mark.slow
def test_a_run_moves_from_one_process_to_two_to_four_and_back(runs):
    events = [json.loads(line) for line in (runs / "moved" / "events.jsonl").read_text().splitlines()]
    starts = [(event["world_size"], event["at_step"]) for event in events if event["event"] == "start"]
    assert starts == [(1, 0), (2, 4), (4, 9), (1, 15)]
    assert_same_but_for_rounding(runs / "whole", runs / "moved")
    assert read_log(runs / "moved")[-1]["refurbished_fraction"] > 0.2


@pytest.mark.slow
@pytest.mark.parametrize("second_pass", [False, True])
def test_a_process_that_keeps_nothing_still_steps(runs, digits, second_pass):
    config = small(digits, "unused", **{**BATCH, "model": "normed-net", "batch_size": 1438})
    learner = Learner(config, ProcessGroup(0, 1, torch.device("cpu")), (1, 8, 8), 10, 1)
    learner.start_run(0)
    (network,) = learner.networks
    dataset = sio.open_dataset(digits)
    noisy = selfie_train.training.components.Components(config).labels.given
    with sio.Loader(dataset.train, batch_size=719, shuffle=True, labels=noisy, world_size=2) as loader:
        batch = next(iter(loader))
    # The first process's part alone is normalised together, and only its first sample counts.
    loss = torch.nn.functional.cross_entropy(network(batch.images)[:1], batch.labels[:1])
    loss.backward()
    arrays = load_file(max((runs / f"alone-{second_pass}" / "checkpoints").glob("*.safetensors")))
    for name, parameter in network.named_parameters():
        gradient = parameter.grad + config.weight_decay * parameter.detach()
        expected = parameter.detach() - config.lr * (1 + config.momentum) * gradient
        np.testing.assert_allclose(arrays[f"network0.{name}"], expected, rtol=1e-4, atol=1e-6, err_msg=name)
    assert all(np.isfinite(array).all() for name, array in arrays.items() if name.startswith("network"))


@pytest.mark.slow
def test_a_network_with_batch_norm_trains_in_four_processes(runs):
    log = read_log(runs / "normed")
    assert log[-1]["test_error"] < log[0]["test_error"]
    checkpoint, _ = latest_checkpoint(runs / "normed" / "checkpoints")
    networks = [array for name, array in checkpoint.arrays.items() if name.startswith("network")]
    assert networks
    assert all(np.isfinite(array).all() for array in networks)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 97}, "must be a multiple of the number of processes, 2, .*got 97"),
        ({"sync_batchnorm": True}, "sync_batchnorm needs CUDA, got device cpu"),
    ],
)
def test_what_several_processes_cannot_do_is_refused(digits, tmp_path, monkeypatch, options, message):
    monkeypatch.setattr(
        selfie_train.training.components, "join_processes", lambda *_: ProcessGroup(0, 2, torch.device("cpu"))
    )
    with pytest.raises(ValueError, match=message):
        train(small(digits, tmp_path / "run", **options), quiet=True)
    assert not (tmp_path / "run").exists()
