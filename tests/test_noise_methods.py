"""The methods with options of their own: what they choose, that they learn, that they resume bit for bit."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from training import assert_same_files, small, stop_after

import selfie_io as sio
from selfie_train import Stopped, TrainConfig, register_model, resume, train
from selfie_train.methods.dividemix import clean_probabilities
from selfie_train.methods.method import Choice, Mixup, Scores, method_class
from selfie_train.methods.options import option_texts
from selfie_train.registry import known_names
from selfie_train.training.distributed import ProcessGroup
from selfie_train.training.learner import Learner
from selfie_train.training.mixing import mixed_loss

N, K = 60, 5
# Other tests of the same process may have registered methods of their own.
BUILT_IN = [
    name for name in known_names("method") if method_class(name).__module__.startswith("selfie_train.")
]
NEW = ("gce", "sce", "forward", "elr", "small-loss")


@register_model("mlp")
def mlp(shape, num_classes):
    """Without batch norm and dropout, quick to memorise wrong labels."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(int(np.prod(shape)), 256), nn.ReLU(), nn.Linear(256, num_classes)
    )


def make(method, *options, noise_rate=0.4, **settings):
    config = TrainConfig("data", method=method, method_options=options, recipe="paper", **settings)
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
    for same in ({"q": 0.5}, ["q=0.5"]):
        config = TrainConfig("data", method="gce", method_options=same)
        assert config == TrainConfig("data", method="gce", method_options=("q=0.5",))
        assert TrainConfig.from_json(config.to_json()) == config
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
    "dividemix": ("pair:0.4", {"epochs": 15}),
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
    options = {**SCHEDULE, "method": name, **options}
    summary = train(small(digits, tmp_path / "run", noise=noise, **options), quiet=True).summary
    error = summary["selected_test_error" if name == "label-wave" else "last_test_error"]
    assert error < default_errors[noise] - 3


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NEW, "dividemix", "label-wave"])
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
    for name in (*NEW, "dividemix"):
        options = {"model": "mlp", "method": name, "batch_size": 479, "epochs": 2, "warmup": 1}
        log = train(small(digits, tmp_path / name, **options), quiet=True).log
        assert len(log) == 2
        with pytest.raises(RuntimeError, match="is not finite in run 0, epoch"):
            train(small(digits, tmp_path / f"{name}-bad", **{**options, "lr": 1e30, "epochs": 4}), quiet=True)


def test_every_built_in_method_names_its_paper():
    for name in BUILT_IN:
        assert name == "default" or method_class(name).paper


def test_dividemix_divides_by_the_other_network_and_mixes_sharpened_targets():
    rng = np.random.default_rng(4)
    method = make("dividemix", "lambda_u=10", warmup=1)
    first = random_scores(rng, 0, networks=2, size=N)
    losses = np.where(np.arange(N) % 3 == 0, 5.0, 0.1) + rng.normal(0, 0.01, (2, N))
    losses[1] = losses[1, ::-1]  # the networks disagree about who is wrong
    assert method.choose(replace(first, indices=np.arange(N), losses=losses.astype(np.float32))) is None
    scores = random_scores(rng, 1, networks=2)
    choices = method.choose(scores)
    for number, choice in enumerate(choices):
        places = scores.indices if number == 1 else N - 1 - scores.indices
        assert choice.clean.tolist() == (places % 3 != 0).tolist()  # by the losses of the other network
        w = choice.clean.astype(float)[:, None]  # the mixture is certain here
        own, both = scores.probabilities[number], scores.probabilities.mean(0)
        mean = np.where(w > 0, w * np.eye(K)[scores.labels] + (1 - w) * own, both)
        target = np.tile(mean**2 / (mean**2).sum(1, keepdims=True), (2, 1))
        share, partners = choice.mixup.share, choice.mixup.partners
        assert 0.5 <= share <= 1
        assert sorted(partners) == list(range(32))
        np.testing.assert_allclose(choice.targets, share * target + (1 - share) * target[partners], atol=1e-5)
        assert choice.mixup.squared.tolist() == np.tile(~choice.clean, 2).tolist()
        assert choice.weights[np.tile(choice.clean, 2)].sum() == pytest.approx(32)
        assert choice.weights[~np.tile(choice.clean, 2)].sum() == 0  # the ramp starts now
    later = method.choose(random_scores(rng, 17, networks=2))
    unlabelled = ~np.tile(later[0].clean, 2)
    assert unlabelled.any()
    assert later[0].weights[unlabelled].sum() == pytest.approx(320)
    assert choices[0].mixup.share != choices[1].mixup.share


