"""A trained run in use: load_run, predict, evaluate, export_run, and their commands."""

import csv
import dataclasses
import json
import math
import os
import shutil

import numpy as np
import pytest
import torch
from converting import encoded
from PIL import Image
from safetensors.torch import load_file
from training import pack, pixels_and_labels, small

import selfie_io as sio
from selfie_train import evaluate, export_run, load_run, predict, train
from selfie_train.cli import main
from selfie_train.inference.evaluation import calibration_error
from selfie_train.inference.table import check_out, write_predictions
from selfie_train.models.builder import model_builder

PIXELS, LABELS = pixels_and_labels()
SETTINGS = {  # the run's folder, and what makes it different
    "one": {"method": "default", "warmup": 0},
    "two": {"method": "co-teaching", "noise_rate": 0.4},
    "average": {"method": "default", "warmup": 0, "ema": 0.5},
    "early": {"method": "default", "epochs": 6, "early_stopping": "label-wave", "patience": 1},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A data set and finished runs on it, not to be written to; their results by name."""
    folder = tmp_path_factory.mktemp("inference")
    pack(folder / "data", PIXELS, LABELS)
    results = {
        name: train(small(folder / "data", folder / name, batch_size=16, **options), quiet=True)
        for name, options in SETTINGS.items()
    }
    return folder, results


@pytest.mark.parametrize("name", SETTINGS)
def test_a_loaded_run_has_the_networks_that_were_tested(name, place):
    folder, results = place
    result, run = results[name], load_run(folder / name)
    assert run.shape == (1, 8, 8)
    assert run.class_names == list("abcd")
    assert run.finished
    assert run.config == result.config
    assert run.epoch == len(result.log)
    for loaded, trained in zip(run.networks, result.networks, strict=True):
        assert not loaded.training
        for (key, value), other in zip(
            loaded.state_dict().items(), trained.state_dict().values(), strict=True
        ):
            assert torch.equal(value, other), key


@pytest.mark.parametrize("name", SETTINGS)
def test_an_evaluation_of_the_test_split_is_what_the_run_logged(name, place):
    folder, results = place
    found = evaluate(load_run(folder / name), folder / "data")
    last = results[name].log[-1]
    if name == "early":  # the weights of the selected epoch, not of the last one
        last = results[name].log[results[name].selected_epoch - 1]
    assert np.mean(found.network_errors) == last["test_error"]
    assert np.mean(found.network_losses) == pytest.approx(last["test_loss"], rel=1e-12)
    assert len(found.network_errors) == (2 if name == "two" else 1)
    assert found.records == 12
    np.testing.assert_array_equal(found.labels, LABELS[:12])


def test_two_networks_predict_the_mean_of_their_probabilities(place):
    folder, _ = place
    run = load_run(folder / "two")
    first, second = (dataclasses.replace(run, networks=[network]) for network in run.networks)
    mean = (predict(first, PIXELS) + predict(second, PIXELS)) / 2
    assert not np.array_equal(predict(first, PIXELS), predict(second, PIXELS))
    np.testing.assert_allclose(predict(run, PIXELS), mean, rtol=1e-6)
    found = evaluate(run, folder / "data", split="train")
    own = -np.log(mean[np.arange(48), LABELS].astype(np.float64)).mean()
    assert found.loss == pytest.approx(own, rel=1e-5)
    assert found.error == pytest.approx(100 * (mean.argmax(1) != LABELS).mean())


def test_images_of_any_origin_get_the_same_probabilities(place, tmp_path):
    folder, _ = place
    run = load_run(folder / "one")
    wanted = predict(run, PIXELS)
    assert wanted.dtype == np.float32
    assert wanted.shape == (48, 4)
    np.testing.assert_allclose(wanted.sum(1), 1, rtol=1e-6)
    assert len(np.unique(wanted.round(5), axis=0)) > 40
    dataset = sio.open_dataset(folder / "data")
    np.testing.assert_array_equal(predict(run, torch.from_numpy(PIXELS)), wanted)
    np.testing.assert_array_equal(predict(run, dataset.train), wanted)
    chosen = [5, 2, 30]
    np.testing.assert_allclose(predict(run, dataset.train.subset(chosen)), wanted[[5, 2, 30]], atol=1e-6)
    names = [tmp_path / "in" / f"{number:02}.png" for number in range(6)]
    names[0].parent.mkdir()
    for name, image in zip(names, PIXELS, strict=False):
        name.write_bytes(encoded(image[0]))
    (tmp_path / "in/notes.txt").write_text("no image")
    np.testing.assert_allclose(predict(run, tmp_path / "in"), wanted[:6], atol=1e-6)
    np.testing.assert_allclose(predict(run, names[3]), wanted[3:4], atol=1e-6)
    np.testing.assert_allclose(predict(run, [names[4], tmp_path / "in"]), wanted[[4, *range(6)]], atol=1e-6)
    np.testing.assert_allclose(predict(run, PIXELS, batch_size=5), wanted, atol=1e-6)
    assert predict(run, PIXELS[:0]).shape == (0, 4)


def test_image_files_are_scaled_and_made_grey_as_pack_does(place, tmp_path):
    folder, _ = place
    run = load_run(folder / "one")
    colour = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    for number in range(2):
        (tmp_path / f"source/{'ab'[number]}").mkdir(parents=True)
        Image.fromarray(np.rot90(colour, 2 * number)).save(tmp_path / f"source/{'ab'[number]}/x.png")
    told = ["--size", "8x8", "--channels", "1", "--test-fraction", "0", "--workers", "1"]
    from selfie_io.convert.cli import main as convert

    assert convert(["pack", str(tmp_path / "source"), str(tmp_path / "packed"), *told]) == 0
    packed = sio.open_dataset(tmp_path / "packed").train
    np.testing.assert_array_equal(predict(run, packed), predict(run, tmp_path / "source"))


def test_wrong_images_are_refused_by_what_they_are(place, tmp_path):
    folder, _ = place
    run = load_run(folder / "one")
    (tmp_path / "bad.png").write_bytes(b"nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"images must be uint8 \(n, 1, 8, 8\), got float32 \(48, 1, 8, 8\)"):
        predict(run, PIXELS.astype(np.float32))
    with pytest.raises(ValueError, match=r"got uint8 \(48, 1, 8, 4\)"):
        predict(run, PIXELS[..., :4])
    with pytest.raises(ValueError, match=r"bad.png: is not an image of a known format"):
        predict(run, tmp_path / "bad.png")
    with pytest.raises(ValueError, match="empty: holds no image"):
        predict(run, tmp_path / "empty")
    with pytest.raises(ValueError, match="is a data set: `selfie-train evaluate` predicts its splits"):
        predict(run, folder / "data")
    with pytest.raises(ValueError, match=r"images must be uint8 .* or paths .*; got int"):
        predict(run, 3)
    with pytest.raises(FileNotFoundError):
        predict(run, tmp_path / "absent.png")
    with pytest.raises(ValueError, match="batch_size must be positive, got 0"):
        predict(run, PIXELS, batch_size=0)


def test_the_figures_of_an_evaluation_by_hand(place):
    folder, _ = place
    run = load_run(folder / "one")
    labels = LABELS.copy()
    labels[:5] = -1
    labels[labels == 3] = 2
    found = evaluate(run, folder / "data", labels=labels, split="train")
    used = np.arange(5, 48)
    shares = predict(run, PIXELS)[used]
    np.testing.assert_array_equal(found.indices, used)
    np.testing.assert_allclose(found.probabilities, shares, atol=1e-6)
    assert (found.records, found.left_out, found.labels_known_clean) == (43, 5, False)
    confusion = np.zeros((4, 4), int)
    for label, predicted in zip(labels[used], shares.argmax(1), strict=True):
        confusion[label, predicted] += 1
    np.testing.assert_array_equal(found.confusion, confusion)
    for label in range(3):
        of_class = shares.argmax(1)[labels[used] == label]
        assert found.class_errors[label] == pytest.approx(100 * (of_class != label).mean())
    assert math.isnan(found.class_errors[3])
    assert found.to_json()["class_errors"][3] is None
    json.dumps(found.to_json())


def test_the_calibration_error_of_known_probabilities():
    random = np.random.default_rng(0)
    shares = random.dirichlet(np.ones(5), 400).astype(np.float32)
    labels = random.integers(0, 5, 400)
    confidence, correct = shares.max(1).astype(float), shares.argmax(1) == labels
    total = 0.0
    for low in range(15):  # the slow reference: (low / 15, (low + 1) / 15]
        inside = (confidence * 15 > low) & (confidence * 15 <= low + 1)
        if inside.any():
            total += inside.sum() / 400 * abs(correct[inside].mean() - confidence[inside].mean())
    assert calibration_error(shares, labels) == pytest.approx(total)
    sure = np.eye(5, dtype=np.float32)[labels]
    assert calibration_error(sure, labels) == 0
    assert calibration_error(sure, (labels + 1) % 5) == 1


def test_other_data_than_the_run_learnt_is_refused(place, tmp_path):
    folder, _ = place
    run = load_run(folder / "one")
    pack(tmp_path / "wide", np.repeat(PIXELS, 2, axis=3), LABELS)
    with pytest.raises(ValueError, match=r"takes images of 1x8x8, but .*wide holds 1x8x16: .*--size 8x8"):
        evaluate(run, tmp_path / "wide")
    with pytest.raises(ValueError, match="takes images of 1x8x8"):
        predict(run, sio.open_dataset(tmp_path / "wide").test)
    shutil.copytree(folder / "data", tmp_path / "renamed")
    manifest = (tmp_path / "renamed/dataset.json").read_text()
    (tmp_path / "renamed/dataset.json").write_text(manifest.replace('"d"', '"e"'))
    with pytest.raises(ValueError, match=r"4 \(a, b, c, d\), but .*renamed has 4 \(a, b, c, e\)"):
        evaluate(run, tmp_path / "renamed")
    with pytest.raises(ValueError, match="split must be one of train, test"):
        evaluate(run, folder / "data", split="validation")
    with pytest.raises(ValueError, match=r"overlay of the training split, got split 'test'.*--split train"):
        evaluate(run, folder / "data", labels="pair-0.4")
    with pytest.raises(ValueError, match=r"integers \(12,\), one for each record, got int64 \(3,\)"):
        evaluate(run, folder / "data", labels=np.zeros(3, int))
    with pytest.raises(ValueError, match="every label of test is -1"):
        evaluate(run, folder / "data", labels=np.full(12, -1))


def test_a_folder_without_weights_is_told_from_a_run(place, tmp_path):
    folder, _ = place
    with pytest.raises(FileNotFoundError, match="holds no run"):
        load_run(tmp_path)
    shutil.copytree(folder / "one", tmp_path / "bare", ignore=lambda *_: ["checkpoints"])
    with pytest.raises(FileNotFoundError, match="has no checkpoint, so no weights"):
        load_run(tmp_path / "bare")
    shutil.copytree(folder / "one", tmp_path / "cut")
    for file in (tmp_path / "cut/checkpoints").glob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match="has no whole checkpoint"):
        load_run(tmp_path / "cut")
    with pytest.raises(ValueError, match="needs a run that keeps its best epoch"):
        load_run(folder / "one", which="best")
    with pytest.raises(ValueError, match="device must be auto, cpu, cuda"):
        load_run(folder / "one", device="tpu")


def test_the_best_epoch_of_early_stopping(place):
    folder, results = place
    best = load_run(folder / "early", which="best")
    assert best.epoch == results["early"].selected_epoch
    last = load_run(folder / "early")
    np.testing.assert_array_equal(predict(best, PIXELS), predict(last, PIXELS))


def test_a_run_of_an_older_version_takes_shape_and_classes_from_its_data(place, tmp_path):
    folder, _ = place
    shutil.copytree(folder / "one", tmp_path / "old")
    content = json.loads((tmp_path / "old/config.json").read_text())
    del content["data"]["shape"], content["data"]["class_names"]
    content["dataset"] = str(tmp_path / "gone")
    (tmp_path / "old/config.json").write_text(json.dumps(content))
    with pytest.raises(FileNotFoundError, match="gone"):
        load_run(tmp_path / "old")
    assert load_run(tmp_path / "old", dataset=folder / "data").class_names == list("abcd")


@pytest.mark.parametrize("name", ["one", "two"])
def test_safetensors_and_their_description_rebuild_the_networks(name, place, tmp_path):
    folder, _ = place
    run = load_run(folder / name)
    assert export_run(run, tmp_path / "out") == tmp_path / "out"
    told = json.loads((tmp_path / "out/network.json").read_text())
    values = PIXELS.astype(np.float64)
    std = np.maximum(values.std(axis=(1, 2, 3), keepdims=True), 64**-0.5)
    fed = torch.from_numpy((values - values.mean(axis=(1, 2, 3), keepdims=True)) / std).float()
    shares = []
    for file in told["files"]:
        network = model_builder(told["model"])(tuple(told["input"]["shape"][1:]), len(told["class_names"]))
        network.load_state_dict(load_file(tmp_path / "out" / file))
        shares.append(network.eval()(fed).softmax(1).detach().numpy())
    assert len(shares) == told["output"]["networks"] == len(run.networks)
    np.testing.assert_allclose(np.mean(shares, axis=0), predict(run, PIXELS), atol=1e-6)
    assert told["class_names"] == list("abcd")
    assert not told["input"]["normalization"]["included"]
    assert str(folder) not in json.dumps(told)
    with pytest.raises(FileExistsError, match="OUT must not exist"):
        export_run(run, tmp_path / "out")
    with pytest.raises(ValueError, match='to must be "safetensors" or "onnx"'):
        export_run(run, tmp_path / "other", to="pickle")


@pytest.mark.slow
def test_an_onnx_graph_takes_bytes_and_gives_the_same_probabilities(place, tmp_path):
    import onnxruntime

    folder, _ = place
    run = load_run(folder / "two")
    export_run(run, tmp_path / "out", to="onnx")
    session = onnxruntime.InferenceSession(tmp_path / "out/network.onnx")
    flat = np.concatenate([PIXELS, np.full((1, 1, 8, 8), 7, np.uint8)])  # an image without contrast
    for count in (1, 49):
        (found,) = session.run(["probabilities"], {"images": flat[:count]})
        np.testing.assert_allclose(found, predict(run, flat[:count]), atol=1e-5)
    told = json.loads((tmp_path / "out/network.json").read_text())
    assert told["input"]["dtype"] == "uint8"
    assert told["input"]["normalization"]["included"]
    assert list(told["files"]) == ["network.onnx"]


def test_a_failed_export_leaves_nothing(place, tmp_path, monkeypatch):
    folder, _ = place

    def fail(*_args, **_options):
        raise RuntimeError("an operator\n that ONNX has not")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(ValueError, match="cannot export convnet to ONNX: an operator that ONNX has not"):
        export_run(load_run(folder / "one"), tmp_path / "out", to="onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_commands_say_and_write_what_the_functions_return(place, tmp_path, capsys):
    folder, _ = place
    run = load_run(folder / "two")
    found = evaluate(run, folder / "data")
    told = ["evaluate", str(folder / "two"), "--dataset", str(folder / "data")]
    assert main([*told, "--json", "--out", str(tmp_path / "p.npy")]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["error"] == found.error
    assert printed["confusion"] == found.confusion.tolist()
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), found.probabilities)
    assert main([*told, "--out", str(tmp_path / "p.csv")]) == 0
    assert f"{found.error:.2f} %" in capsys.readouterr().out
    with (tmp_path / "p.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["predicted_label"]) for row in rows] == found.predicted.tolist()
    assert [row["class"] for row in rows] == ["abcd"[label] for label in found.labels]
    assert float(rows[3]["label_probability"]) == pytest.approx(found.probabilities[3, LABELS[3]], abs=1e-6)
    assert main([*told, "--out", "p.txt"]) == 1
    assert "--out must end in .csv" in capsys.readouterr().err


def test_the_command_predict_names_what_it_leaves_out(place, tmp_path, capsys):
    folder, _ = place
    for number in range(3):
        (tmp_path / f"={number}.png").write_bytes(encoded(PIXELS[number][0]))
    (tmp_path / "bad.png").write_bytes(b"nothing")
    told = ["predict", str(folder / "one"), str(tmp_path)]
    assert main(told) == 1
    error = capsys.readouterr().err
    assert "bad.png: is not an image" in error
    assert "--skip-bad leaves them out" in error
    out = tmp_path / "found.csv"
    assert main([*told, "--skip-bad", "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert "left out: " in captured.err
    assert "3 predictions" in captured.out
    with out.open() as file:
        rows = list(csv.DictReader(file))
    wanted = predict(load_run(folder / "one"), PIXELS[:3])
    assert [int(row["predicted_label"]) for row in rows] == wanted.argmax(1).tolist()
    assert main(["predict", str(folder / "one"), str(tmp_path / "=0.png")]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "name,label,class,probability"
    assert main(["export", str(folder / "two"), str(tmp_path / "exported")]) == 0
    assert "network-1.safetensors, network-2.safetensors; network.json says how" in capsys.readouterr().out


def test_only_predictions_are_replaced(tmp_path):
    check_out(None)
    check_out(tmp_path / "absent.csv")
    for name, content in (("mine.csv", b"my notes\n"), ("mine.npy", b"junk"), ("empty.csv", b"")):
        (tmp_path / name).write_bytes(content)
    np.save(tmp_path / "labels.npy", np.arange(5))
    (tmp_path / "link.csv").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo.npy")
    for name in ("mine.csv", "mine.npy", "empty.csv", "labels.npy", "link.csv", "fifo.npy"):
        with pytest.raises(FileExistsError, match="only predictions are replaced"):
            check_out(tmp_path / name)
    shares = np.full((2, 2), 0.5, np.float32)
    for name in ("own.csv", "own.npy"):
        for _ in range(2):
            check_out(tmp_path / name)
            write_predictions(tmp_path / name, shares, ["a", "b"], ["x", "y"])
