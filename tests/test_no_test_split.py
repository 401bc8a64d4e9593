"""A data set without a test split: training, reports, comparison and audit work, and test figures are n/a."""

import csv
import json

import numpy as np
import pytest
from training import assert_same_result, pack, pixels_and_labels, small, stop_after

from selfie_train import Stopped, resume, train
from selfie_train.commands.audit import audit
from selfie_train.commands.compare import compare
from selfie_train.runs.log import read_log

QUICK = {"epochs": 2, "warmup": 1, "history": 1, "batch_size": 16}


@pytest.fixture
def data(tmp_path):
    pack(tmp_path / "data", *pixels_and_labels(), test=0)
    return tmp_path / "data"


@pytest.mark.parametrize(
    "options",
    [{}, {"method": "default"}, {"method": "co-teaching"}, {"variant": "official", "noise": "none"}],
)
def test_training_and_its_reports_go_without(data, tmp_path, capsys, options):
    result = train(small(data, tmp_path / "run", **{**QUICK, **options}))
    text = " ".join(capsys.readouterr().out.split())
    assert "data has no test split: test figures are n/a" in text
    assert "done: test error n/a (no test split)" in text
    for name in ("best_test_error", "last_test_error", "last10_test_error"):
        assert result.summary[name] is None
    assert read_log(result.folder) == result.log
    assert all(row["test_error"] is row["test_loss"] is None for row in result.log)
    page = (result.folder / "report.html").read_text()
    assert "no test split" in page
    assert ">test error<" not in page  # no curve of it
    compare([result.folder], tmp_path / "table", say=lambda line: pytest.fail(line))
    with (tmp_path / "table" / "table.csv").open() as file:
        assert next(csv.DictReader(file))["best_test_error"] == ""


def test_a_run_without_one_is_audited_and_resumed(data, tmp_path, monkeypatch):
    whole = train(small(data, tmp_path / "whole", **QUICK), quiet=True)
    with monkeypatch.context() as patched:
        stop_after(patched, 4)
        with pytest.raises(Stopped):
            train(small(data, tmp_path / "run", **QUICK), quiet=True)
    assert_same_result(whole, resume(tmp_path / "run", quiet=True))
    audit(tmp_path / "run", tmp_path / "audit")
    assert json.loads((tmp_path / "audit" / "audit.json").read_text())["records"] == 48
    with (tmp_path / "audit" / "issues.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert row["given_class"] == "abcd"[int(row["given_label"])]
        assert row["suggested_class"] == "abcd"[int(row["suggested_label"])]
    with (tmp_path / "run" / "labels.csv").open() as file:
        for row in csv.DictReader(file):
            assert row["given_class"] == "abcd"[int(row["given_label"])]
            label = row["refurbished_label"]
            assert row["refurbished_class"] == ("abcd"[int(label)] if label else "")
    assert np.isfinite([float(row["score"]) for row in rows]).all()
