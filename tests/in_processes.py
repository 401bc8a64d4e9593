"""Networks and methods for tests of several processes; as a script it trains what they ask for.

    torchrun --nproc-per-node N in_processes.py JSON     a list of {"config": {...}} and {"resume": folder}

`stop_after` beside them ends a run after so many looks at whether to stop. Each process writes what the
method "watched-selfie" was told and chose to RUN/watched-RANK.npz.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from torch import nn
from training import stop_after

from selfie_train import Choice, Method, Stopped, TrainConfig, register_method, register_model, resume, train
from selfie_train.methods.selfie import Selfie


@register_model("plain-net")
def plain_net(shape, num_classes):
    """Without batch norm and dropout: what it says of a sample does not depend on its batch."""
    channels, height, width = shape
    features = nn.Sequential(nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.Flatten())
    return nn.Sequential(features, nn.Linear(8 * height * width, num_classes))


@register_model("normed-net")
def normed_net(shape, num_classes):
    """Its batch norm cannot do with one sample."""
    features = nn.Sequential(nn.Flatten(), nn.Linear(np.prod(shape), 16), nn.BatchNorm1d(16), nn.ReLU())
    return nn.Sequential(features, nn.Linear(16, num_classes))


@register_method("watched-selfie")
class WatchedSelfie(Selfie):
    """SELFIE, with everything it is told and chooses."""

    seen: list = []  # noqa: RUF012 (of all of a process)

    def choose(self, scores):
        choices = super().choose(scores)
        chosen = {f"chosen_{name}": value for name, value in vars(choices[0]).items()} if choices else {}
        known = {name: value for name, value in {**vars(scores), **chosen}.items() if value is not None}
        self.seen.append(known)
        return choices


@register_method("soft")
class Soft(Method):
    """Soft targets between the given label and what the networks say, over the batch's size."""

    num_networks = 2
    needs_probabilities = True
    needs_noise_rate = False

    def choose(self, scores):
        given = np.eye(self.num_classes, dtype=np.float32)[scores.labels]
        weights = (scores.labels % 3).astype(np.float32)
        return [
            Choice(given + shares / 2, weights, divisor="batch") for shares in reversed(scores.probabilities)
        ]


@register_method("first-alone")
class FirstAlone(Method):
    """Keep the first sample of every global batch: all processes but one are left with nothing."""

    needs_noise_rate = False

    def choose(self, scores):
        weights = np.zeros(len(scores.labels), np.float32)
        weights[0] = 1
        return [Choice(scores.labels, weights, second_pass=self.config.two_pass)]


def do(task):
    """Train or resume."""
    WatchedSelfie.seen.clear()
    folder = Path(task["resume"] if "resume" in task else task["config"]["out"])
    with pytest.MonkeyPatch.context() as patch:
        if "stop_after" in task:
            stop_after(patch, task["stop_after"])
        try:
            if "resume" in task:
                resume(folder, quiet=True)
            else:
                train(TrainConfig.from_json(task["config"]), quiet=True)
        except Stopped:
            assert "stop_after" in task
    rows = {
        f"{step} {name}": value for step, row in enumerate(WatchedSelfie.seen) for name, value in row.items()
    }
    np.savez(folder / f"watched-{os.environ.get('RANK', '0')}.npz", **rows)


if __name__ == "__main__":
    for one in json.loads(sys.argv[1]):
        do(one)
