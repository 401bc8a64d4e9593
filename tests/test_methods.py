"""The methods on hand-made scores: what they choose is what their papers say."""

import math
import re
from pathlib import Path

import numpy as np
import pytest

from selfie_train.config import TrainConfig
from selfie_train.methods.method import Scores, method_class

N, K = 40, 5


def make(method, noise_rate=0.4, **options):
    config = TrainConfig("data", method=method, recipe="paper", **options)
    return method_class(method)(config, N, K, noise_rate)


def random_scores(rng, epoch, networks=1, size=16):
    return Scores(
        epoch=epoch,
        indices=rng.choice(N, size, replace=False),
        labels=rng.integers(K, size=size),
        losses=rng.integers(1, 9, size=(networks, size)).astype(np.float32) / 4,
        predicted=rng.integers(K, size=(networks, size)),
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"variant": "paper"}, {0: 1.0, 1: 0.96, 5: 0.8, 10: 0.6, 90: 0.6}),
        ({"variant": "official"}, {0: 1 - 0.4 / 15, 4: 1 - 0.4 / 3, 14: 0.6, 90: 0.6}),
        ({"variant": "paper", "ramp": 2}, {0: 1.0, 1: 0.8, 2: 0.6, 90: 0.6}),
        ({"variant": "official", "ramp": 2}, {0: 0.8, 1: 0.6, 90: 0.6}),
    ],
)
def test_co_teaching_keeps_less_until_the_noise_rate_is_dropped(options, expected):
    method = make("co-teaching", **options)
    for epoch, keep in expected.items():
        assert 1 - method.drop_rate(epoch) == pytest.approx(keep)


def test_co_teaching_networks_learn_what_the_other_finds_easy():
    rng = np.random.default_rng(0)
    method = make("co-teaching")
    for _ in range(50):
        scores = random_scores(rng, epoch=50, networks=2)
        choices = method.choose(scores)
        for learner, teacher in ((0, 1), (1, 0)):
            easy = sorted(range(16), key=lambda place: (scores.losses[teacher][place], place))[:10]
            assert np.flatnonzero(choices[learner].weights).tolist() == sorted(easy)
            assert np.flatnonzero(choices[learner].clean).tolist() == sorted(easy)
            np.testing.assert_array_equal(choices[learner].targets, scores.labels)


def test_active_bias_weights_follow_the_variance_of_all_earlier_visits():
    rng = np.random.default_rng(1)
    method = make("active-bias", warmup=2)
    history = {index: [] for index in range(N)}
    for epoch in range(12):
        scores = random_scores(rng, epoch)
        choices = method.choose(scores)
        if epoch < 2:
            assert choices is None
        else:
            weights = []
            for index in scores.indices.tolist():
                seen, n = history[index], len(history[index])
                if n < 2:
                    weights.append(1.0)
                else:
                    v = np.var(seen)
                    weights.append(math.sqrt(v + v * v / (n - 1)) + 0.2)
            np.testing.assert_allclose(choices[0].weights, np.array(weights) / np.mean(weights), rtol=1e-6)
            assert choices[0].weights.mean() == pytest.approx(1)
        for index, loss in zip(scores.indices.tolist(), scores.losses[0].tolist(), strict=True):
            history[index].append(math.exp(-loss))
    assert max(map(len, history.values())) > 3


def test_selfie_trains_plainly_in_warmup_then_selects_before_it_records():
    method = make("selfie", warmup=3, history=3, noise_rate=0.5)
    for epoch in range(3):
        scores = Scores(
            epoch, np.arange(4), np.zeros(4, np.int64), np.ones((1, 4), np.float32), np.full((1, 4), 2)
        )
        assert method.choose(scores) is None
    losses = np.array([[0.1, 0.9, 0.2, 0.8]], np.float32)
    changed = Scores(3, np.arange(4), np.zeros(4, np.int64), losses, np.array([[3, 3, 3, 3]]))
    (first,) = method.choose(changed)  # the history says 2, 2, 2: the 3 of this visit comes after
    assert first.targets.tolist() == [2, 2, 2, 2]
    assert first.clean.tolist() == [True, False, True, False]
    (second,) = method.choose(changed)  # 2, 2, 3: nothing is refurbishable now
    assert second.targets.tolist() == [0, 0, 0, 0]
    assert second.weights.tolist() == [1, 0, 1, 0]


