"""The command selfie-train: help, exit statuses, the files it leaves, many runs, the demo."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import selfie_io as sio
import selfie_train.commands.demo
from selfie_train import TrainConfig
from selfie_train.cli import main
from selfie_train.commands.reproduce import complete, expand_grid, reproduce
from selfie_train.runs.comparison import read_run

QUICK = ["--model=convnet", "--noise=pair:0.4", "--epochs=1", "--warmup=0", "--history=1", "--restarts=0"]


OPTIONS = ("--dataset", "--method", "--noise-rate", "--warmup", "--history", "--threshold", "--restarts")


def run_main(*arguments):
    """main's exit status, also where the parser ends the program."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as end:
        return end.code


def test_help_teaches_every_command(capsys):
    assert run_main("--help") == 0
    text = capsys.readouterr().out
    for command in ("demo", "run", "resume", "compare", "audit", "reproduce", "torchrun"):
        assert command in text
    assert run_main("run", "--help") == 0
    text = capsys.readouterr().out
    for option in OPTIONS:
        assert option in text
    assert "Raises" not in text


def test_exit_statuses_and_messages(digits, tmp_path, capsys):
    assert run_main("run", f"--dataset={digits}", "--method=mixup") == 2
    assert "one of default" in capsys.readouterr().err
    assert run_main("run") == 2
    assert run_main("run", f"--dataset={tmp_path / 'none'}") == 1
    assert f"{tmp_path / 'none'}" in capsys.readouterr().err
    assert run_main("resume", tmp_path) == 1
    assert "config.json" in capsys.readouterr().err
    assert (
        run_main(
            "run", f"--dataset={digits}", *QUICK, "--lr=1e30", "--method=default", f"--out={tmp_path / 'bad'}"
        )
        == 1
    )
    assert "last good checkpoint" in capsys.readouterr().err


def test_run_compare_audit_and_resume_work_together(digits, tmp_path, capsys):
    shutil.copytree(digits, tmp_path / "digits")
    runs = [tmp_path / name for name in ("selfie", "default")]
    for folder in runs:
        assert (
            run_main(
                "run",
                f"--dataset={tmp_path / 'digits'}",
                *QUICK,
                f"--method={folder.name}",
                f"--out={folder}",
            )
            == 0
        )
    assert run_main("run", f"--dataset={digits}", *QUICK, f"--out={runs[0]}") == 1
    assert "holds a run already" in capsys.readouterr().err
    assert run_main("resume", runs[0]) == 0
    capsys.readouterr()
    assert run_main("compare", *runs, "--out", tmp_path / "table") == 0
    text = capsys.readouterr().out
    assert f"{read_run(runs[0]).summary['last_test_error']:.2f}" in text
    train_split = sio.open_dataset(tmp_path / "digits").train
    rows = train_split.images(np.arange(len(train_split))).reshape(len(train_split), -1)
    np.save(tmp_path / "pixels.npy", rows)
    features = ("--features", tmp_path / "pixels.npy")
    assert run_main("audit", runs[0], "--out", tmp_path / "audit", *features) == 0
    assert (tmp_path / "audit" / "issues.csv").exists()
    assert (tmp_path / "digits" / "labels" / "audit-selfie-drop.npy").exists()


GRID = {
    "base": {"model": "convnet", "epochs": 1, "warmup": 0, "history": 1, "restarts": 0},
    "axes": {"noise": ["pair:0.2", "pair:0.4"], "method": ["default", "selfie"], "seed": [0]},
}


def test_a_grid_skips_what_is_done_and_goes_on_with_what_is_begun(digits, tmp_path):
    grid = {**GRID, "base": {**GRID["base"], "dataset": str(digits)}}
    (tmp_path / "grid.json").write_text(json.dumps(grid))
    said = []
    assert reproduce(tmp_path / "grid.json", tmp_path / "out", quiet=True, say=said.append)
    folders = sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir())
    assert folders == [
        "pair-0.2_default_s0",
        "pair-0.2_selfie_s0",
        "pair-0.4_default_s0",
        "pair-0.4_selfie_s0",
    ]
    done = tmp_path / "out" / "pair-0.2_selfie_s0"
    begun = tmp_path / "out" / "pair-0.4_selfie_s0"
    before = (done / "summary.json").stat().st_mtime_ns
    log = (begun / "log.csv").read_text()
    (begun / "summary.json").unlink()
    assert reproduce(tmp_path / "grid.json", tmp_path / "out", quiet=True, say=said.append)
    assert (done / "summary.json").stat().st_mtime_ns == before
    assert (begun / "summary.json").exists()
    assert (begun / "log.csv").read_text() == log
    table = (tmp_path / "out" / "table.csv").read_text().splitlines()
    assert len(table) == 5
    page = (tmp_path / "out" / "report.html").read_text()
    assert "by noise rate" in page


