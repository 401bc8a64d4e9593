"""Folds: each record is judged by a network that never saw it; here, in processes, repeated."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
from training import pack

import selfie_io as sio
from selfie_train.evidence import folds
from selfie_train.evidence.fold_processes import complete_in_processes
from selfie_train.evidence.fold_training import FoldTask, complete_fold, snapshot_epochs
from selfie_train.evidence.folds import folds_evidence


@contextlib.contextmanager
def silent(_, total):
    """Progress that counts."""
    silent.total, silent.done = total, 0

    def advance(steps):
        silent.done += steps

    yield advance


@pytest.fixture
def split(tmp_path):
    """60 records of three shades, one class each, of which five are labelled wrongly."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    pixels = rng.integers(0, 60, (60, 1, 8, 8), dtype=np.uint8)
    for index, label in enumerate(labels):
        pixels[index, :, :, 2 * label : 2 * label + 2] += 150
    labels[:5] = (labels[:5] + 1) % 3
    pack(tmp_path / "data", pixels, labels)
    return sio.open_dataset(tmp_path / "data").train


def evidence(split, cache, **options):
    return folds_evidence(
        split, split.labels, 4, 3, cache, data_digest="0", seed=0, progress=silent, **options
    )


@pytest.fixture(autouse=True)
def few_epochs(monkeypatch):
    monkeypatch.setattr(folds, "EPOCHS", (2, 2))


def test_no_record_is_judged_by_a_network_that_saw_its_label(split, tmp_path, monkeypatch):
    tasks = []
    monkeypatch.setattr(folds, "complete_fold", lambda task, _: (tasks.append(task), save(task)))
    evidence(split, tmp_path / "cache")
    assert sorted(np.concatenate([task.judged for task in tasks])) == list(range(60))
    for task in tasks:
        assert not set(task.judged) & set(task.learnt)
        assert len(task.judged) + len(task.learnt) == 60


def save(task, value=0.25):
    np.save(task.path, np.full((len(task.judged), task.num_classes), value, np.float32))


def test_what_is_done_is_kept_and_repeats_are_averaged(split, tmp_path, monkeypatch):
    once = evidence(split, tmp_path / "cache")
    assert silent.done == silent.total == 6
    np.testing.assert_allclose(once.probabilities.sum(axis=1), 1, rtol=1e-5)
    trained = []

    def count(task, advance):
        trained.append(task.path)
        complete_fold(task, advance)

    monkeypatch.setattr(folds, "complete_fold", count)
    twice = evidence(split, tmp_path / "cache", repeats=2)
    assert len(trained) == 3  # of the second deal alone
    assert silent.done == silent.total == 12
    again = evidence(split, tmp_path / "cache", repeats=2)
    assert len(trained) == 3
    np.testing.assert_array_equal(twice.probabilities, again.probabilities)
    assert twice.digest != once.digest
    np.testing.assert_allclose(twice.probabilities.sum(axis=1), 1, rtol=1e-5)
    assert (twice.probabilities != once.probabilities).any()


def test_the_processes_of_torchrun_share_the_folds(split, tmp_path, monkeypatch):
    mine = []
    monkeypatch.setattr(folds, "complete_fold", lambda task, _: (mine.append(task), save(task)))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")

    def number(path):
        return int(path.stem.rsplit("-", 1)[1])

    def the_other_process_ends(_):
        for fold in (0, 2):
            path = mine[0].path.with_name(mine[0].path.name.replace("-1.npy", f"-{fold}.npy"))
            save(replace(mine[0], path=path))

    monkeypatch.setattr(folds.time, "sleep", the_other_process_ends)
    evidence(split, tmp_path / "cache", together=True)
    assert [number(task.path) for task in mine] == [1]


def test_a_network_judges_several_times_and_at_the_end():
    assert [snapshot_epochs(epochs) for epochs in (1, 2, 3)] == [{1}, {1, 2}, {1, 2, 3}]
    assert snapshot_epochs(30) == {10, 12, 14, 17, 19, 21, 23, 26, 28, 30}


@pytest.mark.parametrize("option", ["repeats", "workers"])
def test_at_least_one(split, tmp_path, option):
    with pytest.raises(ValueError, match=f"--{option} must be positive, got 0"):
        evidence(split, tmp_path, **{option: 0})


@pytest.mark.slow
def test_a_process_finds_what_this_one_finds_and_says_why_it_failed(split, tmp_path):
    def task(name, model="convnet"):
        judged = np.arange(0, 60, 3)
        learnt = np.setdiff1d(np.arange(60), judged)
        path = tmp_path / f"{name}.npy"
        return FoldTask(split, np.asarray(split.labels), 4, learnt, judged, model, 2, 0, 1, path)

    told = []
    complete_in_processes([task("one"), task("two")], 2, told.append)
    assert sum(told) == 4
    complete_fold(task("here"), told.append)
    for name in ("one", "two"):
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), np.load(tmp_path / "here.npy"))
    with pytest.raises(ChildProcessError, match="nonsense"):
        complete_in_processes([task("bad", model="nonsense")], 1, told.append)
