"""What settings at auto become: by the recipe, the data, the machine; what the run says of it."""

import dataclasses
import json
import math
import re

import pytest
import torch
from torch import nn

import selfie_train.training.settle
from selfie_train import TrainConfig, resume, train
from selfie_train.cli import _with_values
from selfie_train.commands.reproduce import complete
from selfie_train.models.builder import register_model
from selfie_train.recipes import PAPER, Facts, resolve
from selfie_train.training.machine import Way, fastest_way, step_operations, time_way
from selfie_train.training.settle import duration

CIFAR = Facts(50_000, (3, 32, 32), is_gpu=False)
DIGITS = Facts(1438, (1, 8, 8), is_gpu=False)


@pytest.mark.parametrize(
    "facts", [CIFAR, DIGITS, Facts(20, (3, 4, 4), True), Facts(10**7, (3, 224, 224), True)]
)
@pytest.mark.parametrize("model", ["auto", "convnet", "airnet-wide", "resnet-18", "timm:vit"])
def test_everything_is_chosen_but_what_is_measured(facts, model):
    config = resolve(TrainConfig("data", model=model), facts)
    assert set(config.auto_settings()) == {"precision", "channels_last"}
    assert 0 < config.warmup < config.epochs
    assert config.batch_size >= 2
    assert config.ramp <= config.epochs
    assert resolve(config, facts) == config


def test_the_plain_default_fits_data_and_machine():
    cifar, digits = (resolve(TrainConfig("data"), facts) for facts in (CIFAR, DIGITS))
    assert (cifar.model, digits.model) == ("airnet", "airnet-small")
    assert resolve(TrainConfig("data"), dataclasses.replace(CIFAR, is_gpu=True)).model == "resnet-34"
    assert resolve(TrainConfig("data"), Facts(50, (3, 5, 9), is_gpu=False)).model == "convnet"
    assert (cifar.epochs, cifar.warmup, cifar.history, cifar.ramp) == (12, 3, 3, 1)
    assert (digits.epochs, digits.warmup, digits.history, digits.ramp) == (40, 10, 6, 4)
    assert digits.batch_size < cifar.batch_size
    assert digits.augment == "none"  # the flip of a digit is no digit
    assert cifar.augment == "crop-alternate"
    assert cifar.num_runs == digits.num_runs == 1


def test_what_is_given_stays():
    asked = {
        "epochs": 7,
        "lr": 0.3,
        "batch_size": 100,
        "history": 2,
        "warmup": 0,
        "ramp": 5,
        "augment": "none",
    }
    config = resolve(TrainConfig("data", **asked), CIFAR)
    assert {name: getattr(config, name) for name in asked} == asked
    assert resolve(TrainConfig("data", epochs=1), CIFAR).warmup == 0


def test_the_paper_recipe_is_the_papers_and_complete_at_once():
    config = TrainConfig("data", recipe="paper")
    assert config.auto_settings() == []
    assert (config.model, config.epochs, config.warmup, config.history) == ("densenet-25-12", 100, 25, 15)
    assert (config.batch_size, config.lr, config.momentum, config.schedule) == (128, 0.1, 0.9, "step")
    assert (config.num_runs, TrainConfig("data", recipe="paper", variant="official").num_runs) == (3, 4)
    assert resolve(config, CIFAR) == config
    assert TrainConfig("data", recipe="paper", epochs=3).epochs == 3
    assert repr(config) == "TrainConfig('data', recipe='paper')"


def test_an_old_runs_config_means_what_it_meant(tmp_path):
    old = TrainConfig("data", recipe="paper", epochs=3, warmup=1).to_json()
    for name in ("recipe", "lr_warmup", "optimizer", "label_smoothing", "ema"):
        del old[name]
    (tmp_path / "config.json").write_text(json.dumps(old))
    config = TrainConfig.read(tmp_path)
    assert config.num_runs == 3
    assert config.auto_settings() == []
    assert {name: getattr(config, name) for name in ("lr_warmup", "optimizer", "ema")} == {
        name: PAPER[name] for name in ("lr_warmup", "optimizer", "ema")
    }


def test_channels_last_may_still_be_a_flag():
    assert _with_values(["--channels-last", "--seed", "3"]) == ["--channels-last", "True", "--seed", "3"]
    assert _with_values(["--no-channels-last"]) == ["--channels-last", "False"]
    for value in ("auto", "True", "False"):
        assert _with_values(["--channels-last", value]) == ["--channels-last", value]
    assert _with_values(["--channels-last"]) == ["--channels-last", "True"]


def test_the_fastest_way_must_be_clearly_faster():
    plain = Way("float32", channels_last=False, images_per_second=100, cost=2.0)
    other = Way("bfloat16", channels_last=True, images_per_second=90, cost=1.5)  # slow by other work alone
    assert fastest_way([plain, other]) == other
    assert fastest_way([plain, dataclasses.replace(other, cost=1.9)]) == plain


