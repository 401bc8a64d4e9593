"""The soft targets: cross entropy against them has the gradient of the published loss."""

import numpy as np
import pytest
import torch

from selfie_train.methods.elr import MovingAverages, elr_targets
from selfie_train.methods.forward import estimate_transition, forward_targets
from selfie_train.methods.gce import gce_weights
from selfie_train.methods.sce import sce_weights

B, K = 64, 7
METHODS = ("gce", "gce, q=0.1", "gce, q=1", "sce", "sce, cifar-100", "forward", "elr", "elr, asymmetric")


def one_hot(labels):
    return np.eye(K, dtype=np.float32)[labels]


def published_loss(method, logits, labels, transition, averages):
    """The loss of each sample as its paper writes it, for torch to differentiate."""
    p = logits.softmax(1)
    p_y = p[torch.arange(B), labels]
    if method.startswith("gce"):
        q = {"gce": 0.7, "gce, q=0.1": 0.1, "gce, q=1": 1.0}[method]
        return (1 - p_y**q) / q
    if method.startswith("sce"):
        alpha, beta = (0.1, 1.0) if method == "sce" else (6.0, 0.1)
        log_label = torch.full((B, K), -4.0, dtype=p.dtype)  # A = log 0
        log_label[torch.arange(B), labels] = 0.0  # log 1
        return alpha * -p_y.log() + beta * -(p * log_label).sum(1)
    if method == "forward":
        return -(p @ transition)[torch.arange(B), labels].log()
    strength = 3.0 if method == "elr" else 1.0
    return -p_y.log() + strength * (1 - (p * averages).sum(1)).log()


def our_targets(method, logits, labels, transition, averages):
    """What our method makes of the same scores, in float32 as it gets them."""
    log_p = logits.float().log_softmax(1)
    losses = -log_p[torch.arange(B), labels].numpy()
    p, y = log_p.exp().numpy(), labels.numpy()
    if method.startswith("gce"):
        q = {"gce": 0.7, "gce, q=0.1": 0.1, "gce, q=1": 1.0}[method]
        return gce_weights(losses, q)[:, None] * one_hot(y)
    if method.startswith("sce"):
        alpha, beta = (0.1, 1.0) if method == "sce" else (6.0, 0.1)
        return sce_weights(losses, alpha, beta, -4.0)[:, None] * one_hot(y)
    if method == "forward":
        return forward_targets(p, y, transition.numpy())
    return elr_targets(p, y, averages.numpy(), 3.0 if method == "elr" else 1.0)


@pytest.fixture(scope="module")
def scores():
    """Logits float64 (B, K) from flat to peaked, labels, a transition matrix, moving averages."""
    rng = np.random.default_rng(3)
    logits = torch.from_numpy(rng.normal(size=(B, K)) * rng.uniform(0.1, 5, (B, 1)))
    labels = torch.from_numpy(rng.integers(K, size=B))
    transition = torch.from_numpy(rng.dirichlet(np.full(K, 0.5), size=K))
    memory = MovingAverages(B, K)
    for beta in (0.7, 0.7, 0.9):
        p = rng.dirichlet(np.full(K, 0.3), size=B).astype(np.float32)
        averages = memory.update(np.arange(B), p, beta)
    return logits, labels, transition, torch.from_numpy(averages)


@pytest.mark.parametrize("method", METHODS)
def test_the_gradient_is_that_of_the_published_loss(scores, method):
    logits, labels, transition, averages = scores
    published = logits.clone().requires_grad_()
    published_loss(method, published, labels, transition, averages).mean().backward()
    ours = logits.clone().requires_grad_()
    targets = torch.from_numpy(our_targets(method, logits, labels, transition, averages)).double()
    torch.nn.functional.cross_entropy(ours, targets, reduction="none").mean().backward()
    np.testing.assert_allclose(ours.grad * B, published.grad * B, rtol=1e-6, atol=1e-6)


def test_soft_target_cross_entropy_has_the_gradient_that_the_derivations_use(scores):
    logits, labels, transition, averages = scores
    ours = logits.clone().requires_grad_()
    targets = torch.from_numpy(our_targets("elr", logits, labels, transition, averages)).double()
    assert targets.sum(1).max() > 1.5  # they need not sum to 1
    torch.nn.functional.cross_entropy(ours, targets, reduction="none").sum().backward()
    expected = logits.softmax(1) * targets.sum(1, keepdim=True) - targets
    np.testing.assert_allclose(ours.grad, expected, atol=1e-12)


def test_forward_targets_keep_a_label_that_cannot_occur():
    transition = np.eye(3)
    transition[:, 2] = 0
    targets = forward_targets(np.full((2, 3), 1 / 3, np.float32), np.array([2, 0]), transition)
    assert targets.tolist() == [[0, 0, 1], [1, 0, 0]]


def test_the_transition_matrix_of_an_ideal_network_is_found():
    rng = np.random.default_rng(5)
    truth = 0.7 * np.eye(K) + 0.3 * np.roll(np.eye(K), 1, axis=1)
    certainty = rng.beta(8, 1, size=(4000, 1))
    clean = certainty * np.eye(K)[rng.integers(K, size=4000)] + (1 - certainty) / K
    estimate = estimate_transition((clean @ truth).astype(np.float32), 97)
    np.testing.assert_allclose(estimate.sum(1), 1)
    np.testing.assert_allclose(estimate, truth, atol=0.03)
    constant = estimate_transition(np.full((5, K), 1 / K, np.float32))
    np.testing.assert_allclose(constant, np.full((K, K), 1 / K), atol=1e-6)


@pytest.mark.parametrize("num_classes", [2, 10, 200])
@pytest.mark.parametrize("beta", [0.7, 0.9])
def test_moving_averages_follow_the_exact_ones_and_never_reach_1(num_classes, beta):
    rng = np.random.default_rng(6)
    memory = MovingAverages(20, num_classes)
    exact = np.zeros((20, num_classes))
    for _ in range(60):
        indices = rng.choice(20, 8, replace=False)
        p = rng.dirichlet(np.full(num_classes, 0.05), size=8).astype(np.float32)
        clipped = np.clip(p.astype(np.float64), 1e-4, 1 - 1e-4)
        clipped /= clipped.sum(1, keepdims=True)
        exact[indices] = beta * exact[indices] + (1 - beta) * clipped
        got = memory.update(indices, p, beta)
        assert np.abs(got - exact[indices]).max() <= 2**-17 / (1 - beta) + 1e-9
    certain = np.zeros((1, num_classes), np.float32)
    certain[0, 1] = 1
    for _ in range(200):
        average = memory.update(np.array([3]), certain, beta)
    targets = elr_targets(certain, np.array([0]), average, 3.0)
    assert np.isfinite(targets).all()
    with pytest.raises(ValueError, match=r"units must be uint16 \(20, .*got uint16 \(21, "):
        memory.load_state_dict(MovingAverages(21, num_classes).state_dict())
