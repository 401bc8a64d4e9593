"""SELFIE's choice against a slow one written from its description with dicts and loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfie_train.refurbish import Refurbisher, num_small_loss, small_loss


class SlowSelfie:
    """One sample at a time, one batch at a time. Each official quirk is one branch."""

    def __init__(self, num_samples, num_classes, q, threshold, official, reuse):
        self.num_samples, self.num_classes, self.q = num_samples, num_classes, q
        self.threshold, self.official, self.reuse = threshold, official, reuse or official
        self.predictions = {i: self.empty_history() for i in range(num_samples)}
        self.corrected = {}

    def empty_history(self):
        return [0] * self.q if self.official else []

    def record(self, ids, predicted):
        for sample, guess in zip(ids, predicted, strict=True):
            self.predictions[sample] = [*self.predictions[sample], guess][-self.q :]

    def uncertainty(self, sample):
        entropy = 0.0
        for label in set(self.predictions[sample]):
            share = self.predictions[sample].count(label) / self.q
            entropy -= share * math.log(share)
        return entropy / math.log(self.num_classes)

    def majority(self, sample):
        votes = self.predictions[sample]
        return max(range(self.num_classes), key=lambda label: (votes.count(label), -label))

    def select(self, ids, labels, losses, clean_count):
        by_loss = sorted(range(len(ids)), key=lambda place: (losses[place], place))
        clean = set(by_loss[:clean_count])
        rows = []
        for place, sample in enumerate(ids):
            full = len(self.predictions[sample]) == self.q
            refurbished = full and self.uncertainty(sample) <= self.threshold
            if refurbished:
                self.corrected[sample] = self.majority(sample)
            elif self.reuse and sample in self.corrected:
                refurbished = True
            target = self.corrected[sample] if refurbished else labels[place]
            rows.append((target, float(refurbished or place in clean), place in clean, refurbished))
        return rows

    def restart(self):
        for sample in self.predictions:
            self.predictions[sample] = self.empty_history()


@pytest.mark.parametrize("variant", ["paper", "official"])
@pytest.mark.parametrize("num_classes", [2, 3, 10, 100, 200])
def test_a_thousand_batches_with_ties_equal_the_slow_reference(variant, num_classes):
    rng = np.random.default_rng(num_classes)
    num_samples, q, reuse = 60, 15, bool(num_classes % 2)
    fast = Refurbisher(num_samples, num_classes, variant=variant, reuse_refurbished=reuse)
    slow = SlowSelfie(num_samples, num_classes, q, 0.05, variant == "official", reuse)
    favourite = rng.integers(num_classes, size=num_samples)
    wavering = rng.choice([0.0, 0.02, 0.5], size=num_samples)
    refurbished = 0
    for step in range(1000):
        size = int(rng.integers(1, 33))
        ids = rng.choice(num_samples, size, replace=False)
        labels = rng.integers(num_classes, size=size)
        losses = rng.integers(6, size=size).astype(np.float32) / 4  # six values: ties everywhere
        percent = int(rng.integers(101))
        clean_count = -(-size * (100 - percent) // 100)
        selection = fast.select(ids, labels, losses, percent / 100)
        assert list(zip(*(column.tolist() for column in selection), strict=True)) == slow.select(
            ids.tolist(), labels.tolist(), losses.tolist(), clean_count
        )
        refurbished += int(selection.refurbished.sum())
        random_class = rng.integers(num_classes, size=size)
        predicted = np.where(rng.random(size) < wavering[ids], random_class, favourite[ids])
        fast.record(ids, predicted)
        slow.record(ids.tolist(), predicted.tolist())
        if step % 400 == 399:
            fast.restart()
            slow.restart()
    expected = [slow.corrected.get(sample, -1) for sample in range(num_samples)]
    assert fast.refurbished_labels().tolist() == expected
    assert refurbished > 500


@pytest.mark.parametrize(("num_classes", "votes_needed"), [(10, 15), (100, 15), (200, 14)])
def test_one_dissenting_vote_of_fifteen_is_forgiven_only_at_two_hundred_classes(num_classes, votes_needed):
    for votes in (13, 14, 15):
        refurbisher = Refurbisher(1, num_classes)
        for predicted in [1] * votes + [0] * (15 - votes):
            refurbisher.record([0], [predicted])
        selection = refurbisher.select([0], [0], [9.0], noise_rate=1.0)
        assert bool(selection.refurbished[0]) == (votes >= votes_needed)
        assert selection.targets[0] == (1 if votes >= votes_needed else 0)


def test_an_unfilled_history_refurbishes_only_in_the_official_variant():
    paper, official = Refurbisher(1, 10), Refurbisher(1, 10, variant="official")
    for refurbisher in (paper, official):
        for _ in range(14):
            refurbisher.record([0], [0])
    assert not paper.select([0], [7], [1.0], 1.0).refurbished[0]
    assert official.select([0], [7], [1.0], 1.0).targets[0] == 0
    paper.record([0], [0])
    assert paper.select([0], [7], [1.0], 1.0).targets[0] == 0


def test_what_a_wavering_sample_learns_after_it_was_refurbished():
    outcomes = {}
    for name, options in {
        "paper": {},
        "reuse": {"reuse_refurbished": True},
        "official": {"variant": "official"},
    }.items():
        refurbisher = Refurbisher(1, 10, history_length=3, **options)
        for _ in range(3):
            refurbisher.record([0], [4])
        refurbisher.select([0], [7], [1.0], 1.0)
        refurbisher.record([0], [5])
        clean = refurbisher.select([0], [7], [1.0], 0.0)
        dropped = refurbisher.select([0], [7], [1.0], 1.0)
        outcomes[name] = (
            int(clean.targets[0]),
            float(dropped.weights[0]),
            int(refurbisher.warmup_targets([0], [7])[0]),
        )
    assert outcomes == {"paper": (7, 0.0, 7), "reuse": (4, 1.0, 7), "official": (4, 1.0, 4)}


def test_a_restart_keeps_the_labels_and_lowers_the_noise_rate():
    refurbisher = Refurbisher(4, 10, history_length=1)
    refurbisher.record([0, 1, 2], [3, 3, 3])
    refurbisher.select([0, 1, 2], [0, 0, 0], [1.0, 1.0, 1.0], 0.4)
    refurbisher.restart()
    assert refurbisher.refurbished_labels().tolist() == [3, 3, 3, -1]
    assert refurbisher.estimated_noise_rate(0.4) == 0.25
    assert refurbisher.estimated_noise_rate(0.1) == 0.1
    assert not refurbisher.select([0], [0], [1.0], 1.0).refurbished[0]


def test_with_the_given_labels_the_rate_stays_above_what_was_found_wrong():
    refurbisher = Refurbisher(10, 10, history_length=1)
    everyone = np.arange(9)
    refurbisher.record(everyone, np.full(9, 3))
    given = np.array([3, 3, 3, 3, 3, 3, 1, 2, 4, 5])
    refurbisher.select(everyone, given[:9], np.ones(9), 0.4)
    assert refurbisher.estimated_noise_rate(0.4) == pytest.approx(0.1)  # the paper's: one was not refurbished
    assert refurbisher.estimated_noise_rate(0.4, given) == pytest.approx(3 / 9)
    assert refurbisher.estimated_noise_rate(0.2, given) == 0.2
    given[9] = -1  # left out: it could not be refurbished
    given[6:9] = 3
    assert refurbisher.estimated_noise_rate(0.4, given) == 0
    assert Refurbisher(10, 10).estimated_noise_rate(0.4, given) == 0.4


@settings(deadline=None)  # a busy machine may take long
@given(st.integers(1, 5000), st.integers(0, 1000))
def test_the_clean_count_is_exact_for_rates_in_thousandths(batch_size, thousandths):
    exact = -(-batch_size * (1000 - thousandths) // 1000)
    assert num_small_loss(batch_size, thousandths / 1000) == exact


@settings(deadline=None)  # a busy machine may take long
@given(st.integers(1, 300), st.integers(1, 100_000), st.integers(0, 100_000))
def test_the_clean_count_is_exact_for_observed_rates(batch_size, samples, noisy):
    noisy = min(noisy, samples)
    assert num_small_loss(batch_size, noisy / samples) == -(-batch_size * (samples - noisy) // samples)


def test_the_clean_count_where_floating_point_goes_wrong():
    assert math.ceil(10 * (1 - 0.7)) == 4  # the naive formula
    assert num_small_loss(10, 0.7) == 3
    assert num_small_loss(10, 0.3) == 7


def test_equal_losses_keep_the_earlier_and_nan_comes_last():
    assert small_loss([1.0, np.nan, 1.0, 0.5], 0.5).tolist() == [True, False, False, True]
    assert small_loss([np.nan, 3.0], 0.5).tolist() == [False, True]


def test_the_state_goes_on_as_if_never_stopped():
    rng = np.random.default_rng(0)
    first, second = Refurbisher(30, 5, history_length=4), Refurbisher(30, 5, history_length=4)
    for step in range(40):
        if step == 20:
            second.load_state_dict(first.state_dict())
        ids = rng.choice(30, 10, replace=False)
        labels, losses, predicted = rng.integers(5, size=10), rng.random(10), rng.integers(2, size=10)
        expected = first.select(ids, labels, losses, 0.3)
        first.record(ids, predicted)
        if step >= 20:
            actual = second.select(ids, labels, losses, 0.3)
            second.record(ids, predicted)
            for one, other in zip(expected, actual, strict=True):
                np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="must be int64 of 31 samples, got int64 of 30"):
        Refurbisher(31, 5, history_length=4).load_state_dict(first.state_dict())


def test_bad_values_are_named():
    refurbisher = Refurbisher(4, 3)
    with pytest.raises(ValueError, match=r"noise_rate must be in \[0, 1\], got 1.5"):
        refurbisher.select([0], [0], [1.0], 1.5)
    with pytest.raises(ValueError, match="must have one length"):
        refurbisher.select([0, 1], [0], [1.0], 0.5)
    with pytest.raises(IndexError, match="4"):
        refurbisher.select([4], [0], [1.0], 0.5)
    with pytest.raises(ValueError, match="one of paper, official; got 'tf'"):
        Refurbisher(4, 3, variant="tf")
    with pytest.raises(ValueError, match=r"threshold must be in \[0, 1\].*got 2"):
        Refurbisher(4, 3, threshold=2)
