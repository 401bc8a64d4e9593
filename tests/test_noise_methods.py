"""The methods with options of their own: what they choose, that they learn, that they resume bit for bit."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from training import assert_same_files, small, stop_after

from selfie_train import Stopped, TrainConfig, register_model, resume, train
from selfie_train.methods.method import Scores, method_class
from selfie_train.methods.options import option_texts
from selfie_train.registry import known_names

N, K = 60, 5
BUILT_IN = known_names("method")
NEW = ("gce", "sce", "forward", "elr", "small-loss")


@register_model("mlp")
def mlp(shape, num_classes):
    """Without batch norm and dropout, quick to memorise wrong labels."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(int(np.prod(shape)), 256), nn.ReLU(), nn.Linear(256, num_classes)
    )


def make(method, *options, noise_rate=0.4, **settings):
    config = TrainConfig("data", method=method, method_options=options, **settings)
    return method_class(method)(config, N, K, noise_rate)


def random_scores(rng, epoch, networks=1, size=16):
    probabilities = rng.dirichlet(np.full(K, 0.5), size=(networks, size)).astype(np.float32)
    labels = rng.integers(K, size=size)
    losses = -np.log(probabilities[:, np.arange(size), labels] + 1e-9)
    return Scores(
        epoch, rng.choice(N, size, replace=False), labels, losses, probabilities.argmax(2), probabilities
    )


@pytest.mark.parametrize("method", ["gce", "sce", "elr"])
def test_the_loss_is_a_mean_over_the_batch(method):
    """A batch that the network doubts must not be scaled up to full weight."""
    (choice,) = make(method).choose(random_scores(np.random.default_rng(0), epoch=0))
    assert choice.divisor == "batch"
    assert (choice.weights >= 0).all()


def test_options_take_effect_and_are_checked():
    scores = random_scores(np.random.default_rng(0), epoch=0)
    p_y = np.exp(-scores.losses[0])
    np.testing.assert_allclose(make("gce", "q=0.5").choose(scores)[0].weights, p_y**0.5, rtol=1e-5)
    weights = make("sce", "alpha=6", "beta=0.1", "A=-6").choose(scores)[0].weights
    np.testing.assert_allclose(weights, 6 + 0.6 * p_y, rtol=1e-5)
    assert option_texts(make("elr", "lambda=7").options) == ["beta=0.7", "lambda=7.0"]
    for method, options, message in [
        ("gce", ["r=1"], "an option of method gce must be one of q; got 'r=1'"),
        ("gce", ["q"], "must be name=value, got 'q'"),
        ("gce", ["q=high"], "q must be a number, got 'high'"),
        ("gce", ["q=1", "q=1"], "given once, got 'q' twice"),
        ("gce", ["q=0"], r"q must be inside \(0, 1\], got 0"),
        ("gce", ["q=nan"], r"q must be inside \(0, 1\], got nan"),
        ("sce", ["A=1"], r"-A must be inside \(0, inf\], got -1"),
        ("elr", ["beta=1"], r"beta must be inside \[0, 1\), got 1"),
        ("elr", ["lambda=-1"], r"lambda must be inside \[0, inf\], got -1"),
        ("dividemix", ["alpha=0"], r"alpha must be inside \(0, inf\], got 0"),
        ("selfie", ["q=1"], "an option of method selfie must be left out, since it has none; got 'q=1'"),
    ]:
        with pytest.raises(ValueError, match=message):
            TrainConfig("data", method=method, method_options=tuple(options))


def test_forward_trains_plainly_then_estimates_the_matrix_from_the_last_epoch_of_warm_up():
    rng = np.random.default_rng(1)
    method, again = make("forward", warmup=2), make("forward", warmup=2)
    for epoch in (0, 1, 1, 1):
        assert method.choose(random_scores(rng, epoch)) is None
    again.load_state_dict(method.state_dict())
    assert len(method.state_dict()["seen"]) == 48
    scores = random_scores(rng, 2)
    (choice,) = method.choose(scores)
    np.testing.assert_allclose(choice.targets.sum(1), 1, rtol=1e-6)
    np.testing.assert_array_equal(again.choose(scores)[0].targets, choice.targets)
    assert len(method.state_dict()["seen"]) == 0
    again.load_state_dict(method.state_dict())
    np.testing.assert_array_equal(again.transition, method.transition)


