"""The script that checks a GPU, as far as a CPU can tell: its plan, its comparison, its JSON and chart."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def script(tmp_path, monkeypatch):
    """The script, on one shape and without DALI and compilers, which take minutes; it writes to tmp_path."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    module = import_module("gpu_check")
    monkeypatch.setattr("outcome.RESULTS", tmp_path)
    monkeypatch.setattr(module, "SHAPES", [(3, 32, 32)])
    monkeypatch.setitem(sys.modules, "nvidia", None)

    def compiled(_):
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(module, "compiled", compiled)
    options = "gpu_check.py --device cpu --network convnet --records 40 --batch-size 16 --repeats 2"
    monkeypatch.setattr(sys, "argv", options.split())
    return module


def test_without_a_gpu_it_tells_its_plan(tmp_path):
    before = sorted((BENCHMARKS / "results").iterdir())
    result = subprocess.run(
        [sys.executable, BENCHMARKS / "gpu_check.py"],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "Without a GPU there is nothing to check. With one, this would" in result.stdout
    assert "training step of densenet-25-12" in result.stdout
    assert sorted((BENCHMARKS / "results").iterdir()) == before
    assert list(tmp_path.iterdir()) == []


def test_a_rehearsal_compares_and_writes(tmp_path, script, capsys):
    assert script.main() == 0
    output = capsys.readouterr()
    assert "DALI is not installed" in output.out
    assert "torch.compile: RuntimeError: no compiler here" in output.err
    told = json.loads((tmp_path / "gpu_check_rehearsal.json").read_text())
    options = 2 * 2 * 3 * 4 * 2  # paddings, photometry, normalisations, dtypes, layouts
    same = {"options": options, "values_that_differ": 0, "largest": 0.0, "worst": ""}
    assert told["parity"] == {"native": same, "resident": same}
    assert told["device"] == "cpu"
    alone, training = told["comparisons"]
    assert [row["name"] for row in alone["timings"]] == ["native", "resident"]
    assert [row["name"] for row in training["timings"]] == ["native", "resident", "no loading"]
    assert all(len(row["seconds"]) == 2 for row in alone["timings"] + training["timings"])
    chart = (tmp_path / "gpu_check_rehearsal.svg").read_text()
    assert all(title["title"] in chart for title in told["comparisons"])


def test_a_batch_that_differs_is_told_and_fails(tmp_path, script, monkeypatch):
    """Here the resident backend spoils a value, and only where there is brightness, in one dtype."""
    from selfie_io.loading.resident import ResidentBackend

    given = ResidentBackend.batches

    def brighter(self, epoch, from_batch):
        for batch in given(self, epoch, from_batch):
            if self._reader.options.augment.brightness and self._reader.options.dtype == "float16":
                batch.images[0, 0, 0, 0] += 3
            yield batch

    monkeypatch.setattr(ResidentBackend, "batches", brighter)
    monkeypatch.setattr(script, "check_speed", lambda *_: [])
    monkeypatch.setattr(script, "save", lambda *_, **told: told["parity"])
    assert script.main() == 1
    rows = script.check_parity(tmp_path, script.torch.device("cpu"), ["native", "resident"], 40)
    assert rows["native"]["values_that_differ"] == 0
    assert rows["resident"]["values_that_differ"] == 2 * 3 * 2  # one value of the only batch, in each option
    assert rows["resident"]["largest"] == pytest.approx(3, abs=0.5)
    assert "float16" in rows["resident"]["worst"]
