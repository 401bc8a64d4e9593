"""Training small networks on real small images: the loop, the step, the methods at work, the results."""

import csv
import json

import numpy as np
import pytest
import torch
from in_processes import normed_net, plain_net
from torch import nn
from training import assert_same_result, small, weights

import selfie_io as sio
from selfie_train import (
    Choice,
    Divergence,
    Method,
    TrainConfig,
    register_method,
    train,
)
from selfie_train.methods.method import Scores
from selfie_train.models.exact_kernels import exact_kernels
from selfie_train.runs.log import COLUMNS, read_log
from selfie_train.training.distributed import choose_device, join_processes
from selfie_train.training.learner import Learner
from selfie_train.training.noise_estimate import NoiseRateEstimate
from selfie_train.training.schedule import learning_rate


@pytest.mark.parametrize("method", ["default", "selfie", "co-teaching", "active-bias"])
def test_the_same_config_gives_the_same_bits(digits, tmp_path, method):
    runs = [train(small(digits, tmp_path / name, method=method), quiet=True) for name in "ab"]
    assert_same_result(*runs)
    other_seed = train(small(digits, tmp_path / "c", method=method, seed=1), quiet=True)
    assert other_seed.log != runs[0].log


def test_selfie_in_warmup_is_default_bit_by_bit(digits, tmp_path):
    default = train(small(digits, tmp_path / "a", method="default", epochs=3), quiet=True)
    warming = train(small(digits, tmp_path / "b", method="selfie", epochs=3, warmup=2), quiet=True)
    figures = ("train_loss", "train_error", "test_loss", "test_error")
    logs = [[[row[name] for name in figures] for row in result.log] for result in (default, warming)]
    assert logs[0][:2] == logs[1][:2]
    assert logs[0][2] != logs[1][2]


