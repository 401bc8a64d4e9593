"""docs/noise.md does what it says: its Python runs, and the names it mentions exist."""

import importlib
import re
from pathlib import Path

import numpy as np
from conftest import make_folder

from selfie_io.records.dataset import open_dataset

TEXT = (Path(__file__).parents[1] / "docs/noise.md").read_text()


def test_its_example_runs(tmp_path, monkeypatch):
    make_folder(tmp_path / "data/cifar10", train_files=(300,))
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    names = {}
    exec(example, names)
    noisy = open_dataset("data/cifar10").train.labels_from("pair-0.4")
    np.testing.assert_array_equal(noisy, names["noisy"])
    names["loader"].close()


def test_the_names_it_mentions_exist():
    mentioned = re.findall(r"`(selfie_io\.[a-z_.]+)\.([a-z_]+)\(", TEXT)
    assert len(mentioned) == 3
    for module, name in mentioned:
        assert callable(getattr(importlib.import_module(module), name))
