"""The learning rate, Muon, label smoothing and the average of the weights."""

import numpy as np
import pytest
import torch
from torch import nn
from training import assert_same_files, small, stop_after

import selfie_io as sio
from selfie_train import TrainConfig, resume, train
from selfie_train.methods.method import Choice
from selfie_train.runs.result import Stopped
from selfie_train.training.distributed import join_processes
from selfie_train.training.learner import Learner
from selfie_train.training.optimizer import SGD_SCALE, Muon, orthogonalized
from selfie_train.training.schedule import FIRST_RATE, LAST_RATE, learning_rate
from selfie_train.training.weight_average import WeightAverage


def config(**options):
    return TrainConfig("data", recipe="paper", **options)


def test_one_cycle_rises_and_falls_in_lines_batch_by_batch():
    one_cycle = config(schedule="one-cycle", epochs=10, lr_warmup=2.0, lr=0.5)
    rates = [learning_rate(one_cycle, epoch, done) for epoch in range(10) for done in (0.0, 0.5)]
    assert rates[0] == pytest.approx(FIRST_RATE * 0.5)
    assert rates[4] == max(rates) == 0.5
    np.testing.assert_allclose(np.diff(rates[:5]), np.diff(rates[:2])[0])
    np.testing.assert_allclose(np.diff(rates[4:]), np.diff(rates[4:6])[0])
    assert learning_rate(one_cycle, 9, 1.0) == pytest.approx(LAST_RATE * 0.5)
    whole = config(schedule="one-cycle", epochs=2, lr_warmup=3.0, lr=1.0)  # it never gets beyond its warm-up
    assert learning_rate(whole, 1, 1.0) == pytest.approx(FIRST_RATE + (1 - FIRST_RATE) * 2 / 3)


def test_the_other_schedules_can_warm_up_too():
    step = config(lr_warmup=5.0)
    assert learning_rate(step, 0) == pytest.approx(0.02)
    assert learning_rate(step, 2, 0.5) == pytest.approx(0.06)
    assert [learning_rate(step, epoch) for epoch in (5, 49, 50, 75)] == [0.1, 0.1, 0.02, 0.004]


def test_newton_schulz_keeps_the_directions_and_evens_the_lengths():
    torch.manual_seed(0)
    for shape in [(20, 50), (50, 20), (8, 8)]:
        matrix = torch.randn(shape)
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        inside = u.T @ orthogonalized(matrix) @ v.T
        lengths = inside.diagonal()
        assert 0.3 < lengths.min() < lengths.max() < 1.3
        assert (inside - torch.diag(lengths)).abs().max() < 1e-3
    assert orthogonalized(torch.zeros(3, 4)).tolist() == torch.zeros(3, 4).tolist()


def test_muon_is_the_published_step_on_filters_and_sgd_on_the_rest():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(4, 3))
    before = [parameter.detach().clone() for parameter in network.parameters()]
    optimizer = Muon(network, lr=0.1, momentum=0.6, weight_decay=0.01)
    usual = [parameter.detach().clone().requires_grad_() for parameter in network.parameters()]
    sgd = torch.optim.SGD(usual, lr=0.1 * SGD_SCALE, momentum=0.6, weight_decay=0.01, nesterov=True)
    filters, memory = before[0], torch.zeros_like(before[0])
    for _ in range(3):
        network.zero_grad()
        network(torch.randn(5, 2, 3, 3)).square().sum().backward()
        gradients = [parameter.grad.clone() for parameter in network.parameters()]
        optimizer.step()
        for parameter, gradient in zip(usual, gradients, strict=True):
            parameter.grad = gradient
        sgd.step()
        memory = 0.6 * memory + gradients[0]
        direction = orthogonalized((gradients[0] + 0.6 * memory).reshape(4, -1)).reshape(memory.shape)
        filters = filters * 2 / filters.norm() - 0.1 * direction
    trained = list(network.parameters())
    torch.testing.assert_close(trained[0].detach(), filters)
    for one, other in zip(trained[1:], usual[1:], strict=True):
        torch.testing.assert_close(one, other)


def test_label_smoothing_spreads_hard_targets_alone():
    torch.manual_seed(0)
    learner = Learner(
        config(model="convnet", label_smoothing=0.3, lr=0.0), join_processes("cpu"), (1, 8, 8), 4, 1
    )
    learner.start_run(0)
    images, labels = torch.randn(6, 1, 8, 8), torch.tensor([0, 1, 2, 3, 0, 1])
    batch = sio.Batch(images, labels, labels, torch.arange(6))
    soft = torch.full((6, 4), 0.25).numpy()
    hard, ones = labels.numpy(), np.ones(6, np.float32)
    gradients = []
    for choices in (None, [Choice(hard, ones)], [Choice(soft, ones)]):
        learner.score(batch, 0, 0, 6)
        learner.update(choices)
        gradients.append([parameter.grad.clone() for parameter in learner.networks[0].parameters()])
    network = learner.networks[0]
    for targets, smoothing, found in [(labels, 0.3, 0), (labels, 0.3, 1), (torch.from_numpy(soft), 0.0, 2)]:
        network.zero_grad()
        nn.functional.cross_entropy(network(images), targets, label_smoothing=smoothing).backward()
        for one, parameter in zip(gradients[found], network.parameters(), strict=True):
            torch.testing.assert_close(one, parameter.grad, rtol=1e-4, atol=1e-6)


def test_the_average_is_of_the_weights_seen():
    network = nn.BatchNorm1d(2)
    average = WeightAverage(network, 0.9)
    seen, mean = [], network.weight.detach().clone().double()
    for step in range(1, 200):
        with torch.no_grad():
            network.weight.fill_(float(step))
        network(torch.randn(3, 2))
        average.update(network)
        decay = min(0.9, step / (step + 9))
        mean = decay * mean + (1 - decay) * step
        seen.append(step)
    np.testing.assert_allclose(average.network.weight.detach(), mean, rtol=1e-5)
    assert average.network.num_batches_tracked == network.num_batches_tracked
    average.restart(network)
    assert torch.equal(average.network.weight, network.weight)


def test_a_run_with_every_new_setting_resumes_bit_for_bit(digits, tmp_path, monkeypatch):
    options = {"model": "airnet-small", "optimizer": "muon", "schedule": "one-cycle", "lr": 0.06, "ema": 0.9}
    options |= {"label_smoothing": 0.1, "lr_warmup": 0.5, "augment": "crop-alternate", "momentum": 0.6}
    whole = train(small(digits, tmp_path / "whole", **options), quiet=True)
    with monkeypatch.context() as patch:
        stop_after(patch, 17)
        with pytest.raises(Stopped):
            train(small(digits, tmp_path / "stopped", **options), quiet=True)
    resume(tmp_path / "stopped", quiet=True)
    assert_same_files(tmp_path / "whole", tmp_path / "stopped")
    assert whole.summary["last_test_error"] < 80