def test_selfie_without_noise_rate_and_refurbishing_is_default_but_for_rounding(digits, tmp_path):
    options = {"warmup": 0, "noise_rate": 0.0, "history": 50, "model": "plain-net", "lr": 0.01}
    default = train(small(digits, tmp_path / "a", method="default", **options), quiet=True)
    selfie = train(small(digits, tmp_path / "b", method="selfie", **options), quiet=True)
    for first, second in zip(weights(default), weights(selfie), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


def test_a_second_pass_of_the_chosen_equals_masking_where_samples_do_not_meet(digits, tmp_path):
    options = {"model": "plain-net", "lr": 0.01, "epochs": 3}
    masked = train(small(digits, tmp_path / "a", **options), quiet=True)
    second = train(small(digits, tmp_path / "b", two_pass=True, **options), quiet=True)
    for one, other in zip(weights(masked), weights(second), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert masked.log[-1]["refurbished_fraction"] > 0.2


@pytest.mark.parametrize("second_pass", [False, True])
@pytest.mark.parametrize("build", [plain_net, normed_net])
def test_one_step_is_sgd_on_the_weighted_mean(build, second_pass):
    config = TrainConfig(
        "data", model=build.__name__.replace("_", "-"), lr=0.1, weight_decay=0.0, recipe="paper"
    )
    learner = Learner(config, join_processes("cpu"), (1, 4, 4), 3, 1)
    learner.start_run(0)
    network = build((1, 4, 4), 3)
    network.load_state_dict(learner.networks[0].state_dict())
    images, labels = torch.randn(5, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1])
    targets, kept = np.array([0, 2, 2, 1, 1]), np.array([1, 0, 2, 0.5, 0], np.float32)
    batch = sio.Batch(images, labels, labels, torch.arange(5))
    choice = Choice(targets, kept, second_pass=second_pass)
    scores = learner.score(batch, 0, 0, 5)
    sums = learner.update([choice])

    losses = nn.functional.cross_entropy(network(images), labels, reduction="none")
    np.testing.assert_allclose(scores.losses[0], losses.detach(), rtol=1e-6)
    assert sums.tolist() == [pytest.approx(losses.sum().item()), sums[1].item(), 5]
    again = torch.from_numpy(kept > 0) if second_pass else slice(None)
    loss = nn.functional.cross_entropy(
        network(images[again]), torch.from_numpy(targets)[again], reduction="none"
    )
    ((loss * torch.from_numpy(kept)[again]).sum() / 3.5).backward()
    for trained, parameter in zip(learner.networks[0].parameters(), network.parameters(), strict=True):
        # The first step of Nesterov's momentum goes 1 + momentum along the gradient.
        torch.testing.assert_close(trained, parameter - 0.1 * 1.9 * parameter.grad)


@pytest.mark.parametrize("second_pass", [False, True])
@pytest.mark.parametrize("divisor", ["weights", "batch"])
@pytest.mark.parametrize("soft", [False, True])
def test_one_step_is_sgd_on_soft_targets_over_either_divisor(soft, divisor, second_pass):
    config = TrainConfig("data", model="plain-net", lr=0.1, weight_decay=0.0, recipe="paper")
    learner = Learner(config, join_processes("cpu"), (1, 4, 4), 3, 2, needs_probabilities=True)
    learner.start_run(0)
    networks = [plain_net((1, 4, 4), 3) for _ in range(2)]
    for network, trained in zip(networks, learner.networks, strict=True):
        network.load_state_dict(trained.state_dict())
    images, labels = torch.randn(5, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1])
    rng = np.random.default_rng(0)
    targets = rng.uniform(-0.2, 1.5, (5, 3)).astype(np.float32) if soft else np.array([0, 2, 2, 1, 1])
    kept = np.array([1, 0, 2, 0.5, 0], np.float32)
    choice = Choice(targets, kept, second_pass=second_pass, divisor=divisor)
    scores = learner.score(sio.Batch(images, labels, labels, torch.arange(5)), 0, 0, 5)
    learner.update([choice, Choice(targets, np.zeros(5, np.float32))])

    assert scores.probabilities.shape == (2, 5, 3)
    assert scores.probabilities.dtype == np.float32
    for number, network in enumerate(networks):
        expected = torch.softmax(network(images), 1).detach()
        np.testing.assert_allclose(scores.probabilities[number], expected, rtol=1e-6)
    dense = torch.from_numpy(targets if soft else np.eye(3, dtype=np.float32)[targets])
    losses = -(dense * torch.log_softmax(networks[0](images), 1)).sum(1)
    ((losses * torch.from_numpy(kept)).sum() / (3.5 if divisor == "weights" else 5)).backward()
    for trained, parameter in zip(learner.networks[0].parameters(), networks[0].parameters(), strict=True):
        torch.testing.assert_close(trained, parameter - 0.1 * 1.9 * parameter.grad)
    for trained, parameter in zip(learner.networks[1].parameters(), networks[1].parameters(), strict=True):
        assert torch.equal(trained, parameter)


def test_an_update_needs_a_scored_batch():
    learner = Learner(
        TrainConfig("data", model="plain-net", recipe="paper"), join_processes("cpu"), (1, 4, 4), 3, 1
    )
    with pytest.raises(RuntimeError, match="call score first"):
        learner.update(None)
    labels = torch.tensor([0, 1])
    assert (
        learner.score(sio.Batch(torch.randn(2, 1, 4, 4), labels, labels, labels), 0, 0, 2).probabilities
        is None
    )
    learner.update(None)
    with pytest.raises(RuntimeError, match="call score first"):
        learner.update(None)


def test_a_batch_of_which_nothing_is_kept_moves_nothing():
    learner = Learner(
        TrainConfig("data", model="plain-net", recipe="paper"), join_processes("cpu"), (1, 4, 4), 3, 1
    )
    before = [value.clone() for value in learner.networks[0].parameters()]
    labels = torch.tensor([0, 1])
    batch = sio.Batch(torch.randn(2, 1, 4, 4), labels, labels, labels)
    learner.score(batch, 0, 0, 2)
    learner.update([Choice(labels.numpy(), np.zeros(2, np.float32))])
    for old, new in zip(before, learner.networks[0].parameters(), strict=True):
        assert torch.equal(old, new)


