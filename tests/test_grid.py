"""Grids: what they expand to, who trains a run, and what becomes of the others when one fails or stops."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from selfie_io.termination import sigterm_handler_kept
from selfie_train import TrainConfig
from selfie_train.cli import main
from selfie_train.commands import grid_workers
from selfie_train.commands.attempt import Outcome
from selfie_train.commands.grid_workers import LocalProcesses, Workers, choose_workers
from selfie_train.commands.reproduce import reproduce
from selfie_train.commands.run_grid import GridRun
from selfie_train.registry import known_names
from selfie_train.runs.comparison import group_runs, read_run
from selfie_train.runs.failure import read_failure, write_failure
from selfie_train.runs.grid import expand_grid, read_grid, shipped_grids
from selfie_train.runs.result import Stopped
from selfie_train.runs.run_lock import RunBusy, lock_holder, run_lock

BASE = {
    "recipe": "paper",
    "model": "convnet",
    "noise": "pair:0.4",
    "method": "default",
    "epochs": 1,
    "restarts": 0,
}
HOLDER = """
import sys, time
from pathlib import Path
from selfie_train.runs.run_lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def write_grid(folder, dataset, **axes):
    path = folder / "grid.json"
    path.write_text(json.dumps({"base": {**BASE, "dataset": str(dataset)}, "axes": axes}))
    return path


def starts(folder):
    """How often a run was begun or continued."""
    return [json.loads(line)["event"] for line in (folder / "events.jsonl").read_text().splitlines()].count(
        "start"
    )


def test_a_run_has_one_trainer_and_a_dead_one_holds_nothing(tmp_path):
    run = tmp_path / "run"
    assert lock_holder(run) is None
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(run)], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    assert lock_holder(run).startswith(f"process {holder.pid} on ")
    with (
        pytest.raises(RunBusy, match=f"is being trained by process {holder.pid} on .*: wait for it"),
        run_lock(run),
    ):
        pass
    holder.kill()
    holder.communicate()
    assert lock_holder(run) is None
    with run_lock(run):
        assert lock_holder(run).startswith(f"process {os.getpid()} on ")
    assert lock_holder(run) is None


def test_parts_of_a_grid_have_settings_of_their_own(tmp_path):
    grid = {
        "base": {"dataset": "d"},
        "axes": {"method": ["default", "gce"]},
        "parts": {
            "one": {"axes": {"seed": [0, 1]}},
            "two": {"base": {"epochs": 3}, "axes": {"method": ["gce"], "method_options": [["q=0.5"], []]}},
        },
    }
    configs = expand_grid(grid, tmp_path)
    names = [config.run_folder.name for config in configs]
    assert names == [
        "one_default_s0",
        "one_default_s1",
        "one_gce_s0",
        "one_gce_s1",
        "two_gce_q=0.5",
        "two_gce",
    ]
    assert configs[-2] == TrainConfig(
        "d", method="gce", method_options=("q=0.5",), epochs=3, out=str(tmp_path / "two_gce_q=0.5")
    )
    for bad, message in [
        ({"parts": {"a": {"parts": {"b": {}}}}}, "no parts of its own, got a"),
        ({"base": {"dataset": "d"}, "axes": {"seed": [1, 1]}}, "different names, got twice: s1"),
        ({"parts": []}, "a grid must be"),
    ]:
        with pytest.raises(ValueError, match=message):
            expand_grid(bad, tmp_path)


@pytest.mark.parametrize("name", ["cifar-n", "demo", "selfie-paper"])
def test_shipped_grids_are_whole(tmp_path, name):
    assert name in shipped_grids()
    grid = read_grid(name)
    if "resnet-34" not in known_names("model"):
        grid["base"]["model"] = "convnet"
    configs = expand_grid(grid, tmp_path)
    assert len({config.run_folder for config in configs}) == len(configs)
    assert len({config.seed for config in configs}) > 1
    assert {"default", "selfie"} <= {config.method for config in configs}


