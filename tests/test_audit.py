"""Auditing labels: the ranking, the files, and that it finds real errors."""

import csv
import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

import selfie_io as sio
from selfie_train import TrainConfig, train
from selfie_train.commands.audit import audit
from selfie_train.runs.label_issues import area_under_roc


@settings(deadline=None)  # a busy machine may take long
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=60))
def test_the_area_under_the_curve_is_scikit_learns(rows):
    scores = np.array([score for score, _ in rows], dtype=np.float64)
    positive = np.array([flag for _, flag in rows])
    if positive.all() or not positive.any():
        assert area_under_roc(scores, positive) is None
    else:
        assert area_under_roc(scores, positive) == pytest.approx(roc_auc_score(positive, scores))


@pytest.fixture(scope="module")
def noisy_run(digits, tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("audited")
    folder = tmp_path / "digits"
    shutil.copytree(digits, folder)
    config = TrainConfig(
        str(folder),
        model="convnet",
        noise="pair:0.2",
        epochs=10,
        warmup=5,
        history=4,
        restarts=0,
        out=str(tmp_path / "run"),
    )
    return train(config, quiet=True)


def test_an_audit_ranks_every_record_and_finds_the_wrong_labels(noisy_run, tmp_path):
    audit(noisy_run.folder, tmp_path / "audit")
    dataset = sio.open_dataset(noisy_run.config.dataset)
    with (tmp_path / "audit" / "issues.csv").open() as file:
        rows = list(csv.DictReader(file))
    labels = ["given_label", "given_class", "suggested_label", "suggested_class"]
    assert list(rows[0])[:7] == ["record_id", "index", *labels, "score"]
    indices = np.array([int(row["index"]) for row in rows])
    assert sorted(indices.tolist()) == list(range(len(dataset.train)))
    assert [int(row["record_id"]) for row in rows] == dataset.train.record_ids[indices].tolist()
    assert [int(row["given_label"]) for row in rows] == noisy_run.labels.given[indices].tolist()
    scores = np.array([float(row["score"]) for row in rows])
    assert (np.diff(scores) <= 0).all()
    assert ((scores >= 0) & (scores <= 1)).all()
    suggested = np.array([int(row["suggested_label"]) for row in rows])
    changed = suggested != noisy_run.labels.given[indices]
    assert (scores[changed] >= 0.5).all()
    assert (scores[~changed] <= 0.5).all()

    wrong = noisy_run.labels.given != dataset.train.labels
    found = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert found["ranking_auroc"] == pytest.approx(roc_auc_score(wrong[indices], scores), abs=1e-4)
    assert found["ranking_auroc"] > 0.9
    assert found["suggestions_right"] == pytest.approx(
        np.mean((suggested == dataset.train.labels[indices])[changed])
    )
    assert found["suggestions_right"] > 0.8
    np.testing.assert_array_equal(dataset.train.labels_from(found["overlay"])[indices], suggested)
    page = (tmp_path / "audit" / "audit.html").read_text()
    assert f"record {rows[0]['record_id']}<" in page


def test_nothing_is_claimed_where_clean_labels_are_unknown(digits, tmp_path):
    shutil.copytree(digits, tmp_path / "digits")
    options = {"model": "convnet", "epochs": 1, "noise_rate": 0.1, "warmup": 0, "restarts": 0}
    result = train(TrainConfig(str(tmp_path / "digits"), out=str(tmp_path / "run"), **options), quiet=True)
    audit(result.folder, tmp_path / "audit")
    found = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert found["records"] == 1438
    assert found["labels_thought_wrong"] > 0
    for name in ("of_these_wrong", "wrong_labels_found", "suggestions_right", "ranking_auroc"):
        assert found[name] is None


def test_a_run_without_a_checkpoint_is_refused(noisy_run, tmp_path):
    shutil.copy(noisy_run.folder / "config.json", tmp_path)
    with pytest.raises(ValueError, match=r"an audit needs a checkpoint, and .* has none"):
        audit(tmp_path, tmp_path / "audit")