@pytest.mark.slow
def test_selfie_learns_through_noise_that_default_learns(digits, tmp_path):
    options = {"epochs": 24, "warmup": 8, "history": 4}
    default = train(small(digits, tmp_path / "a", method="default", **options), quiet=True).summary
    selfie = train(small(digits, tmp_path / "b", method="selfie", **options), quiet=True).summary
    assert selfie["last_test_error"] < default["last_test_error"] - 8
    assert selfie["label_precision"] > 0.75
    assert selfie["refurbish_accuracy"] > 0.75
    assert (
        default["label_precision"] is default["refurbish_accuracy"] is default["refurbished_fraction"] is None
    )


def test_co_teaching_selects_cleaner_labels_than_it_is_given(digits, tmp_path):
    result = train(
        small(digits, tmp_path / "a", method="co-teaching", epochs=12, variant="official"), quiet=True
    )
    assert len(result.networks) == 2
    assert result.log[-1]["label_precision"] > 0.66  # 0.61 are right
    events = [json.loads(line) for line in (tmp_path / "a" / "events.jsonl").read_text().splitlines()]
    assert len([event for event in events if event["event"] == "epoch"][-1]["label_precisions"]) == 2


def test_the_run_folder_holds_what_the_result_says(digits, tmp_path):
    result = train(small(digits, tmp_path / "run", restarts=1, epochs=3), quiet=True)
    assert read_log(result.folder) == result.log
    assert [(row["run"], row["epoch"]) for row in result.log] == [
        (run, epoch) for run in (0, 1) for epoch in (1, 2, 3)
    ]
    summary = json.loads((result.folder / "summary.json").read_text())
    assert summary == result.summary
    errors = [row["test_error"] for row in result.log]
    assert summary["best_test_error"] == min(errors)
    assert summary["last_test_error"] == errors[-1]
    assert summary["last10_test_error"] == pytest.approx(np.mean(errors[3:]))
    assert summary["epochs"] == 6
    assert summary["images_per_second"] > 0
    assert summary["noise_rates"][0] == summary["observed_noise_rate"] == pytest.approx(0.39, abs=0.04)
    assert summary["noise_rates"][1] <= summary["noise_rates"][0]
    assert json.loads((result.folder / "config.json").read_text())["restarts"] == 1

    dataset = sio.open_dataset(digits)
    with (result.folder / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["record_id"]) for row in rows] == dataset.train.record_ids.tolist()
    assert [int(row["given_label"]) for row in rows] == result.labels.given.tolist()
    assert [int(row["clean_label"]) for row in rows] == dataset.train.labels.tolist()
    refurbished = [int(row["refurbished_label"] or -1) for row in rows]
    assert refurbished == result.refurbished_labels.tolist()
    found = np.array(refurbished) >= 0
    assert summary["refurbished_fraction"] == pytest.approx(found.mean())
    accuracy = np.mean(np.array(refurbished)[found] == dataset.train.labels[found])
    assert summary["refurbish_accuracy"] == pytest.approx(accuracy)


def test_the_estimated_rate_counts_consistent_predictions_against_the_labels():
    estimate = NoiseRateEstimate(5, 3, history_length=2, threshold=0.05)
    for predicted in ([0, 1, 2, 0, 1], [0, 1, 2, 1, 1]):  # sample 3 wavers
        everyone = np.arange(5)
        estimate.record(Scores(0, everyone, everyone, np.ones((1, 5), np.float32), np.array([predicted])))
    assert estimate.rate(np.array([0, 0, 2, 2, 1])) == 0.25
    wavering = NoiseRateEstimate(2, 3, history_length=2, threshold=0.05)
    both = np.arange(2)
    for predicted in ([0, 1], [1, 1]):
        scores = Scores(0, both[:1], both[:1], np.ones((1, 1), np.float32), np.array([predicted[:1]]))
        wavering.record(scores)
    assert (
        wavering.rate(np.array([1, 1])) == 1.0
    )  # nobody is consistent: the majority (a tie: 0) of who was seen