@register_model("counted-net")
def counted_net(shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), num_classes))


def test_timing_leaves_the_weights_and_counts_operations():
    network = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.Flatten(), nn.Linear(2 * 36, 3))
    before = [parameter.clone() for parameter in network.parameters()]
    images, labels = torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])
    way = time_way(
        network, torch.device("cpu"), images, labels, precision="float32", channels_last=True, seconds=0.01
    )
    assert way.images_per_second > 0
    for parameter, value in zip(network.parameters(), before, strict=True):
        assert torch.equal(parameter, value)
        assert parameter.grad is None
    # Forward, and backward to the weight alone: 2 x 64 x 3 each.
    assert step_operations("counted-net", (1, 8, 8), 3) == 2 * 2 * 64 * 3


def test_a_long_run_is_timed_and_keeps_what_was_found(digits, tmp_path, monkeypatch, capsys):
    asked = TrainConfig(str(digits), model="convnet", epochs=2, noise="pair:0.4", out=str(tmp_path / "run"))
    monkeypatch.setattr(selfie_train.training.settle, "SHORT_RUN", 0)
    speeds = {
        ("float32", False): 100,
        ("float32", True): 90,
        ("bfloat16", False): 300,
        ("bfloat16", True): 200,
    }
    monkeypatch.setattr(
        selfie_train.training.settle,
        "time_way",
        lambda *_, precision, channels_last: Way(
            precision, channels_last, speed := speeds[precision, channels_last], 1 / speed
        ),
    )
    train(asked)
    said = capsys.readouterr().out
    assert "measured: float32 100 images/s" in said
    assert "taken: bfloat16\n" in said
    assert re.search(r"1 x 2 epochs of 1,438 images: about \d+ seconds at 300 images/s", said)
    stored = TrainConfig.read(tmp_path / "run")
    assert (stored.precision, stored.channels_last) == ("bfloat16", False)
    assert stored.auto_settings() == []
    monkeypatch.setattr(selfie_train.training.settle, "time_way", None)  # nothing is measured again
    resume(tmp_path / "run", quiet=True)
    assert complete(asked, quiet=True) is False
    with pytest.raises(ValueError, match="another precision"):
        complete(dataclasses.replace(asked, precision="float32"), quiet=True)


def test_runs_beside_each_other_take_the_same_way(digits, tmp_path, monkeypatch, capsys):
    """What the clock said of the first holds for the second: else a table would tell them apart."""
    monkeypatch.setattr(selfie_train.training.settle, "SHORT_RUN", 0)
    faster = "bfloat16"

    def time_it(*_, precision, channels_last):
        cost = 1 if precision == faster and channels_last else 2
        return Way(precision, channels_last, 1 / cost, cost)

    monkeypatch.setattr(selfie_train.training.settle, "time_way", time_it)
    asked = TrainConfig(str(digits), model="convnet", epochs=1, method="default", out=str(tmp_path / "one"))
    train(asked)
    faster = "float32"
    train(dataclasses.replace(asked, seed=1, out=str(tmp_path / "two")))
    assert "as earlier runs here, so that they can be compared: bfloat16, channels last" in (
        capsys.readouterr().out
    )
    train(dataclasses.replace(asked, batch_size=32, out=str(tmp_path / "other")), quiet=True)
    kept = tmp_path / ".evidence" / "ways.json"
    kept.write_text('{"broken": [1], "half": {"precision": "bfloat16"}, "of": ')
    train(dataclasses.replace(asked, seed=2, out=str(tmp_path / "anew")), quiet=True)
    chosen = [TrainConfig.read(tmp_path / name).precision for name in ("one", "two", "other", "anew")]
    assert chosen == ["bfloat16", "bfloat16", "float32", "float32"]
    kept.unlink()
    kept.parent.rmdir()
    kept.parent.write_text("no folder")
    train(dataclasses.replace(asked, seed=3, out=str(tmp_path / "kept by none")), quiet=True)


def test_a_short_run_is_not_timed(digits, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(selfie_train.training.settle, "time_way", None)
    config = TrainConfig(str(digits), model="convnet", epochs=2, method="default", out=str(tmp_path / "run"))
    train(dataclasses.replace(config, device="cpu"))
    said = capsys.readouterr().out
    assert "precision float32, channels_last False: the run is too short" in said
    assert "chosen for 1,438 images on cpu: warmup 1" in said
    assert "1 x 2 epochs of 1,438 images: a minute or so" in said


def test_durations_in_words():
    assert [duration(seconds) for seconds in (0.2, 45, 600, 9000)] == [
        "1 seconds", "45 seconds", "10 minutes", "2.5 hours",
    ]  # fmt: skip
