"""Instance-dependent noise against a plain reading of the paper, and independent of all else."""

import numpy as np
import pytest
from scipy.stats import chisquare, kstest, truncnorm

from selfie_io.labels import instance_noise
from selfie_io.labels.instance_noise import inject_instance_noise
from selfie_io.labels.noise import keyed_bits, stream_base


class Split:
    """What a RecordSplit offers, and how often it was asked."""

    def __init__(self, images):
        self.pixels = images
        self.asked = []

    def __len__(self):
        return len(self.pixels)

    def images(self, indices):
        self.asked.append(len(indices))
        return self.pixels[indices]


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (600, 3, 4, 4)).astype(np.uint8)


LABELS = np.arange(600) % 5


def slow_probabilities(images, labels, flip_rates, weights):
    """P(noisy | image) as the authors' program computes it, one image at a time."""
    result = []
    for image, label, flip_rate in zip(images, labels, flip_rates, strict=True):
        x = image.ravel().astype(float)
        x = (x - x.mean()) / max(x.std(), 1 / np.sqrt(x.size))
        scores = x @ weights[label]
        scores[label] = -np.inf
        p = np.exp(scores - scores.max())
        p = flip_rate * p / p.sum()
        p[label] += 1 - flip_rate
        result.append(p)
    return np.array(result)


def test_labels_follow_the_papers_probabilities(images):
    weights = instance_noise._normals(keyed_bits(stream_base(7, 2), np.arange(5 * 48 * 5))).reshape(5, 48, 5)
    flip_rates = instance_noise._flip_rates(0.4, 7, np.arange(600))
    probabilities = slow_probabilities(images, LABELS, flip_rates, weights)
    # The draw takes the label itself from [0, 1 - rate) and the others from the rest, in order.
    uniforms = (keyed_bits(stream_base(7, 1), np.arange(600)) >> np.uint64(11)) / 2.0**53
    expected = []
    for p, label, u in zip(probabilities, LABELS, uniforms, strict=True):
        order = [label, *(c for c in range(5) if c != label)]
        expected.append(order[int(np.searchsorted(np.cumsum(p[order]), u, side="right"))])
    np.testing.assert_array_equal(inject_instance_noise(images, LABELS, 5, 0.4, seed=7), expected)


def test_weights_and_flip_rates_are_distributed_as_in_the_paper():
    assert kstest(instance_noise._normals(keyed_bits(np.uint64(1), np.arange(20_000))), "norm").pvalue > 1e-3
    for rate in (0.0, 0.05, 0.4, 1.0):
        law = truncnorm(-rate / 0.1, (1 - rate) / 0.1, loc=rate, scale=0.1)
        assert kstest(instance_noise._flip_rates(rate, 3, np.arange(20_000)), law.cdf).pvalue > 1e-3


def test_over_many_seeds_every_class_is_reached_evenly(images):
    # For one image and random weights no wrong class is preferred.
    counts = np.zeros(5)
    for seed in range(60):
        noisy = inject_instance_noise(images[:50], np.zeros(50, int), 5, 0.4, seed=seed)
        counts += np.bincount(noisy, minlength=5)
    assert counts[0] / counts.sum() == pytest.approx(0.6, abs=0.04)
    # Images of one seed share their weights and so are no independent draws: the bound is wide.
    assert chisquare(counts[1:]).statistic < 50


def test_images_that_look_alike_flip_alike():
    rng = np.random.default_rng(1)
    prototypes = rng.integers(40, 216, (40, 3, 8, 8))
    images = np.repeat(prototypes, 50, axis=0) + rng.integers(-8, 9, (2000, 3, 8, 8))
    labels = np.zeros(2000, int)
    noisy = inject_instance_noise(images, labels, 10, 0.4)
    groups = [noisy[i : i + 50][noisy[i : i + 50] > 0] for i in range(0, 2000, 50)]
    agreement = np.mean([np.bincount(group).max() / group.size for group in groups])
    everybody = np.bincount(noisy[noisy > 0]).max() / (noisy > 0).sum()
    assert agreement > 0.75
    assert everybody < 0.35


def test_order_chunks_threads_and_source_change_nothing(images, monkeypatch):
    noisy = inject_instance_noise(images, LABELS, 5, 0.4, seed=3)
    assert noisy.dtype == np.int64
    order = np.random.default_rng(2).permutation(600)
    shuffled = inject_instance_noise(images[order], LABELS[order], 5, 0.4, seed=3, record_ids=order)
    np.testing.assert_array_equal(shuffled, noisy[order])
    shard = inject_instance_noise(images[100:], LABELS[100:], 5, 0.4, seed=3, record_ids=np.arange(100, 600))
    np.testing.assert_array_equal(shard, noisy[100:])
    for threads, chunk in ((1, 1), (2, 8 * 48 * 7), (7, 1 << 24)):
        monkeypatch.setattr(instance_noise, "available_processors", lambda n=threads: n)
        monkeypatch.setattr(instance_noise, "CHUNK_BYTES", chunk)
        split = Split(images)
        np.testing.assert_array_equal(inject_instance_noise(split, LABELS, 5, 0.4, seed=3), noisy)
        assert max(split.asked) <= max(chunk // (8 * 48), 1)
    # Standardised images know neither brightness nor contrast.
    np.testing.assert_array_equal(inject_instance_noise(images * 2.0 + 7, LABELS, 5, 0.4, seed=3), noisy)
    assert (inject_instance_noise(images, LABELS, 5, 0.4, seed=4) != noisy).mean() > 0.3


def test_rate_0_changes_nothing_and_flat_images_are_fine(images):
    np.testing.assert_array_equal(inject_instance_noise(images, LABELS, 5, 0), LABELS)
    flat = inject_instance_noise(np.zeros((3000, 2, 2), np.uint8), np.zeros(3000, int), 3, 0.5)
    assert chisquare(np.bincount(flat), [1500, 750, 750]).pvalue > 1e-4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": 1.5}, r"\[0, 1\], got 1.5"),
        ({"num_classes": 1}, "num_classes=1"),
        ({"labels": LABELS + 1}, r"0..4, got 5 at position 4"),
        ({"labels": LABELS[:10]}, r"\(10, ...\), got uint8 of shape \(600, 3, 4, 4\)"),
        ({"labels": []}, "at least one label"),
        ({"images": Split(np.zeros((5, 1, 2, 2), np.uint8))}, "600 labels, got 5 images"),
        ({"images": np.full((600, 4), "a")}, "images must be numbers"),
        ({"images": np.where(np.arange(2400) == 1201, np.nan, 0.5).reshape(600, 4)}, "image 300 are not"),
        ({"seed": -1}, "got -1"),
        ({"record_ids": [1]}, "record_ids must have 600 values, got 1"),
    ],
)
def test_bad_input_is_named(images, change, message):
    arguments = {"images": images, "labels": LABELS, "num_classes": 5, "rate": 0.4, **change}
    with pytest.raises(ValueError, match=message):
        inject_instance_noise(**arguments)
