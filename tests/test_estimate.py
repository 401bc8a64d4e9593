"""The confident joint against loops from the paper and against cleanlab; known noise is found again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfie_io.labels.estimate import confident_joint, estimate_noise
from selfie_io.labels.noise import inject_noise, observed_matrix, transition_matrix


def slow_joint(labels, probabilities):
    num_classes = probabilities.shape[1]
    thresholds = [
        probabilities[labels == c, c].mean() if (labels == c).any() else np.inf for c in range(num_classes)
    ]
    joint = np.zeros((num_classes, num_classes), int)
    for label, row in zip(labels, probabilities, strict=True):
        classes = [c for c in range(num_classes) if row[c] >= thresholds[c] - 1e-6]
        if len(classes) == 1:
            joint[label, classes[0]] += 1
        elif classes:
            joint[label, int(np.argmax(row))] += 1
    for c in range(num_classes):
        joint[c, c] = max(joint[c, c], 1)
    return joint


def noisy_problem(num_classes=5, size=4000, rate=0.3, kind="pair", sharpness=4.0, seed=0):
    """Labels with known noise, and probabilities of a good but not perfect network."""
    rng = np.random.default_rng(seed)
    clean = rng.integers(0, num_classes, size)
    labels = inject_noise(clean, transition_matrix(kind, num_classes, rate), seed=seed)
    scores = rng.normal(size=(size, num_classes))
    scores[np.arange(size), clean] += sharpness
    probabilities = np.exp(scores)
    return clean, labels, probabilities / probabilities.sum(axis=1, keepdims=True)


@settings(deadline=None)
@given(st.integers(2, 5), st.integers(1, 40), st.integers(0, 1000))
def test_equals_the_loops(num_classes, size, seed):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(num_classes, 0.5), size)
    labels = rng.integers(0, num_classes, size)
    np.testing.assert_array_equal(confident_joint(labels, probabilities), slow_joint(labels, probabilities))


@pytest.mark.parametrize(("kind", "rate"), [("pair", 0.3), ("symmetric", 0.2), ("pair", 0.0)])
def test_known_noise_is_found_again(kind, rate):
    clean, labels, probabilities = noisy_problem(kind=kind, rate=rate)
    estimate = estimate_noise(labels, probabilities)
    assert estimate.noise_rate == pytest.approx(np.mean(clean != labels), abs=0.03)
    np.testing.assert_allclose(estimate.transition_matrix, observed_matrix(clean, labels, 5), atol=0.06)
    np.testing.assert_allclose(estimate.transition_matrix.sum(axis=1), 1)
    np.testing.assert_allclose(estimate.joint.sum(axis=1), np.bincount(labels) / labels.size)


def test_a_class_that_nobody_is_given():
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    estimate = estimate_noise([0, 1, 1], probabilities)
    assert estimate.joint[2].tolist() == [0, 0, 0]
    assert estimate.transition_matrix[2].tolist() == [0, 0, 1]


def test_as_cleanlab_does():
    count = pytest.importorskip(
        "cleanlab.count", reason="cleanlab is not installed: its figures go unchecked"
    )
    for options in ({}, {"kind": "symmetric", "rate": 0.5}, {"num_classes": 20, "sharpness": 2.0}):
        _, labels, probabilities = noisy_problem(**options)
        theirs = count.compute_confident_joint(labels, probabilities, calibrate=False)
        np.testing.assert_array_equal(confident_joint(labels, probabilities), theirs)
        ours = estimate_noise(labels, probabilities)
        # Cleanlab scales to whole samples, and so differs by up to one in each cell.
        scaled = count.calibrate_confident_joint(theirs, labels)
        np.testing.assert_allclose(ours.joint, scaled / labels.size, atol=1.01 / labels.size)
        # Its noise matrix is P(given | true) with the given class as the row.
        _, noise_matrix, _ = count.estimate_latent(scaled, labels)
        smallest_class = scaled.sum(axis=0).min()
        np.testing.assert_allclose(ours.transition_matrix, noise_matrix.T, atol=3 / smallest_class)


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([0, 1], [[0.5, 0.5]], "labels must have 1 values, got 2"),
        ([2], [[0.5, 0.5]], r"0..1, got 2"),
        ([0], [[0.5, 0.4]], "row 0: .*sum to 1"),
        ([0], [[1.5, -0.5]], "row 0: "),
        ([0], [[np.nan, 1.0]], "row 0: .*nan"),
        ([0], [[1.0]], "k at least 2"),
        ([0], [[1, 0]], "int64"),
        ([], np.empty((0, 3)), "at least one label"),
    ],
)
def test_bad_input_is_named(labels, probabilities, message):
    with pytest.raises(ValueError, match=message):
        estimate_noise(labels, probabilities)
