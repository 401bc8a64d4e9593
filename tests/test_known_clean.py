"""What is known to be clean: the data set says it, and without it no figure claims to know the truth."""

import csv
import json

import numpy as np
import pytest
from training import small

import selfie_io as sio
from selfie_io.records.manifest import Manifest, decode_manifest, encode_manifest, labels_by_provenance
from selfie_train import train
from selfie_train.commands.audit import audit

TRUTHS = ("label_precision", "label_recall", "refurbish_accuracy", "observed_noise_rate")
OPTIONS = {"epochs": 2, "warmup": 1, "history": 1, "batch_size": 256}


def copy_of(digits, folder, labels):
    """The digits, with what their manifest says of the labels; None: as version 1.0, which says nothing."""
    folder.mkdir()
    for file in digits.glob("*.*"):
        (folder / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((folder / "dataset.json").read_text())
    if labels is None:
        del manifest["labels"]
        manifest["format_version"] = "1.0"
    else:
        manifest["labels"] = labels
    (folder / "dataset.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def unknown(digits, tmp_path):
    return copy_of(digits, tmp_path / "unknown", "unknown")


def test_a_manifest_says_what_is_known_and_an_old_one_by_its_source(digits, tmp_path, authors_folder):
    assert json.loads((digits / "dataset.json").read_text())["labels"] == "clean"
    for said, known in (("clean", True), ("unknown", False), (None, True)):
        assert sio.open_dataset(copy_of(digits, tmp_path / str(said), said)).labels_known_clean is known
    assert not sio.open_dataset(authors_folder, shape=(3, 32, 32)).labels_known_clean
    for kind, known in (("cifar100-bin", "clean"), ("animal10n", "unknown"), ("image-folder", "unknown")):
        assert labels_by_provenance({"source": {"kind": kind}}) == known
    for strange in ({}, {"source": None}, {"source": "cifar10"}, {"source": {"kind": ["cifar10"]}}):
        assert labels_by_provenance(strange) == "unknown"


def test_a_manifest_keeps_what_it_says_and_refuses_other_words(digits):
    content = (digits / "dataset.json").read_bytes()
    manifest = decode_manifest(content, "here")
    assert isinstance(manifest, Manifest)
    assert decode_manifest(encode_manifest(manifest), "here") == manifest
    with pytest.raises(ValueError, match=r"here: .*labels"):
        decode_manifest(content.replace(b'"labels": "clean"', b'"labels": "perfect"'), "here")


@pytest.mark.parametrize(
    "noise", ["pair:0.4", "overlay:audit-x", "overlay:people", "overlay:pair", "overlay:mine"]
)
def test_figures_that_need_the_truth_are_none_without_it(unknown, tmp_path, capsys, noise):
    dataset = sio.open_dataset(unknown)
    changed = sio.inject_noise(dataset.train.labels, sio.transition_matrix("pair", 10, 0.3))
    kinds = {"audit-x": "audit", "people": "human", "pair": "pair", "mine": None}
    for name, kind in kinds.items():
        sio.save_overlay(dataset, name, changed, {"kind": kind} if kind else {})
    result = train(small(unknown, tmp_path / "run", noise=noise, **OPTIONS))
    text = capsys.readouterr().out
    assert "labels of digits are not known to be clean" in text.replace("\n", " ")
    assert result.labels.clean is None
    assert [result.summary[name] for name in TRUTHS] == [None] * 4
    assert all(row["label_precision"] is row["refurbish_accuracy"] is None for row in result.log)
    assert result.summary["labels_known_clean"] is False
    assert result.summary["refurbished_fraction"] > 0
    with (result.folder / "labels.csv").open() as file:
        assert {row["clean_label"] for row in csv.DictReader(file)} == {""}
    # The rate of noise that was injected on purpose is known; any other is estimated.
    rate = float(np.mean(result.labels.given != dataset.train.labels))
    known = noise in ("pair:0.4", "overlay:pair")
    assert (result.noise_rates[0] == rate) is known
    page = (result.folder / "report.html").read_text()
    assert "the test error is measured on labels of which some may be wrong" in " ".join(page.split())
    assert "&#10003;" not in page

    pixels = dataset.train.images(np.arange(len(dataset.train))).reshape(len(dataset.train), -1)
    np.save(tmp_path / "pixels.npy", pixels.astype(np.float32))  # embeddings would take 15 s
    audit(result.folder, tmp_path / "audit", features=tmp_path / "pixels.npy")
    found = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert [found[name] for name in ("of_these_wrong", "wrong_labels_found", "suggestions_right")] == [
        None
    ] * 3


@pytest.mark.parametrize(
    ("noise", "told"), [("pair:0.4", True), ("overlay:audit-x", False), ("overlay:mine", True)]
)
def test_with_the_truth_known_the_figures_are_there(digits, tmp_path, noise, told):
    data = copy_of(digits, tmp_path / "known", "clean")
    dataset = sio.open_dataset(data)
    changed = sio.inject_noise(dataset.train.labels, sio.transition_matrix("pair", 10, 0.3))
    sio.save_overlay(dataset, "audit-x", changed, {"kind": "audit"})
    sio.save_overlay(dataset, "mine", changed)
    result = train(small(data, tmp_path / "run", noise=noise, **OPTIONS), quiet=True)
    rate = float(np.mean(result.labels.given != dataset.train.labels))
    assert result.summary["observed_noise_rate"] == rate
    assert result.summary["refurbish_accuracy"] is not None
    assert (result.noise_rates[0] == rate) is told
    assert "some may be wrong" not in (result.folder / "report.html").read_text()
