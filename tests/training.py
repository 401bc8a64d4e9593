"""What the tests of selfie-train share: a run of seconds, when two runs are the same, a wish to stop."""

import json
import shutil

import numpy as np
import torch
from safetensors.numpy import load_file

import selfie_train.training.loop
from selfie_io.records.layout import RecordLayout
from selfie_io.records.writer import DatasetWriter
from selfie_train import TrainConfig

SMALL = {
    "recipe": "paper",
    "model": "convnet",
    "noise": "pair:0.4",
    "epochs": 2,
    "warmup": 1,
    "history": 2,
    "restarts": 0,
}


def small(dataset, out, **options):
    """The config of a small run into `out`; `options` take the place of what makes it small."""
    return TrainConfig(str(dataset), out=str(out), **{**SMALL, **options})


def pixels_and_labels(seed=0, count=48, num_classes=4):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, 1, 8, 8), dtype=np.uint8), np.arange(count) % num_classes


def pack(folder, pixels, labels, *, test=12, records_per_file=20):
    """A data set with a manifest; its first `test` records are its test split too."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    layout = RecordLayout(*pixels.shape[1:])
    with DatasetWriter(folder, layout, 4, records_per_file=records_per_file) as writer:
        writer.append("train", pixels, labels)
        if test:
            writer.append("test", pixels[:test], labels[:test])
        writer.finish(name=folder.name, class_names=list("abcd"), provenance={})


def weights(result):
    return [value.clone() for network in result.networks for value in network.state_dict().values()]


def assert_same_result(one, other):
    """Of two results in memory: the same log and the same weights, bit for bit."""
    assert one.log == other.log
    for first, second in zip(weights(one), weights(other), strict=True):
        assert torch.equal(first, second)


def files_that_matter(folder):
    """What must not depend on where a run stopped: log, labels, and the last checkpoint's arrays."""
    arrays = load_file(max((folder / "checkpoints").glob("*.safetensors")))
    summary = json.loads((folder / "summary.json").read_text())
    del summary["images_per_second"]
    return (folder / "log.csv").read_bytes(), (folder / "labels.csv").read_bytes(), arrays, summary


def assert_same_files(one, other):
    """Of two finished runs' folders: log, labels, weights, momentum, memory and figures, bit for bit."""
    log, labels, arrays, summary = files_that_matter(one)
    other_log, other_labels, other_arrays, other_summary = files_that_matter(other)
    assert log == other_log
    assert labels == other_labels
    assert summary == other_summary
    assert arrays.keys() == other_arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, other_arrays[name], err_msg=name)


def stop_after(monkeypatch, batches):
    """Let a run be asked to stop after so many looks around, which it does after every batch."""

    class StopSoon:
        looks = 0

        @property
        def asked(self):
            self.looks += 1
            return self.looks >= batches

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(selfie_train.training.loop, "StopSignal", StopSoon)
