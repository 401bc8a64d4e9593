"""What a run may be continued from, and which files it may replace."""

import json

import pytest
from training import assert_same_files, pack, pixels_and_labels, small, stop_after

from selfie_train import Stopped, TrainConfig, resume, train
from selfie_train.runs.own_files import RUN_FILES
from selfie_train.training.checkpoint import write_arrays
from selfie_train.training.continuing import MAY_CHANGE

QUICK = {"method": "selfie", "epochs": 2, "warmup": 1, "history": 1, "batch_size": 16}


@pytest.fixture
def data(tmp_path):
    pack(tmp_path / "data", *pixels_and_labels())
    return tmp_path / "data"


@pytest.fixture
def stopped(data, tmp_path, monkeypatch):
    """A run that was stopped in its second epoch."""
    with monkeypatch.context() as patched:
        stop_after(patched, 4)
        with pytest.raises(Stopped):
            train(small(data, tmp_path / "run", **QUICK), quiet=True)
    return tmp_path / "run"


def edit(folder, **settings):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def files(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


CHANGES = {
    "augment": "crop-flip", "lr": 0.5, "batch_size": 8, "weight_decay": 0.1, "momentum": 0.5, "epochs": 6,
    "threshold": 0.5, "label_smoothing": 0.1, "precision": "bfloat16", "channels_last": True, "seed": 1,
    "ema": 0.5, "schedule": "cosine", "variant": "official", "warmup": 0,
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_an_edited_setting_is_refused_by_name(stopped, name):
    edit(stopped, **{name: CHANGES[name]})
    before = files(stopped)
    with pytest.raises(ValueError, match=rf"goes on with its own settings, .*{name} .* -> {CHANGES[name]!r}"):
        resume(stopped, quiet=True)
    assert files(stopped) == before


def test_settings_that_change_no_result_may_change(stopped, data, tmp_path):
    train(small(data, tmp_path / "whole", **QUICK), quiet=True)
    (tmp_path / "moved").mkdir()
    data.rename(tmp_path / "moved" / "data")
    edit(stopped, checkpoint_batches=2, device="cpu", out="elsewhere", dataset=str(tmp_path / "moved/data"))
    resume(stopped, quiet=True)
    assert_same_files(tmp_path / "whole", stopped)
    assert set(MAY_CHANGE) < set(TrainConfig("x").to_json())


def test_a_run_is_extended_when_that_is_said(data, tmp_path, monkeypatch):
    constant = {**QUICK, "schedule": "cosine"}
    train(small(data, tmp_path / "run", **constant), quiet=True)
    with pytest.raises(ValueError, match="--epochs must be at least the run's 2, got 1"):
        resume(tmp_path / "run", epochs=1, quiet=True)
    with monkeypatch.context() as patched:
        stop_after(patched, 1)
        with pytest.raises(Stopped):
            resume(tmp_path / "run", epochs=4, quiet=True)
    assert not (tmp_path / "run" / "summary.json").exists()  # it is no longer done
    result = resume(tmp_path / "run", dataset=data, quiet=True)  # it is kept
    assert [row["epoch"] for row in result.log] == [1, 2, 3, 4]
    assert resume(tmp_path / "run", quiet=True).log == result.log


def test_without_a_whole_checkpoint_nothing_is_started_over(stopped, data, tmp_path, capsys):
    for path in (stopped / "checkpoints").glob("*.safetensors"):
        path.write_bytes(b"")
    before = files(stopped)
    with pytest.raises(ValueError, match=r"-000000004\.safetensors is damaged.*log of 1 epochs.*-from-start"):
        resume(stopped, quiet=True)
    for path in (stopped / "checkpoints").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"checkpoints holds none.*resume .*run --from-start"):
        resume(stopped, quiet=True)
    assert (stopped / "log.csv").read_bytes() == before[stopped / "log.csv"]
    (stopped / "checkpoints" / "notes.txt").write_text("mine")
    resume(stopped, from_start=True)
    assert "step-" not in capsys.readouterr().out
    train(small(data, tmp_path / "whole", **QUICK), quiet=True)
    assert_same_files(tmp_path / "whole", stopped)
    assert (stopped / "checkpoints" / "notes.txt").read_text() == "mine"


def test_a_run_that_has_a_log_has_a_checkpoint(stopped, monkeypatch):
    monkeypatch.setattr("selfie_train.training.loop.CHECKPOINT_SECONDS", 1e9)
    assert len((stopped / "log.csv").read_text().splitlines()) == 2
    assert len(list((stopped / "checkpoints").glob("step-*.json"))) == 2


def test_a_run_names_the_files_of_others_that_it_would_replace(data, tmp_path):
    out = tmp_path / "mine"
    (out / "checkpoints").mkdir(parents=True)
    for name in ("labels.csv", "notes.txt", "checkpoints/step-000000001.safetensors", "report.html"):
        (out / name).write_text("mine")
    before = files(out)
    with pytest.raises(FileExistsError, match=r"overwrite checkpoints, labels\.csv, report\.html: move"):
        train(small(data, out, **QUICK), quiet=True)
    assert files(out) == before


def test_the_files_that_a_run_writes_are_those_that_it_names(data, tmp_path):
    train(small(data, tmp_path / "run", **QUICK), quiet=True)
    assert {path.name for path in (tmp_path / "run").iterdir()} <= {*RUN_FILES, "config.json"}


def test_arrays_that_no_longer_fit_the_disk_name_file_and_bytes(tmp_path, monkeypatch):
    import errno

    import numpy as np
    from safetensors import SafetensorError

    def full(*_):
        raise SafetensorError(f"Error while serializing: I/O error: No space left (os error {errno.ENOSPC})")

    monkeypatch.setattr("selfie_train.training.checkpoint.save_file", full)
    with pytest.raises(
        OSError, match=r"No space left on device: 4,000 bytes are needed, [0-9,]+ are free"
    ) as e:
        write_arrays(tmp_path / "a.safetensors", {"a": np.zeros(1000, np.float32)})
    assert e.value.filename == str(tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())
