"""Noise drawn from a matrix: distribution, exact counts, independence of order and threads, bad input."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from selfie_io.labels.noise import (
    inject_noise,
    keyed_bits,
    observed_matrix,
    observed_noise_rate,
    stream_base,
    transition_matrix,
)

MASK = (1 << 64) - 1


def splitmix64(base, key):
    """Draw `key` of the published sequence from `base`, in plain integers."""
    bits = (base + (key + 1) * 0x9E3779B97F4A7C15) & MASK
    bits = ((bits ^ bits >> 30) * 0xBF58476D1CE4E5B9) & MASK
    bits = ((bits ^ bits >> 27) * 0x94D049BB133111EB) & MASK
    return bits ^ bits >> 31


def test_the_generator_is_the_published_one():
    # The first outputs of SplitMix64 from 1234567, as its reference implementation prints them.
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert [splitmix64(1234567, key) for key in range(4)] == expected
    assert keyed_bits(np.uint64(1234567), np.arange(4)).tolist() == expected
    assert int(stream_base(5, 0)) == splitmix64(5, 0)


def test_draws_follow_the_documented_rule():
    # docs/noise.md: the high half picks a column, the low half says whether to keep it. With two classes the
    # alias table needs no algorithm: a column is kept by its own weight, or gives way to the other one.
    labels = np.zeros(2000, np.int64)
    noisy = inject_noise(labels, [[0.75, 0.25], [0, 1]], seed=9)
    base = splitmix64(9, 0)
    for index in range(2000):
        bits = splitmix64(base, index)
        column, low = (bits >> 32) * 2 >> 32, bits & 0xFFFFFFFF
        assert noisy[index] == (1 if column == 1 and low < 1 << 31 else 0)


KINDS = [
    ("symmetric", 10, 0.2, {}),
    ("symmetric", 10, 0.5, {"include_true": True}),
    ("symmetric", 200, 0.4, {}),
    ("pair", 10, 0.4, {}),
    ("asymmetric", 10, 0.3, {}),
    ("asymmetric", 100, 0.4, {}),
]


@pytest.mark.parametrize(("kind", "num_classes", "rate", "options"), KINDS)
def test_every_class_follows_its_row_over_many_seeds(kind, num_classes, rate, options):
    matrix = transition_matrix(kind, num_classes, rate, **options)
    labels = np.repeat(np.arange(num_classes), 500)
    counts = np.zeros((num_classes, num_classes))
    for seed in range(40):
        np.add.at(counts, (labels, inject_noise(labels, matrix, seed=seed)), 1)
    assert counts[matrix == 0].sum() == 0
    p_values = np.array(
        [
            chisquare(counts[c, row > 0], row[row > 0] * 500 * 40).pvalue
            for c, row in enumerate(matrix)
            if row.max() < 1
        ]
    )
    # With right draws the p values are uniform: the smallest of k is below 1e-4 / k once in 10,000 runs.
    assert p_values.min() > 1e-4 / p_values.size
    assert 0.25 < p_values.mean() < 0.75


def test_any_matrix_and_neighbouring_seeds_and_keys():
    matrix = np.random.default_rng(3).dirichlet(np.full(7, 0.3), 7)
    labels = np.full(70_000, 2)
    draws = [inject_noise(labels, matrix, seed=seed) for seed in (0, 1)]
    assert chisquare(np.bincount(draws[0], minlength=7), matrix[2] * labels.size).pvalue > 1e-6
    # Independence: of two seeds at one key, and of one seed at two keys in a row.
    for first, second in ((draws[0], draws[1]), (draws[0][:-1], draws[0][1:])):
        joint = np.bincount(first * 7 + second, minlength=49)
        expected = np.outer(matrix[2], matrix[2]).ravel() * first.size
        frequent = expected > 5
        scale = joint[frequent].sum() / expected[frequent].sum()
        assert chisquare(joint[frequent], expected[frequent] * scale).pvalue > 1e-6


@settings(deadline=None)
@given(st.integers(2, 12), st.floats(0, 1), st.sampled_from(["symmetric", "pair"]), st.integers(0, 2**64 - 1))
def test_matrices_are_row_stochastic_and_rate_0_changes_nothing(num_classes, rate, kind, seed):
    matrix = transition_matrix(kind, num_classes, rate)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=0, atol=1e-15 * num_classes)
    assert matrix.min() >= 0
    labels = np.arange(50) % num_classes
    clean = transition_matrix(kind, num_classes, 0)
    np.testing.assert_array_equal(clean, np.eye(num_classes))
    np.testing.assert_array_equal(inject_noise(labels, clean, seed=seed), labels)
    np.testing.assert_array_equal(inject_noise(labels, clean, seed=seed, exact=True), labels)


@settings(deadline=None)
@given(st.data(), st.integers(2, 6), st.integers(1, 60), st.integers(0, 3))
def test_exact_counts_are_the_nearest_integers(data, num_classes, size, seed):
    labels = np.array(data.draw(st.lists(st.integers(0, num_classes - 1), min_size=size, max_size=size)))
    weights = np.array(
        data.draw(
            st.lists(
                st.lists(st.integers(0, 9), min_size=num_classes, max_size=num_classes).filter(any),
                min_size=num_classes,
                max_size=num_classes,
            )
        )
    )
    matrix = weights / weights.sum(axis=1, keepdims=True)
    noisy = inject_noise(labels, matrix, seed=seed, exact=True)
    for label in range(num_classes):
        members = (labels == label).sum()
        counts = np.bincount(noisy[labels == label], minlength=num_classes)
        assert counts.sum() == members
        assert (np.abs(counts - matrix[label] * members) < 1 + 1e-6).all()
        assert counts[matrix[label] == 0].sum() == 0


def test_exact_counts_of_round_numbers():
    labels = np.repeat(np.arange(10), 5000)
    noisy = inject_noise(labels, transition_matrix("pair", 10, 0.4), exact=True)
    np.testing.assert_array_equal(observed_matrix(labels, noisy, 10), transition_matrix("pair", 10, 0.4))
    assert observed_noise_rate(labels, noisy) == 0.4
    # 1,000 / 9 to each other class leaves one: it goes to the next class, not always to class 0.
    noisy = inject_noise(labels, transition_matrix("symmetric", 10, 0.2), exact=True)
    assert np.bincount(noisy[labels == 3]).tolist() == [111, 111, 111, 4000, 112, *[111] * 5]
    other = inject_noise(labels, transition_matrix("symmetric", 10, 0.2), exact=True, seed=1)
    assert 0.2 < (noisy != other).mean() < 0.5  # the seed says which ones


@pytest.mark.parametrize("exact", [False, True])
def test_reordering_by_record_id_changes_nothing(exact):
    rng = np.random.default_rng(0)
    labels, ids = rng.integers(0, 10, 1000), rng.permutation(1 << 20)[:1000].astype(np.uint32)
    matrix = transition_matrix("symmetric", 10, 0.5)
    noisy = inject_noise(labels, matrix, seed=3, record_ids=ids, exact=exact)
    order = rng.permutation(1000)
    shuffled = inject_noise(labels[order], matrix, seed=3, record_ids=ids[order], exact=exact)
    np.testing.assert_array_equal(shuffled, noisy[order])


def test_shards_and_threads_change_nothing():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 10_001)
    matrix = transition_matrix("symmetric", 10, 0.5)
    noisy = inject_noise(labels, matrix, seed=3)
    for cut in (1, 5000):
        parts = [
            inject_noise(labels[s], matrix, seed=3, record_ids=np.arange(10_001)[s])
            for s in (slice(0, cut), slice(cut, None))
        ]
        np.testing.assert_array_equal(np.concatenate(parts), noisy)
    for threads in (1, 2, 7):
        np.testing.assert_array_equal(inject_noise(labels, matrix, seed=3, num_threads=threads), noisy)
    narrow = inject_noise(labels.astype(np.uint8), matrix, seed=3)
    assert narrow.dtype == np.int64
    np.testing.assert_array_equal(narrow, noisy)


HALF = [[0.5, 0.5], [0.5, 0.5]]


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
    ("labels", "matrix", "options", "message"),
    [
        ([0, 2], HALF, {}, "labels must be in 0..1, got 2 at position 1"),
        ([0, -1], HALF, {}, "got -1 at position 1"),
        ([], HALF, {}, "at least one label"),
        ([0.0, 1.0], HALF, {}, "float64"),
        ([[0, 1]], HALF, {}, r"shape \(1, 2\)"),
        ([0, 1], [[0.5, 0.4], [0, 1]], {}, "row 0: .*got 0.9"),
        ([0, 1], [[0.5, 0.5], [1.5, -0.5]], {}, "row 1, column 0: .*1.5"),
        ([0, 1], [[np.nan, 1], [0, 1]], {}, "row 0, column 0: .*nan"),
        ([0, 1], [[1.0]], {}, "num_classes=1"),
        ([0, 1], [[0.5, 0.5]], {}, r"square.*\(1, 2\)"),
        ([0, 1], [["a", "b"], ["c", "d"]], {}, "of numbers"),
        ([0, 1], HALF, {"seed": -1}, "got -1"),
        ([0, 1], HALF, {"seed": 1 << 64}, "seed"),
        ([0, 1], HALF, {"seed": 0.5}, "got 0.5"),
        ([0, 1], HALF, {"record_ids": [1]}, "record_ids must have 2 values, got 1"),
        ([0, 1], HALF, {"num_threads": 0}, "num_threads must be positive, got 0"),
    ],
)
def test_bad_input_is_named(labels, matrix, options, message, exact):
    with pytest.raises(ValueError, match=message):
        inject_noise(labels, matrix, exact=exact, **options)


def test_importing_compiles_nothing():
    code = (
        "from selfie_io.labels import _kernels, history, noise\n"
        "kernels = [v for v in vars(_kernels).values() if hasattr(v, 'signatures')]\n"
        "print(len(kernels), sum(len(v.signatures) for v in kernels))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    kernels, compiled = map(int, done.stdout.split())
    assert kernels > 5
    assert compiled == 0


def test_where_no_folder_can_keep_compiled_kernels_they_work_all_the_same():
    code = "from selfie_io.labels.noise import inject_noise; print(inject_noise([0, 1], [[0, 1], [1, 0]]))"
    environment = {**os.environ, "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "[1 0]", done.stderr