def test_the_official_selfie_warms_up_in_one_pass_on_refurbished_labels():
    method = make("selfie", variant="official", warmup=1, history=2)
    indices, labels = np.arange(4), np.array([1, 1, 2, 2])
    scores = [
        Scores(epoch, indices, labels, np.ones((1, 4), np.float32), np.full((1, 4), 3)) for epoch in (0, 1)
    ]
    (first,) = method.choose(scores[0])
    assert first.targets.tolist() == labels.tolist()
    assert not first.second_pass
    (selecting,) = method.choose(scores[1])
    assert selecting.second_pass
    method.choose(scores[1])  # by now the histories are full of class 3
    assert method.choose(scores[1])[0].targets.tolist() == [3, 3, 3, 3]
    method.restart()
    (again,) = method.choose(scores[0])
    assert again.targets.tolist() == [3, 3, 3, 3]
    assert again.weights.tolist() == [1, 1, 1, 1]
    assert again.clean is None
    assert not again.second_pass


def test_a_selfie_restart_lowers_its_noise_rate():
    method = make("selfie", warmup=0, history=1, noise_rate=0.4)
    for _ in range(2):
        indices = np.arange(30)
        method.choose(Scores(0, indices, indices % K, np.ones((1, 30), np.float32), (indices % K)[None]))
    method.restart()
    assert method.noise_rate == pytest.approx(0.25)
    assert (method.refurbished_labels()[:30] == np.arange(30) % K).all()
    assert (method.refurbished_labels()[30:] == -1).all()


@pytest.mark.parametrize("name", ["active-bias", "selfie"])
def test_a_method_goes_on_from_its_state(name):
    rng = np.random.default_rng(2)
    first, second = (make(name, warmup=1, history=2) for _ in range(2))
    for epoch in range(6):
        first.choose(random_scores(rng, epoch))
    second.load_state_dict(first.state_dict())
    for epoch in range(6, 12):
        scores = random_scores(rng, epoch)
        (one,), (other,) = first.choose(scores), second.choose(scores)
        np.testing.assert_array_equal(one.targets, other.targets)
        np.testing.assert_array_equal(one.weights, other.weights)


def test_bad_settings_are_named():
    for options, message in [
        (
            {"method": "mixup"},
            r"method must be one of default, active-bias, co-teaching, selfie.*got 'mixup'",
        ),
        ({"noise": "pair"}, "needs a value as in pair:0.4"),
        ({"noise": "pair:1.5"}, r"in \[0, 1\], got 1.5"),
        ({"noise": "salt:0.1"}, r"noise must be pair:RATE.*got 'salt:0.1'"),
        ({"noise": "none:0.1"}, "none takes no value"),
        ({"noise_rate": 2.0}, r"noise_rate must be in \[0, 1\], got 2.0"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"ramp": 0}, "ramp must be at least 1, got 0"),
        ({"batch_size": 1}, "batch_size must be at least 2, got 1"),
        ({"epochs": "3"}, "epochs must be int.*'auto'.*, got '3'"),
        ({"epochs": True}, "epochs must be int.*'auto'.*, got True"),
        ({"lr": None}, "lr must be float.*'auto'.*, got None"),
        ({"restarts": 1.5}, r"restarts must be int \| None, got 1.5"),
        ({"noise_rate": "some"}, "noise_rate must be .*'auto'.*, got 'some'"),
        ({"shape": (3, 8)}, "shape must be tuple.*got "),
        ({"lr": math.nan}, "lr must be finite and not negative, got nan"),
        ({"schedule": "linear"}, "schedule must be one of auto, step, cosine, one-cycle; got 'linear'"),
        ({"momentum": 1.0}, r"momentum must be in \(0, 1\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            TrainConfig("data", **options)


def test_paths_become_text():
    config = TrainConfig(Path("data"), out=Path("runs/one"))
    assert config == TrainConfig("data", out="runs/one")
    assert config.to_json() == TrainConfig("data", out="runs/one").to_json()


def test_a_config_prints_what_is_not_the_default():
    config = TrainConfig("data", noise="pair:0.4", shape=(3, 8, 8), restarts=0)
    assert repr(config) == "TrainConfig('data', noise='pair:0.4', restarts=0, shape=(3, 8, 8))"
    assert eval(repr(config)) == config
    assert repr(TrainConfig("data")) == "TrainConfig('data')"


def test_config_survives_json():
    config = TrainConfig("data", shape=(3, 8, 8), noise="pairflip:0.25", noise_rate=0.1)
    assert TrainConfig.from_json(config.to_json()) == config
    with pytest.raises(ValueError, match=r"unknown settings.*colour"):
        TrainConfig.from_json({**config.to_json(), "colour": 1})


@pytest.mark.parametrize("content", ['{"epochs": 1', "[]", '{"dataset": "d", "lr": "fast"}', '{"epochs": 1}'])
def test_a_damaged_config_is_named(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path / 'config.json'}: ")):
        TrainConfig.read(tmp_path)
