"""The statistics of training: the kernel against a loop in NumPy, processes, resume, labels.csv."""

import csv
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from training import assert_same_files, small, stop_after

from selfie_train import Stopped, resume, train
from selfie_train.evidence.training import PENDING, Outputs, TrainingStatistics

RECORDS, CLASSES = 7, 4


class Alone:
    rank = 0
    world_size = 1
    device = "cpu"


def epochs_of_outputs(count=5, rows=2, seed=0):
    """Of each epoch its batches: shuffled indices, labels, logits of `rows` networks or views."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, RECORDS)
    for _ in range(count):
        order = rng.permutation(RECORDS)
        yield [
            Outputs(
                torch.from_numpy(part.copy()),
                torch.from_numpy(labels[part]),
                torch.from_numpy(rng.normal(0, 2, (rows, len(part), CLASSES)).astype(np.float32)),
            )
            for part in (order[:3], order[3:])
        ]


def plainly(epochs):
    """The columns by their definitions, record by record."""
    visits = {index: [] for index in range(RECORDS)}
    for number, batches in enumerate(epochs):
        for outputs in batches:
            for place, (index, label) in enumerate(
                zip(outputs.indices.tolist(), outputs.labels.tolist(), strict=True)
            ):
                logits = outputs.logits[:, place].double().numpy()
                powers = np.exp(logits - logits.max(axis=1, keepdims=True))
                each = powers / powers.sum(axis=1, keepdims=True)
                shares = each.mean(axis=0)
                others = np.delete(np.arange(CLASSES), label)
                visits[index].append(
                    {
                        "epoch": number,
                        "margin": (logits[:, label] - logits[:, others].max(axis=1)).mean(),
                        "given": shares[label],
                        "other": shares[others].max(),
                        "class": others[shares[others].argmax()],
                        "wrong": shares.argmax() != label,
                        "loss": -np.log(each[:, label]).mean(),
                    }
                )
    found = []
    for index in range(RECORDS):
        mine = visits[index]
        ranks = [
            sum(other[epoch]["loss"] < visit["loss"] for other in visits.values()) / (RECORDS - 1)
            for epoch, visit in enumerate(mine)
        ]
        wrong = [visit["wrong"] for visit in mine]
        found.append(
            {
                "epochs_seen": len(mine),
                "margin": np.mean([visit["margin"] for visit in mine]),
                "given_mean": np.mean([visit["given"] for visit in mine]),
                "given_last": mine[-1]["given"],
                "other_mean": np.mean([visit["other"] for visit in mine]),
                "other_last": mine[-1]["other"],
                "wrong_events": sum(wrong),
                "forgetting_events": sum(now and not before for before, now in itertools.pairwise(wrong)),
                "loss_rank": np.mean(ranks),
                "classes": [visit["class"] for visit in mine],
            }
        )
    return found


def test_the_columns_are_what_their_definitions_say():
    epochs = list(epochs_of_outputs())
    statistics = TrainingStatistics(RECORDS, CLASSES)
    for batches in epochs:
        for outputs in batches:
            statistics.record(outputs)
        statistics.end_epoch(Alone())
    columns = statistics.columns()
    for index, expected in enumerate(plainly(epochs)):
        classes = expected.pop("classes")
        for name, value in expected.items():
            assert columns[name][index] == pytest.approx(value, rel=1e-12), (index, name)
        counts = np.bincount(classes)
        if counts.max() > len(classes) / 2:
            assert columns["other_label"][index] == counts.argmax()


class Pair:
    """Both processes of a run, as threads."""

    world_size, device = 2, "cpu"

    def __init__(self):
        self.values = [None, None]
        self.barrier = threading.Barrier(2)

    def do(self, work):
        """Call `work` with the process of each rank."""
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(work, [Process(self, rank) for rank in range(2)]))


class Process:
    world_size, device = 2, "cpu"

    def __init__(self, pair, rank):
        self.pair, self.rank = pair, rank

    def sum(self, values):
        self.pair.values[self.rank] = values
        self.pair.barrier.wait(20)
        total = sum(self.pair.values)
        self.pair.barrier.wait(20)
        return total


def test_two_processes_count_what_one_does():
    together = [TrainingStatistics(RECORDS, CLASSES, shared=True) for _ in range(2)]
    alone = TrainingStatistics(RECORDS, CLASSES)
    pair = Pair()
    for batches in epochs_of_outputs():
        for statistics, outputs in zip(together, batches, strict=True):
            alone.record(outputs)
            statistics.record(outputs)
        pair.do(lambda process: together[process.rank].end_epoch(process))
        alone.end_epoch(Alone())
        for statistics in together:
            # But for the number of the batch: alone had two, where the pair had one together.
            np.testing.assert_array_equal(statistics._table[:, :-1], alone._table[:, :-1])


def test_a_record_that_both_processes_had_counts_twice():
    together = [TrainingStatistics(RECORDS, CLASSES, shared=True) for _ in range(2)]
    alone = TrainingStatistics(RECORDS, CLASSES)
    pair = Pair()
    for batches in epochs_of_outputs():
        for statistics, outputs in zip(together, [batches[0], batches[0]], strict=True):
            alone.record(outputs)
            statistics.record(outputs)
        pair.do(lambda process: together[process.rank].end_epoch(process))
        alone.end_epoch(Alone())
    for statistics in together:
        found, expected = statistics.columns(), alone.columns()
        for name in ("epochs_seen", "wrong_events", "given_last", "other_last"):
            np.testing.assert_array_equal(found[name], expected[name])
        for name in ("margin", "given_mean", "other_mean"):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-12)
        assert found["other_label"].max() < CLASSES


def test_batches_wait_for_each_other_but_not_for_ever():
    statistics = TrainingStatistics(RECORDS, CLASSES)
    (outputs, _), *_ = epochs_of_outputs()
    for _ in range(PENDING):
        assert not statistics._table[:, 0].any()
        statistics.record(outputs)
    assert statistics._table[:, 0].sum() == PENDING * 3
    statistics.record(None)
    bad = Outputs(outputs.indices + RECORDS, outputs.labels, outputs.logits)
    statistics.record(bad)
    with pytest.raises(ValueError, match="no record"):
        statistics.merge(Alone())


def test_a_stopped_run_keeps_them_and_labels_csv_has_them(digits, tmp_path, monkeypatch):
    options = {"method": "default", "checkpoint_batches": 1}
    whole = train(small(digits, tmp_path / "whole", **options), quiet=True)
    with monkeypatch.context() as patch:
        stop_after(patch, 15)
        with pytest.raises(Stopped):
            train(small(digits, tmp_path / "stopped", **options), quiet=True)
    resume(tmp_path / "stopped", quiet=True)
    assert_same_files(whole.folder, tmp_path / "stopped")
    with (whole.folder / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["epochs_seen"] for row in rows} == {"2"}
    right = np.array([row["given_label"] == row["clean_label"] for row in rows])
    for name in ("margin", "given_mean", "given_last"):
        values = np.array([float(row[name]) for row in rows])
        assert values[right].mean() > values[~right].mean(), name
    assert all(row["other_label"] != row["given_label"] for row in rows)
    assert {row["other_class"] for row in rows} == {str(label) for label in range(10)}
    assert 0 <= min(float(row["loss_rank"]) for row in rows) < 0.1