def test_unknown_grids_and_missing_data_are_told(tmp_path, capsys):
    assert main(["reproduce", "cifar-m", "--out", str(tmp_path / "out")]) == 1
    known = ", ".join(shipped_grids())
    assert f"must be a JSON file or one of {known}; got 'cifar-m'" in capsys.readouterr().err
    path = write_grid(tmp_path, tmp_path / "none", seed=[0, 1])
    with pytest.raises(ValueError, match=r"none of its 2 runs can begin: .*none is not there: make it with"):
        reproduce(path, tmp_path / "out")
    with pytest.raises(SystemExit):
        main(["reproduce", str(path), "--out", str(tmp_path / "out"), "--workers", "0"])
    assert "--workers must be positive, got 0" in " ".join(capsys.readouterr().err.split())


class Scripted(Workers):
    """Workers whose runs end as a list says."""

    def __init__(self, slots, *outcomes):
        self.slots, self.script = slots, list(outcomes)
        self.running, self.log = {}, []

    def start(self, slot, config):
        assert slot not in self.running
        self.log.append(config.run_folder.name)
        self.running[slot] = self.script.pop(0)

    def ended(self, timeout_seconds):  # noqa: ARG002
        slot = min(self.running, default=None)
        return [] if slot is None else [(slot, self.running.pop(slot))]

    def stop(self):
        self.running.clear()


def grid_of(tmp_path, count):
    return [TrainConfig("d", out=str(tmp_path / f"r{number}")) for number in range(count)]


def test_a_failure_stops_nobody_and_a_busy_run_comes_again(tmp_path):
    configs = grid_of(tmp_path, 4)
    workers = Scripted(
        2, Outcome("failed", "no memory"), Outcome("busy", "process 7"), Outcome("stopped", "by hand"),
        Outcome("failed", "again"), Outcome("failed", "late"),
    )  # fmt: skip
    said, calls = [], []
    outcomes = GridRun(configs, workers, said.append).run(lambda: calls.append(1))
    assert workers.log == ["r0", "r1", "r2", "r3", "r1"]
    assert [outcomes[config.run_folder].reason for config in configs] == [
        "no memory",
        "late",
        "by hand",
        "again",
    ]
    assert len(calls) == 5
    assert any("r1 is being trained by process 7" in line for line in said)


def test_what_failed_elsewhere_meanwhile_is_not_tried_again(tmp_path):
    configs = grid_of(tmp_path, 2)
    write_failure(configs[0].run_folder, "of yesterday", configs[0].to_json())
    (tmp_path / "r0" / "failure.json").write_text(json.dumps({"reason": "of yesterday", "time": 1.0}))
    run = GridRun(configs, workers := Scripted(1, Outcome("failed", "now")), lambda _: None)
    write_failure(configs[1].run_folder, "elsewhere", configs[1].to_json())
    time.sleep(0.01)
    failure = read_failure(configs[1].run_folder)
    assert failure.reason == "elsewhere"
    outcomes = run.run(lambda: None)
    assert workers.log == ["r0"]
    assert [outcome.reason for outcome in outcomes.values()] == ["now", "elsewhere"]


def test_a_failed_run_is_in_the_comparison_with_its_reason(tmp_path):
    (config,) = grid_of(tmp_path, 1)
    write_failure(config.run_folder, "no room", config.to_json())
    (group,) = group_runs([read_run(config.run_folder)])
    assert group.failures == {config.run_folder: "no room"}
    assert group.figure("best_test_error") is None