@pytest.mark.parametrize("losses", [np.zeros(9), np.array([0.1, 0.1, 3.0, 0.1, 2.9])])
def test_the_mixture_marks_high_losses_and_bears_equal_ones(losses):
    shares = clean_probabilities(losses.astype(np.float32), 0)
    assert (shares > 0.5).tolist() == (losses < 1).tolist()


def test_the_mixed_loss_has_the_gradient_of_the_published_one():
    """DivideMix's equations 8 to 12: cross entropy, squared error, and the balance of the classes."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(12, 3, 2, 2, generator=generator)
    weight = torch.randn(12, K, generator=generator, dtype=torch.float64).requires_grad_()
    rng = np.random.default_rng(0)
    partners, labelled = rng.permutation(12), np.tile(np.arange(6) < 4, 2)
    targets = rng.dirichlet(np.ones(K), 12).astype(np.float32)
    weights = np.where(labelled, 6 / 4, 25 * 6 / 2).astype(np.float32)
    mixup = Mixup(partners, 0.8, squared=~labelled, balance=1.0)
    choice = Choice(targets, weights, divisor="batch", mixup=mixup)
    group = ProcessGroup(0, 1, torch.device("cpu"))
    ours = mixed_loss(
        lambda x: x.flatten(1).double() @ weight, choice, mixup, images, torch.arange(12), group
    )
    (gradient,) = torch.autograd.grad(ours, weight)

    mixed = 0.8 * images + 0.2 * images[partners]
    p = (mixed.flatten(1).double() @ weight).softmax(1)
    y, mask = torch.from_numpy(targets).double(), torch.from_numpy(labelled)
    supervised = -(y[mask] * p[mask].log()).sum(1).mean()
    unsupervised = ((p[~mask] - y[~mask]) ** 2).mean()
    balance = (np.log(1 / K) - p.mean(0).log()).sum() / K
    published = supervised + 25 * unsupervised + balance
    (expected,) = torch.autograd.grad(published, weight)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_views_are_averaged_in_plain_training(digits, tmp_path):
    """Two equal views are as one: the same scores and the same step but for rounding."""
    config = small(digits, tmp_path / "unused", model="mlp", batch_size=64)
    group = ProcessGroup(0, 1, torch.device("cpu"))
    dataset = sio.open_dataset(digits)
    results = []
    for views in (1, 2):
        learner = Learner(config, group, (1, 8, 8), 10, 1, needs_probabilities=True, num_views=views)
        learner.start_run(0)
        with sio.Loader(dataset.train, batch_size=64, views=views) as loader:
            batch = next(iter(loader))
        scores = learner.score(batch, 0, 0, 64)
        weights = np.linspace(0, 1, 64, dtype=np.float32)
        learner.update([Choice(scores.labels, weights)])
        results.append((scores, [value.clone() for value in learner.networks[0].parameters()]))
    (one, first), (two, second) = results
    np.testing.assert_allclose(one.losses, two.losses, rtol=1e-5)
    np.testing.assert_array_equal(one.predicted, two.predicted)
    np.testing.assert_allclose(one.probabilities, two.probabilities, atol=1e-6)
    for value, other in zip(first, second, strict=True):
        np.testing.assert_allclose(value.detach(), other.detach(), atol=1e-6)