def test_forward_takes_a_matrix_from_a_file_or_from_the_noise(tmp_path):
    method = make("forward", "transition=injected", noise="pair:0.4", warmup=0)
    assert method.transition[0].tolist() == pytest.approx([0.6, 0.4, 0, 0, 0])
    np.savetxt(tmp_path / "T.csv", method.transition, delimiter=",")
    given = make("forward", f"transition={tmp_path / 'T.csv'}", warmup=0)
    np.testing.assert_allclose(given.transition, method.transition)
    np.savetxt(tmp_path / "bad.csv", np.eye(4), delimiter=",")
    (tmp_path / "text.csv").write_text("cat,dog\n")
    for options, settings, message in [
        ((), {"warmup": 0}, "1 <= warmup < epochs must hold, got warmup 0 of 100; or give it"),
        (("transition=injected",), {"noise": "none"}, "needs noise that --noise injects.*got --noise none"),
        ((f"transition={tmp_path / 'bad.csv'}",), {}, "must have 5 rows of 5 numbers.*got 4 x 4"),
        ((f"transition={tmp_path / 'text.csv'}",), {}, "text.csv: a transition matrix must be a CSV file"),
    ]:
        with pytest.raises(ValueError, match=message):
            make("forward", *options, **settings)
    with pytest.raises(OSError, match=r"none.csv"):
        make("forward", f"transition={tmp_path / 'none.csv'}")


def test_small_loss_keeps_what_is_easy_for_itself():
    scores = random_scores(np.random.default_rng(2), epoch=50)
    (choice,) = make("small-loss").choose(scores)
    easy = np.argsort(scores.losses[0], kind="stable")[:10]
    assert np.flatnonzero(choice.weights).tolist() == sorted(easy.tolist())
    assert choice.clean.tolist() == (choice.weights > 0).tolist()


LEARNING = {
    "gce": ("symmetric:0.4", {}),
    "sce": ("symmetric:0.4", {}),
    "forward": ("pair:0.4", {}),
    "elr": ("pair:0.4", {}),
    "small-loss": ("symmetric:0.4", {}),
    "label-wave": ("symmetric:0.4", {"method": "default", "early_stopping": "label-wave", "patience": 5}),
}
SCHEDULE = {"model": "mlp", "epochs": 30, "warmup": 5, "batch_size": 64}


@pytest.fixture(scope="module")
def default_errors(digits, tmp_path_factory):
    """The last test error of Default by noise."""
    folder = tmp_path_factory.mktemp("default")
    configs = [
        small(digits, folder / noise, method="default", noise=noise, **SCHEDULE)
        for noise in ("symmetric:0.4", "pair:0.4")
    ]
    return {config.noise: train(config, quiet=True).summary["last_test_error"] for config in configs}


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNING)
def test_it_learns_better_than_default_under_the_noise_it_was_made_for(
    digits, tmp_path, default_errors, name
):
    noise, options = LEARNING[name]
    options = {"method": name, **options}
    summary = train(small(digits, tmp_path / "run", noise=noise, **SCHEDULE, **options), quiet=True).summary
    error = summary["selected_test_error" if name == "label-wave" else "last_test_error"]
    assert error < default_errors[noise] - 3


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NEW, "label-wave"])
def test_a_stopped_run_ends_as_one_that_never_stopped(digits, tmp_path, monkeypatch, name):
    options = {"model": "mlp", "method": name, "batch_size": 300, "epochs": 8, "warmup": 2}
    if name == "label-wave":
        options.update(method="default", early_stopping="label-wave", patience=2, epochs=30, lr=0.2)
    whole = train(small(digits, tmp_path / "whole", **options), quiet=True)
    parts_config = small(digits, tmp_path / "parts", **options)
    for batches in (8, 9):
        with monkeypatch.context() as patch:
            stop_after(patch, batches)
            begun = (tmp_path / "parts").exists()
            start = partial(resume, tmp_path / "parts") if begun else partial(train, parts_config)
            with pytest.raises(Stopped):
                start(quiet=True)
    parts = resume(tmp_path / "parts", quiet=True)
    assert_same_files(tmp_path / "whole", tmp_path / "parts")
    for one, other in zip(whole.networks[0].parameters(), parts.networks[0].parameters(), strict=True):
        assert torch.equal(one, other)
    if name == "label-wave":
        assert whole.summary["epochs"] < 30  # it did stop
        assert len(list((tmp_path / "parts" / "checkpoints").glob("selected-*"))) == 1
        resume(tmp_path / "parts", quiet=True)
        assert_same_files(tmp_path / "whole", tmp_path / "parts")


def test_early_stopping_is_refused_where_training_restarts(digits, tmp_path):
    config = small(digits, tmp_path / "run", method="selfie", restarts=1, early_stopping="label-wave")
    with pytest.raises(ValueError, match="works on one training run, got 2: set --restarts 0"):
        train(config, quiet=True)


@pytest.mark.slow
def test_a_batch_of_one_and_a_loss_that_is_not_finite(digits, tmp_path):
    """1,438 samples in batches of 479 leave one."""
    for name in NEW:
        options = {"model": "mlp", "method": name, "batch_size": 479, "epochs": 2, "warmup": 1}
        log = train(small(digits, tmp_path / name, **options), quiet=True).log
        assert len(log) == 2
        with pytest.raises(RuntimeError, match="is not finite in run 0, epoch"):
            train(small(digits, tmp_path / f"{name}-bad", **{**options, "lr": 1e30, "epochs": 4}), quiet=True)


def test_every_built_in_method_names_its_paper():
    for name in BUILT_IN:
        assert name == "default" or method_class(name).paper