def test_workers_are_chosen_and_share_gpus(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    said = []
    options = {"ray": False, "out": tmp_path, "imports": (), "quiet": True, "say": said.append}
    assert choose_workers(1, **options).slots == choose_workers(None, **options).slots == 1
    started = []
    monkeypatch.setattr(grid_workers, "RunProcess", lambda *arguments: started.append(arguments))
    workers = choose_workers(3, **options)
    for slot in range(3):
        workers.start(slot, TrainConfig("d", device="auto" if slot < 2 else "cpu"))
    assert [environment.get("CUDA_VISIBLE_DEVICES") for _, _, environment in started] == ["2", "5", None]
    monkeypatch.setitem(sys.modules, "ray", None)
    assert choose_workers(2, **{**options, "ray": True}).slots == 2
    assert "pip install 'selfie-io[ray]'" in said[0]


@pytest.mark.slow
def test_processes_complete_a_grid_and_a_failing_run_is_in_the_table(digits, tmp_path):
    path = write_grid(tmp_path, digits, lr=[0.1, 1e30], seed=[0, 1])
    said = []
    assert not reproduce(path, tmp_path / "out", workers=2, say=said.append)
    table = (tmp_path / "out" / "table.csv").read_text()
    assert "1e+30_s0: the loss is" in table
    assert "Failed runs" in (tmp_path / "out" / "report.html").read_text()
    assert said[-1].startswith("2 of 4 runs are finished; 2 are not, the same command tries them again")
    for name in ("0.1_s0", "0.1_s1"):
        assert starts(tmp_path / "out" / name) == 1
        assert read_run(tmp_path / "out" / name).summary["epochs"] == 1
    whole = reproduce(write_grid(tmp_path, digits, lr=[0.1], seed=[0, 1]), tmp_path / "out", workers=2)
    assert whole
    assert starts(tmp_path / "out" / "0.1_s0") == 1


@pytest.mark.slow
def test_a_killed_process_is_a_failed_run_that_says_how(digits, tmp_path):
    config = TrainConfig(str(digits), **{**BASE, "epochs": 200}, out=str(tmp_path / "run"))
    workers = LocalProcesses(1)
    workers.start(0, config)
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "events.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    workers._running[0].kill()
    ((slot, outcome),) = workers.ended(60)
    assert (slot, outcome.kind) == (0, "failed")
    assert "ended by SIGKILL, which is what a system without free memory sends" in outcome.reason
    assert lock_holder(tmp_path / "run") is None


def command(path, out, *options):
    return [sys.executable, "-m", "selfie_train", "reproduce", str(path), "--out", str(out), *options]


@pytest.mark.slow
def test_two_at_once_share_the_work(digits, tmp_path):
    path = write_grid(tmp_path, digits, seed=[0, 1, 2, 3])
    pair = [
        subprocess.Popen(command(path, tmp_path / "out"), stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    texts = [process.communicate(timeout=280)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0]
    assert [starts(tmp_path / "out" / f"s{seed}") for seed in range(4)] == [1, 1, 1, 1]
    assert all("4 of 4 runs are finished" in text for text in texts)


@pytest.mark.slow
def test_ctrl_c_leaves_checkpoints_and_the_same_command_continues(digits, tmp_path):
    grid = {"base": {**BASE, "dataset": str(digits), "epochs": 6}, "axes": {"seed": [0, 1]}}
    (tmp_path / "grid.json").write_text(json.dumps(grid))
    out = tmp_path / "out"
    process = subprocess.Popen(
        command(tmp_path / "grid.json", out, "--workers", "2"),
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        if all((out / f"s{seed}" / "log.csv").exists() for seed in (0, 1)):
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 130, errors
    assert "the same command continues" in errors
    assert all(lock_holder(out / f"s{seed}") is None for seed in (0, 1))
    assert reproduce(tmp_path / "grid.json", out, quiet=True)
    for seed in (0, 1):
        assert len(read_run(out / f"s{seed}").log) == 6


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_ray_cluster_runs_a_grid_and_a_missing_one_is_told(digits, tmp_path):
    ray = pytest.importorskip("ray")
    said = []
    options = {"out": tmp_path, "imports": (), "quiet": True, "say": said.append}
    assert choose_workers(2, ray=True, **options).slots == 2
    assert "No Ray cluster answers here. Start one with: ray start --head" in said[0]
    with sigterm_handler_kept():
        ray.init(num_cpus=2, include_dashboard=False)
    try:
        path = write_grid(tmp_path, digits, lr=[0.1, 1e30])
        assert not reproduce(path, tmp_path / "out", workers=2, ray=True, say=said.append)
    finally:
        ray.shutdown()
    assert read_run(tmp_path / "out" / "0.1").summary["epochs"] == 1
    assert "the loss is" in read_run(tmp_path / "out" / "1e+30").failure


def test_stopping_by_hand_ends_the_grid(tmp_path):
    run = GridRun(grid_of(tmp_path, 2), Scripted(1, Outcome("stopped", "at step 3")), lambda _: None)
    with pytest.raises(Stopped, match="at step 3"):
        run.run(lambda: None)


def test_the_grids_of_the_package_are_installed():
    folder = Path(__file__).parents[1] / "selfie_train" / "grids"
    assert sorted(path.stem for path in folder.glob("*.json")) == shipped_grids()
    assert np.all([json.loads(path.read_text())["about"] for path in folder.glob("*.json")])
