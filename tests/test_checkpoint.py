"""Checkpoints: whole or none, the last two kept, and a resumed run equal to one that never stopped."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training import assert_same_files, assert_same_result, small, stop_after

from selfie_train import Stopped, resume, train
from selfie_train.training.checkpoint import (
    flatten_state,
    latest_checkpoint,
    read_checkpoint,
    unflatten_state,
    write_checkpoint,
)


def interrupted(digits, out, **options):
    """A run with places to stop at: a restart, and checkpoints within an epoch."""
    defaults = {"restarts": 1, "batch_size": 256, "checkpoint_batches": 2}
    return small(digits, out, **{**defaults, **options})


def test_arrays_and_values_come_back_as_they_were(tmp_path):
    arrays = {
        "ring": np.arange(6, dtype=np.uint8).reshape(2, 3),
        "zero_d": np.array(7),
        "flag": np.array(True),
        "wide": np.array([70_000], np.uint32),
        "small": np.array([1.5, np.nan], np.float32),
    }
    values = {"rate": 0.1 + 0.2, "rows": [{"a": None}], "big": 2**60}
    path = write_checkpoint(tmp_path, 5, arrays, values)
    restored = read_checkpoint(path)
    assert restored.values == values
    assert restored.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        assert restored.arrays[name].dtype == array.dtype
        assert restored.arrays[name].shape == array.shape
        np.testing.assert_array_equal(restored.arrays[name], array)


def test_the_last_two_are_kept_and_the_newest_whole_one_is_taken(tmp_path):
    for step in (9, 10, 100):
        write_checkpoint(tmp_path, step, {"x": np.array([step])}, {"step": step})
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["step-000000010"] * 2 + ["step-000000100"] * 2
    (tmp_path / "step-000000200.safetensors").write_bytes(b"a killed writer's")
    newest, defects = latest_checkpoint(tmp_path)
    assert newest.values == {"step": 100}
    assert defects == []

    damaged = bytearray((tmp_path / "step-000000100.safetensors").read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "step-000000100.safetensors").write_bytes(damaged)
    newest, defects = latest_checkpoint(tmp_path)
    assert newest.values == {"step": 10}
    assert "step-000000100.safetensors is damaged" in defects[0]

    text = (tmp_path / "step-000000010.json").read_text().replace('"step": 10', '"step": 11')
    (tmp_path / "step-000000010.json").write_text(text)
    newest, defects = latest_checkpoint(tmp_path)
    assert newest is None
    assert "step-000000010.json is damaged" in defects[1]
    assert latest_checkpoint(tmp_path / "none") == (None, [])


@pytest.mark.parametrize("content", ["[]", "null", "3", '"sha256"', "{}", "", "[" * 9999])
def test_a_json_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "step-000000001.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"step-000000001\.json is not a checkpoint"):
        read_checkpoint(path)


def test_a_renamed_checkpoint_is_passed_over_and_removed_by_the_next(tmp_path):
    """It would count as the newest for ever."""
    for step in (4, 9):
        write_checkpoint(tmp_path, step, {"x": np.array([step])}, {"position": {"step": step}})
    for suffix in (".json", ".safetensors"):
        (tmp_path / f"step-000000004{suffix}").rename(tmp_path / f"step-999999999{suffix}")
    (tmp_path / "step-mine.json").write_text("{}")  # of somebody else
    newest, defects = latest_checkpoint(tmp_path)
    assert newest.values["position"] == {"step": 9}
    assert "step-999999999.json is the checkpoint of step 4: a file was renamed" in defects[0]
    write_checkpoint(tmp_path, 12, {}, {"position": {"step": 12}})
    assert {path.name for path in tmp_path.glob("*.json")} == {
        "step-000000009.json",
        "step-000000012.json",
        "step-mine.json",
    }


def test_a_newer_format_is_refused_by_number(tmp_path):
    path = write_checkpoint(tmp_path, 1, {}, {})
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 9'))
    with pytest.raises(ValueError, match="must have checkpoint format 1, got format 9"):
        read_checkpoint(path)


LEAVES = st.integers() | st.booleans() | st.builds(np.array, st.lists(st.integers(0, 9)))
KEYS = st.text("abc_", min_size=1, max_size=3)


@settings(deadline=None)  # a busy machine may take long
@given(st.recursive(LEAVES, lambda inner: st.dictionaries(KEYS, inner, min_size=1), max_leaves=8))
def test_nested_states_survive_flattening(state):
    state = {"top": state}
    arrays, values = flatten_state(state, "method")
    assert all(isinstance(array, np.ndarray) for array in arrays.values())
    json.dumps(values)
    restored = unflatten_state(values | arrays, "method")

    def sort(value):
        return {key: sort(value[key]) for key in sorted(value)} if isinstance(value, dict) else value

    assert repr(sort(restored)) == repr(sort(state))


@pytest.mark.parametrize(
    ("options", "stops"),
    [
        ({"method": "selfie", "history": 1}, (1, 5, 11)),  # mid-epoch; after an epoch; in run 1
        (
            {"method": "selfie", "variant": "official", "model": "densenet-10-12", "epochs": 1, "warmup": 0},
            (5,),
        ),
        ({"method": "co-teaching"}, (3,)),
        ({"method": "default", "channels_last": True, "precision": "bfloat16"}, (3,)),
        ({"method": "active-bias", "augment": "crop-flip"}, (9,)),
        (
            {"method": "selfie", "noise": "none", "restarts": 0},
            (4,),
        ),  # inside the warm-up that estimates the rate
    ],
)
def test_a_run_resumed_anywhere_equals_one_that_never_stopped(digits, tmp_path, monkeypatch, options, stops):
    whole = train(interrupted(digits, tmp_path / "whole", **options), quiet=True)
    folder = tmp_path / "stopped"
    begin = train
    for batches in stops:
        with monkeypatch.context() as patched:
            stop_after(patched, batches)
            with pytest.raises(Stopped, match=r"continue with: selfie-train resume .*stopped"):
                begin(folder if begin is resume else interrupted(digits, folder, **options), quiet=True)
        begin = resume
    result = resume(folder, quiet=True)
    assert_same_result(whole, result)
    assert_same_files(tmp_path / "whole", folder)


def test_a_finished_run_resumes_to_itself(digits, tmp_path):
    done = train(interrupted(digits, tmp_path / "run", epochs=1, warmup=0, restarts=0), quiet=True)
    again = resume(tmp_path / "run", quiet=True)
    assert again.summary == done.summary


def test_a_finished_run_without_checkpoints_keeps_its_results(digits, tmp_path):
    train(interrupted(digits, tmp_path / "run", epochs=1, warmup=0, restarts=0), quiet=True)
    kept = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    for spoil in (lambda path: path.write_bytes(b"x"), lambda path: path.unlink()):
        for path in (tmp_path / "run" / "checkpoints").glob("*.safetensors"):
            spoil(path)
        with pytest.raises(ValueError, match="is finished, and without a whole checkpoint"):
            resume(tmp_path / "run", quiet=True)
        assert {name: (tmp_path / "run" / name).read_bytes() for name in kept} == kept


def test_a_run_without_checkpoints_starts_anew_only_when_told(digits, tmp_path):
    whole = train(interrupted(digits, tmp_path / "run", epochs=1, warmup=0, restarts=0), quiet=True)
    (tmp_path / "run" / "summary.json").unlink()
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.unlink()
    log = (tmp_path / "run" / "log.csv").read_bytes()
    with pytest.raises(ValueError, match=r"no whole checkpoint.*log of 1 epochs is kept.*--from-start"):
        resume(tmp_path / "run", quiet=True)
    assert (tmp_path / "run" / "log.csv").read_bytes() == log
    assert_same_result(resume(tmp_path / "run", from_start=True, quiet=True), whole)


@pytest.mark.parametrize(
    "change",
    [{"model": "densenet-10-12"}, {"method": "co-teaching"}, {"history": 5}, {"seed": 1}, {"noise": "none"}],
)
def test_a_checkpoint_of_other_settings_is_refused(digits, tmp_path, change):
    train(interrupted(digits, tmp_path / "run", epochs=2, restarts=0), quiet=True)
    path = tmp_path / "run" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=r"does not fit the settings in|is not what"):
        resume(tmp_path / "run", quiet=True)
