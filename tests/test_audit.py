"""Auditing labels: the ranking, the files, and that it finds real errors."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

import selfie_io as sio
from selfie_io.records.writer import DatasetWriter
from selfie_train import TrainConfig, train
from selfie_train.commands import audit as audit_command
from selfie_train.commands import audit_pages
from selfie_train.commands.audit import audit
from selfie_train.report import audit as audit_report
from selfie_train.runs import label_issues
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
def pixels(digits, tmp_path_factory):
    """The images of the digits as features: quick, and good enough to find wrong labels."""
    dataset = sio.open_dataset(digits)
    rows = dataset.train.images(np.arange(len(dataset.train))).reshape(len(dataset.train), -1)
    path = tmp_path_factory.mktemp("features") / "pixels.npy"
    np.save(path, rows.astype(np.float32))
    return path


@pytest.fixture
def noisy(digits, tmp_path):
    """A data set with an overlay of which every fifth label is wrong."""
    folder = tmp_path / "digits"
    shutil.copytree(digits, folder)
    dataset = sio.open_dataset(folder)
    given = sio.inject_noise(dataset.train.labels, sio.transition_matrix("symmetric", 10, 0.2), seed=1)
    sio.save_overlay(dataset, "noisy", given, {"kind": "symmetric", "rate": 0.2})
    return folder


def read_issues(folder):
    with (folder / "issues.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_an_audit_ranks_every_record_and_finds_the_wrong_labels(noisy, pixels, tmp_path):
    found = audit(noisy, tmp_path / "audit", features=pixels, noise="overlay:noisy")
    dataset = sio.open_dataset(noisy)
    given = dataset.train.labels_from("noisy")
    rows = read_issues(tmp_path / "audit")
    assert list(rows[0])[:9] == [
        "record_id", "index", "name", "given_label", "given_class", "suggested_label", "suggested_class",
        "score", "flagged",
    ]  # fmt: skip
    indices = np.array([int(row["index"]) for row in rows])
    assert sorted(indices.tolist()) == list(range(len(dataset.train)))
    assert [int(row["record_id"]) for row in rows] == dataset.train.record_ids[indices].tolist()
    assert [int(row["given_label"]) for row in rows] == given[indices].tolist()
    assert {row["given_class"] for row in rows} <= set(dataset.class_names)
    scores = np.array([float(row["score"]) for row in rows])
    assert (np.diff(scores) <= 0).all()
    assert ((scores >= 0) & (scores <= 1)).all()
    np.testing.assert_allclose(found.score[indices], scores, atol=1e-6)

    wrong = given != dataset.train.labels
    told = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert told["records"] == len(given)
    assert told["flagged"] == sum(int(row["flagged"]) for row in rows) == found.flagged.sum()
    assert told["noise_rate"] == pytest.approx(wrong.mean(), abs=0.03)
    assert told["noise_rate_low"] <= told["noise_rate"] <= told["noise_rate_high"]
    assert told["ranking_auroc"] == pytest.approx(roc_auc_score(wrong[indices], scores), abs=1e-4)
    assert wrong[found.flagged].mean() > 0.85
    assert wrong[found.flagged].sum() > 0.75 * wrong.sum()
    relabelled = dataset.train.labels_from(told["overlays"]["relabel"])
    assert np.mean(relabelled != dataset.train.labels) < wrong.mean() / 2
    kept = dataset.train.labels_from(told["overlays"]["drop"])
    assert np.mean(kept >= 0) > 0.7
    assert np.mean(kept[kept >= 0] != dataset.train.labels[kept >= 0]) < wrong.mean() / 3
    assert "Reliability" in (tmp_path / "audit" / "audit.html").read_text()
    assert (tmp_path / "audit" / "review.html").exists()


def test_the_same_audit_writes_the_same_bytes(noisy, pixels, tmp_path):
    for name in ("a", "b"):
        audit(noisy, tmp_path / name, features=pixels, noise="overlay:noisy")
    assert (tmp_path / "a" / "issues.csv").read_bytes() == (tmp_path / "b" / "issues.csv").read_bytes()
    told = [json.loads((tmp_path / name / "audit.json").read_text()) for name in ("a", "b")]
    assert {**told[0], "seconds": 0} == {**told[1], "seconds": 0}


def test_what_a_large_audit_leaves_out_is_said(noisy, tmp_path, monkeypatch):
    dataset = sio.open_dataset(noisy)
    rows = np.full((len(dataset.train), 10), 0.02, np.float32)
    rows[np.arange(len(rows)), dataset.train.labels] = 0.82
    np.save(tmp_path / "p.npy", rows)
    monkeypatch.setattr(audit_pages, "REVIEW_LEAST", 5)
    monkeypatch.setattr(audit_pages, "REVIEW_MOST", 5)
    monkeypatch.setattr(audit_pages, "MOST_FINDINGS", 7)
    monkeypatch.setattr(audit_pages, "NEAR_RECORDS", 100)
    monkeypatch.setattr(audit_command, "MOST_CLASSES_TOLD", 9)
    monkeypatch.setattr(audit_report, "CLASSES_TOLD", 4)
    found = audit(noisy, tmp_path / "audit", probabilities=tmp_path / "p.npy", noise="overlay:noisy")
    notes = " ".join(found.next_steps())
    assert f"the 7 most doubtful of {int(found.flagged.sum())} flagged" in notes
    assert "exact duplicates alone" in notes
    assert "transition matrix of at most 9 classes" in notes
    assert found.summary["transition_matrix"] is None
    page = (tmp_path / "audit" / "review.html").read_text()
    content = re.search(r'"index":\[([0-9,]*)\]', page)
    assert content is not None
    assert len(content[1].split(",")) == 7
    report = (tmp_path / "audit" / "audit.html").read_text()
    assert "The 4 of 10 classes with the most labels expected to be wrong" in report
    assert len(read_issues(tmp_path / "audit")) == len(rows)


def test_the_table_of_issues_has_the_name_of_each_record(tmp_path, monkeypatch):
    monkeypatch.setattr(label_issues, "_ROWS", 4)  # names are read by pieces
    layout, names = sio.RecordLayout(1, 2, 2), [f"é/{i}.png" if i % 3 else None for i in range(11)]
    with DatasetWriter(tmp_path, layout, 2, records_per_file=6) as writer:
        writer.append("train", np.zeros((11, 1, 2, 2), np.uint8), np.arange(11) % 2, names)
        writer.finish(name="named", class_names=["a", "b"], provenance={})
    given, scores = np.arange(11) % 2, np.random.default_rng(0).random(11)
    issues = label_issues.LabelIssues(
        sio.open_dataset(tmp_path), given, None, 1 - given, scores, scores > 0.5, {}
    )
    label_issues.write_issues(tmp_path / "issues.csv", issues)
    rows = read_issues(tmp_path)
    assert [row["name"] for row in rows] == [names[i] or "" for i in np.argsort(-scores)]


def test_a_run_is_audited_with_the_labels_that_it_learnt(digits, pixels, tmp_path):
    shutil.copytree(digits, tmp_path / "digits")
    options = {"model": "convnet", "method": "default", "epochs": 1, "noise": "pair:0.2"}
    result = train(TrainConfig(str(tmp_path / "digits"), out=str(tmp_path / "run"), **options), quiet=True)
    found = audit(result.folder, tmp_path / "audit", features=pixels)
    wrong = result.labels.given != sio.open_dataset(tmp_path / "digits").train.labels
    assert area_under_roc(found.score, wrong) > 0.95
    assert found.summary["overlays"]["drop"] == "audit-run-drop"
    assert all(0 <= float(row["run_given"]) <= 1 for row in read_issues(tmp_path / "audit"))
    assert [source["name"] for source in found.summary["sources"] if not source["out_of_sample"]] == ["run"]
    assert any(note.startswith("the run: it predicts") for note in found.summary["notes"])
    (tmp_path / "digits").rename(tmp_path / "moved")
    with pytest.raises(OSError, match="no such folder"):
        audit(result.folder, tmp_path / "audit", features=pixels)
    again = audit(result.folder, tmp_path / "audit", features=pixels, dataset=tmp_path / "moved")
    np.testing.assert_array_equal(again.score, found.score)


def test_a_folder_of_images_is_packed_and_audited(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for name, centre in (("dark", 60), ("light", 190)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(40):
            moved = number < 4
            level = 250 - centre if moved else centre
            array = np.clip(rng.normal(level, 15, (12, 12, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(array).save(tmp_path / "photos" / name / f"{number:02d}.png")
    rows = np.random.default_rng(1).normal(0, 1, (80, 4)).astype(np.float32)
    rows[:, 0] += np.repeat([0.0, 20.0], 40)
    rows[[0, 1, 2, 3], 0] += 20
    rows[[40, 41, 42, 43], 0] -= 20
    np.save(tmp_path / "f.npy", rows)
    found = audit(tmp_path / "photos", tmp_path / "audit", features=tmp_path / "f.npy")
    assert found.summary["records"] == 80
    moved = {row["name"] for row in read_issues(tmp_path / "audit") if row["flagged"] == "1"}
    assert moved == {f"{name}/{number:02d}.png" for name in ("dark", "light") for number in range(4)}
    again = audit(tmp_path / "photos", tmp_path / "audit", features=tmp_path / "f.npy")
    assert any("packed already" in note for note in again.summary["notes"])
    (tmp_path / "photos" / "dark" / "new.png").write_bytes(b"")
    with pytest.raises(ValueError, match="has changed since"):
        audit(tmp_path / "photos", tmp_path / "audit", features=tmp_path / "f.npy")


@pytest.mark.slow
def test_folds_of_a_network_find_wrong_labels_and_go_on_where_they_stopped(noisy, tmp_path, monkeypatch):
    from selfie_train.evidence import folds

    monkeypatch.setattr(folds, "EPOCHS", (3, 3))
    found = audit(noisy, tmp_path / "audit", folds=2, noise="overlay:noisy")
    dataset = sio.open_dataset(noisy)
    wrong = dataset.train.labels_from("noisy") != dataset.train.labels
    assert area_under_roc(found.score, wrong) > 0.85
    monkeypatch.setattr(folds, "complete_fold", None)  # nothing is trained again
    again = audit(noisy, tmp_path / "audit", folds=2, noise="overlay:noisy")
    np.testing.assert_array_equal(again.score, found.score)


BAD = {
    "precision": ({"precision": 1.5}, "--precision must be above 0"),
    "folds": ({"folds": 1}, "--folds must be at least 2"),
    "features": ({"features": "resnet"}, "--features must be efficientnet-lite0"),
    "noise": ({"noise": "pair:0.2"}, "must be overlay:NAME"),
    "dataset": ({"dataset": "elsewhere"}, "is no run"),
}


@pytest.mark.parametrize("kind", BAD)
def test_options_that_do_not_fit_are_refused(digits, tmp_path, kind):
    options, message = BAD[kind]
    with pytest.raises(ValueError, match=message):
        audit(digits, tmp_path / "audit", **options)


def test_constant_features_are_refused(digits, tmp_path):
    count = len(sio.open_dataset(digits).train)
    np.save(tmp_path / "f.npy", np.ones((count, 3), np.float32))
    with pytest.raises(ValueError, match="features that differ"):
        audit(digits, tmp_path / "audit", features=tmp_path / "f.npy")


def test_what_is_nothing_of_the_kind_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such run, data set or source"):
        audit(tmp_path / "nowhere", tmp_path / "audit")


@pytest.mark.slow
@pytest.mark.embeddings
@pytest.mark.usefixtures("shared_embeddings")
def test_a_run_of_unknown_noise_is_told_the_rate_before_it_starts(noisy, tmp_path, monkeypatch):
    dataset = sio.open_dataset(noisy)
    labels = dataset.train.labels_from("noisy")
    options = {"model": "convnet", "epochs": 2, "warmup": 1, "history": 2, "restarts": 0}
    sio.save_overlay(dataset, "people", labels, {"kind": "human"})
    result = train(
        TrainConfig(str(noisy), noise="overlay:people", out=str(tmp_path / "run"), **options), quiet=True
    )
    assert result.noise_rates == [pytest.approx(np.mean(labels != dataset.train.labels), abs=0.05)]
    assert "efficientnet-lite0" in (tmp_path / "run" / "events.jsonl").read_text()
    assert result.log[0]["noise_rate"] == result.noise_rates[0]
    monkeypatch.setattr("selfie_train.evidence.training_rate.gather", None)  # kept beside the runs
    again = train(
        TrainConfig(str(noisy), noise="overlay:people", out=str(tmp_path / "again"), **options), quiet=True
    )
    assert again.noise_rates == result.noise_rates
    assert "kept from an earlier run" in (tmp_path / "again" / "events.jsonl").read_text()