def test_what_real_noise_hides_is_none_and_its_rate_is_estimated(digits, tmp_path):
    noise = sio.inject_noise(
        sio.open_dataset(digits).train.labels, sio.transition_matrix("symmetric", 10, 0.3)
    )
    folder = tmp_path / "data"
    folder.mkdir()
    for file in digits.iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    sio.save_overlay(sio.open_dataset(folder), "people", noise, {"kind": "human"})
    options = {"epochs": 6, "warmup": 5, "history": 5}
    known = train(small(folder, tmp_path / "a", noise="overlay:people", **options), quiet=True)
    assert known.noise_rates == [pytest.approx(0.3, abs=0.07)]
    assert known.noise_rates[0] != known.labels.observed_noise_rate  # estimated, not looked up
    assert known.log[-1]["label_precision"] is not None
    assert [row["noise_rate"] for row in known.log[:5]] == [None] * 5
    events = (tmp_path / "a" / "events.jsonl").read_text()
    assert '"noise_rate_estimated"' in events
    assert "(rough)" in events

    unknown = train(small(folder, tmp_path / "b", noise="none", **options), quiet=True)
    for name in ("label_precision", "label_recall", "refurbish_accuracy", "observed_noise_rate"):
        assert unknown.summary[name] is None
    assert unknown.summary["refurbished_fraction"] > 0
    told = train(small(folder, tmp_path / "c", noise="none", noise_rate=0.08, warmup=0), quiet=True)
    assert told.noise_rates == [0.08]


@pytest.mark.parametrize("method", ["default", "selfie", "co-teaching"])
def test_a_record_of_label_minus_one_is_never_learnt(digits, tmp_path, monkeypatch, capsys, method):
    dataset = sio.open_dataset(digits)
    labels = np.where(np.arange(len(dataset.train)) % 5 == 0, -1, dataset.train.labels)
    monkeypatch.setattr(type(dataset.train), "labels_from", lambda *_: labels)
    monkeypatch.setattr("selfie_train.runs.training_labels.read_provenance", lambda *_: {"kind": "pair"})
    result = train(small(digits, tmp_path / "run", method=method, noise="overlay:drop"))
    assert "288 of 1,438 records are left out" in " ".join(capsys.readouterr().out.split())
    assert result.summary["observed_noise_rate"] == 0
    with (result.folder / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["given_class"] == "" for row in rows] == (labels < 0).tolist()
    if method == "selfie":
        assert [int(row["visits"]) == 0 for row in rows] == (labels < 0).tolist()
        assert not (result.refurbished_labels[labels < 0] >= 0).any()
    labels[:] = -1
    with pytest.raises(ValueError, match="must leave a record"):
        train(small(digits, tmp_path / "none", method=method, noise="overlay:drop"), quiet=True)


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [({"channels_last": True}, 1e-3), ({"precision": "bfloat16"}, 0.1), ({"augment": "crop-flip"}, None)],
)
def test_options_of_the_machine_change_little_and_those_of_the_data_much(
    digits, tmp_path, options, tolerance
):
    plain = train(small(digits, tmp_path / "a", method="default", epochs=1), quiet=True)
    other = train(small(digits, tmp_path / "b", method="default", epochs=1, **options), quiet=True)
    losses = plain.log[0]["train_loss"], other.log[0]["train_loss"]
    assert losses[0] != losses[1] or "channels_last" in options
    if tolerance is not None:
        assert losses[0] == pytest.approx(losses[1], rel=tolerance)
    else:
        assert losses[1] > losses[0]


def test_divergence_names_the_last_good_checkpoint(digits, tmp_path):
    config = small(digits, tmp_path / "run", method="default", model="plain-net", lr=0.0, epochs=3)
    good = train(config, quiet=True)
    assert np.isfinite(good.log[-1]["train_loss"])
    bad = small(digits, tmp_path / "bad", model="plain-net", method="selfie", lr=1e30, epochs=3)
    with pytest.raises(
        Divergence, match=r"not finite in run 0, epoch 1.*none was written yet.*learning rate"
    ):
        train(bad, quiet=True)
    plain = small(digits, tmp_path / "plain", model="plain-net", method="default", lr=1e30)
    with pytest.raises(Divergence, match="the loss is nan"):
        train(plain, quiet=True)
    assert not (tmp_path / "plain" / "summary.json").exists()