def test_a_diverging_run_does_not_end_a_grid(digits, tmp_path):
    grid = {
        "base": {**GRID["base"], "dataset": str(digits), "method": "default"},
        "axes": {"lr": [1e30, 0.05]},
    }
    (tmp_path / "grid.json").write_text(json.dumps(grid))
    said = []
    assert not reproduce(tmp_path / "grid.json", tmp_path / "out", quiet=True, say=said.append)
    assert any("failed: the loss is" in line for line in said)
    assert (tmp_path / "out" / "0.05" / "summary.json").exists()
    assert not (tmp_path / "out" / "1e+30" / "summary.json").exists()


def test_a_grid_that_is_none_is_refused(tmp_path):
    for bad in ({"axis": {}}, {"axes": {"seed": 3}}, {"axes": [1]}, [], {"base": []}):
        with pytest.raises(ValueError, match="a grid must be"):
            expand_grid(bad, tmp_path)
    with pytest.raises(ValueError, match=r"unknown settings.*colour"):
        expand_grid({"base": {"dataset": "d"}, "axes": {"colour": ["red"]}}, tmp_path)
    for content in ('{"base"', '{"axes": {"seed": [0]}}'):
        (tmp_path / "grid.json").write_text(content)
        with pytest.raises(ValueError, match=re.escape(f"{tmp_path / 'grid.json'}: ")):
            reproduce(tmp_path / "grid.json", tmp_path)
    configs = expand_grid(
        {"base": {"dataset": "d"}, "axes": {"seed": [0, 1], "method": ["selfie"]}}, tmp_path
    )
    assert [(config.seed, config.method, config.run_folder.name) for config in configs] == [
        (0, "selfie", "s0_selfie"),
        (1, "selfie", "s1_selfie"),
    ]


def test_a_folder_with_another_run_is_not_taken_for_this_one(digits, tmp_path):
    config = TrainConfig(
        str(digits), method="default", model="convnet", noise="pair:0.1", epochs=1, out=str(tmp_path)
    )
    assert complete(config, quiet=True)
    assert not complete(config, quiet=True)
    with pytest.raises(ValueError, match="holds one with another epochs, lr"):
        complete(TrainConfig(**{**config.to_json(), "lr": 0.2, "epochs": 3}), quiet=True)


def test_the_demo_goes_from_nothing_to_a_report(tmp_path, monkeypatch, capsys):
    quick = {"epochs": 3, "warmup": 1, "history": 1, "restarts": 0}
    monkeypatch.setitem(selfie_train.commands.demo.SCHEDULES, "small", quick)
    out = tmp_path / "demo"
    assert run_main("demo", "--out", out) == 0
    text = capsys.readouterr().out
    assert "default" in text
    assert "selfie" in text
    summary = json.loads((out / "selfie-s0" / "summary.json").read_text())
    assert summary["observed_noise_rate"] == pytest.approx(0.4, abs=0.04)
    labels = [path.read_text().splitlines() for path in out.glob("*-s0/labels.csv")]
    for one, other in zip(*labels, strict=True):
        assert one.split(",")[:3] == other.split(",")[:3]  # the same noisy labels
    assert "Refurbished labels" in (out / "report.html").read_text()
    assert run_main("demo", "--out", out) == 0
    assert "is done already" in capsys.readouterr().out


def test_ctrl_c_ends_cleanly_and_the_run_goes_on(digits, tmp_path):
    command = [
        sys.executable, "-m", "selfie_train", "run", f"--dataset={digits}", "--model=convnet",
        "--noise=pair:0.4", "--epochs=3000", "--method=default", f"--out={tmp_path / 'run'}",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "run" / "log.csv"
    while process.poll() is None and not (log.exists() and log.read_text().count("\n") > 1):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"continue with: selfie-train resume {tmp_path / 'run'}" in complaint
    assert "Traceback" not in complaint
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert events[-1]["event"] == "stopped"
    assert list((tmp_path / "run" / "checkpoints").glob("*.json"))