def test_the_schedules():
    step = TrainConfig("data", epochs=100, recipe="paper")
    assert [learning_rate(step, epoch) for epoch in (0, 49, 50, 74, 75, 99)] == [
        0.1,
        0.1,
        0.02,
        0.02,
        0.004,
        0.004,
    ]
    cosine = TrainConfig("data", epochs=10, schedule="cosine", recipe="paper")
    rates = [learning_rate(cosine, epoch) for epoch in range(10)]
    assert rates[0] == 0.1
    assert rates[5] == pytest.approx(0.05)
    assert rates == sorted(rates, reverse=True)


@register_method("trust-low-loss")
class TrustLowLoss(Method):
    """A method in ten lines: learn only what is at most as surprising as a guess."""

    needs_noise_rate = False

    def choose(self, scores):
        keep = scores.losses[0] <= np.log(self.num_classes)
        return [Choice(scores.labels, keep.astype(np.float32), clean=keep)]


def test_a_custom_method_and_model_train_like_any(digits, tmp_path):
    result = train(
        small(digits, tmp_path / "run", method="trust-low-loss", model="plain-net", lr=0.01, epochs=6),
        quiet=True,
    )
    assert result.summary["method"] == "trust-low-loss"
    assert result.log[-1]["label_precision"] > 0.61
    assert result.log[-1]["test_error"] < result.log[0]["test_error"]
    with pytest.raises(ValueError, match="'trust-low-loss' exists already"):
        register_method("trust-low-loss")(TrustLowLoss)


def test_what_does_not_fit_is_refused(digits, tmp_path):
    train(small(digits, tmp_path / "run", epochs=1, method="default"), quiet=True)
    with pytest.raises(FileExistsError, match="holds a run already"):
        train(small(digits, tmp_path / "run"), quiet=True)
    with pytest.raises(ValueError, match=r"1 <= warmup < epochs must hold .*got warmup 0 of epochs 2"):
        train(small(digits, tmp_path / "other", noise="none", warmup=0), quiet=True)
    for method, warmup in (("selfie", 2), ("selfie", 25), ("active-bias", 2)):
        settings = {"method": method, "warmup": warmup}
        message = f"warmup must be less than epochs.*{method} begins.*got warmup {warmup} and epochs 2: lower"
        with pytest.raises(ValueError, match=message):
            train(small(digits, tmp_path / "other", **settings), quiet=True)
    with pytest.raises(FileNotFoundError, match="no-such"):
        train(small(digits, tmp_path / "other", noise="overlay:no-such"), quiet=True)
    with pytest.raises(ValueError, match="device must be auto, cpu, cuda or cuda:N; got 'tpu'"):
        train(small(digits, tmp_path / "other", device="tpu"), quiet=True)
    assert not (tmp_path / "other").exists()
    assert len(COLUMNS) == len(set(COLUMNS))


def test_more_processes_than_gpus_are_refused_by_the_rule(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda", 1)
    monkeypatch.setenv("LOCAL_RANK", "2")
    rule = r"'auto' is cuda:2 here, but this machine has 2 GPU.*start no more processes than GPUs, or use cpu"
    with pytest.raises(ValueError, match=rule):
        choose_device("auto")
    with pytest.raises(ValueError, match="'cuda:7' is cuda:7 here"):
        choose_device("cuda:7")
    assert choose_device("cpu") == torch.device("cpu")


def test_exact_kernels_hold_for_a_gpu_while_it_trains_and_no_longer():
    with exact_kernels(torch.device("cpu")):
        assert not torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        with exact_kernels(torch.device("cuda")):  # nothing is computed on it
            assert torch.is_deterministic_algorithms_warn_only_enabled()
            assert not torch.utils.deterministic.fill_uninitialized_memory
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.utils.deterministic.fill_uninitialized_memory
    finally:
        torch.use_deterministic_algorithms(False)
