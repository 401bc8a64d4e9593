"""LabelHistory against a list of votes a sample, SciPy's entropy and the figures of the SELFIE paper."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy

from selfie_io.labels.history import LabelHistory


class SlowHistory:
    """The obvious one: the list of all votes of every sample."""

    def __init__(self, num_samples, num_classes, length, prefilled=False):
        self.num_classes, self.length = num_classes, length
        self.visits = [0] * num_samples
        self.votes = [[0] * length if prefilled else [] for _ in range(num_samples)]

    def record(self, indices, predicted):
        for index, label in zip(indices, predicted, strict=True):
            self.visits[index] += 1
            self.votes[index] = [*self.votes[index], label][-self.length :]

    def counts(self):
        return np.array([np.bincount(votes, minlength=self.num_classes) for votes in self.votes])

    def entropy(self):
        return np.array(
            [scipy_entropy(c) / math.log(self.num_classes) if c.sum() else 1.0 for c in self.counts()]
        )


def assert_equal(history, slow):
    np.testing.assert_array_equal(history.counts(), slow.counts())
    np.testing.assert_array_equal(history.majority(), slow.counts().argmax(axis=1))
    np.testing.assert_array_equal(history.visits(), slow.visits)
    np.testing.assert_allclose(history.entropy(), slow.entropy(), rtol=0, atol=1e-12)


@settings(deadline=None)  # the first call compiles
@given(st.data(), st.integers(1, 5), st.integers(2, 6), st.integers(1, 7), st.booleans())
def test_equals_the_obvious_history(data, num_samples, num_classes, length, prefilled):
    history = LabelHistory(num_samples, num_classes, length, prefilled=prefilled)
    slow = SlowHistory(num_samples, num_classes, length, prefilled)
    votes = st.lists(st.tuples(st.integers(0, num_samples - 1), st.integers(0, num_classes - 1)), max_size=40)
    for _ in range(3):
        batch = data.draw(votes)
        indices, predicted = [i for i, _ in batch], [p for _, p in batch]
        history.record(indices, predicted)
        slow.record(indices, predicted)
        assert_equal(history, slow)


@pytest.mark.parametrize("num_classes", [256, 257, 1000])
def test_many_classes_and_long_histories_do_not_drift(num_classes):
    rng = np.random.default_rng(0)
    history, slow = LabelHistory(20, num_classes, 15), SlowHistory(20, num_classes, 15)
    for _ in range(500):
        indices = rng.integers(0, 20, 32)
        predicted = np.where(rng.random(32) < 0.6, indices, rng.integers(0, num_classes, 32))
        predicted[0] = num_classes - 1
        history.record(indices, predicted)
        slow.record(indices, predicted)
    assert_equal(history, slow)
    fresh = LabelHistory(20, num_classes, 15)
    fresh.load_state_dict(history.state_dict())
    np.testing.assert_array_equal(fresh.entropy(), history.entropy())  # to the bit


@pytest.mark.parametrize(("num_classes", "expected"), [(10, 0.1064), (100, 0.0532), (200, 0.0462)])
def test_one_dissenting_vote_of_fifteen(num_classes, expected):
    history = LabelHistory(1, num_classes)
    history.record([0] * 15, [3] * 7 + [7] + [3] * 7)
    assert history.entropy([0])[0] == pytest.approx(expected, abs=5e-5)
    assert history.majority([0])[0] == 3


def test_entropy_is_exactly_zero_and_at_most_one():
    history = LabelHistory(2, 2, 2)
    history.record([0, 0, 1, 1], [1, 1, 0, 1])
    assert history.entropy().tolist() == [0.0, 1.0]


def test_unfilled_rings_are_told_apart():
    history = LabelHistory(3, 4, 3)
    history.record([1, 2, 2, 2, 2], [2, 3, 1, 1, 1])
    assert history.visits().tolist() == [0, 1, 4]
    assert history.entropy().tolist() == [1.0, 0.0, 0.0]
    assert history.counts([0, 1]).tolist() == [[0, 0, 0, 0], [0, 0, 1, 0]]


def test_prefilled_votes_count_until_they_are_pushed_out():
    history = LabelHistory(1, 10, 3, prefilled=True)
    assert history.counts()[0].tolist() == [3] + [0] * 9
    history.record([0, 0], [4, 4])
    assert (history.majority()[0], history.visits()[0]) == (4, 2)
    assert history.counts()[0, [0, 4]].tolist() == [1, 2]
    history.clear(keep_visits=True)
    assert (history.majority()[0], history.entropy()[0], history.visits()[0]) == (0, 0.0, 2)
    history.record([0], [5])
    assert history.counts()[0, [0, 5]].tolist() == [2, 1]
    history.clear()
    assert history.visits()[0] == 0


def test_clear_and_its_limits():
    history = LabelHistory(2, 3, 2)
    history.record([0, 1], [2, 2])
    with pytest.raises(ValueError, match="prefilled=True"):
        history.clear(keep_visits=True)
    history.clear()
    assert_equal(history, SlowHistory(2, 3, 2))


def test_asking_in_threads_gives_the_same(monkeypatch):
    rng = np.random.default_rng(1)
    history = LabelHistory(300_000, 10, 3)
    history.record(rng.integers(0, 300_000, 500_000), rng.integers(0, 10, 500_000))
    order = rng.permutation(300_000)
    answers = []
    for threads in (1, 2, 7):
        monkeypatch.setattr("selfie_io.labels._threads.available_processors", lambda n=threads: n)
        answers.append([history.entropy(order), history.majority(order), history.visits(order)])
    for answer in answers[1:]:
        for one, other in zip(answers[0], answer, strict=True):
            np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(answers[0][0], history.entropy()[order])
    order[[150_000, 290_000]] = 300_000, -1  # the first one is told, whichever thread meets its own first
    with pytest.raises(IndexError, match="got 300000 at position 150000"):
        history.entropy(order)


def test_state_survives_and_is_a_copy():
    history = LabelHistory(4, 5, 3)
    history.record([0, 1, 1, 3], [4, 2, 3, 0])
    state = history.state_dict()
    before = {key: value.copy() for key, value in state.items()}
    history.record([0], [1])
    for key, value in before.items():
        np.testing.assert_array_equal(state[key], value)
    other = LabelHistory(4, 5, 3)
    other.load_state_dict(state)
    other.record([0], [1])
    np.testing.assert_array_equal(other.counts(), history.counts())
    np.testing.assert_array_equal(other.entropy(), history.entropy())
    np.testing.assert_array_equal(other.majority(), history.majority())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ring": np.zeros((4, 2), np.uint8)}, r"ring .*\(4, 3\).*\(4, 2\)"),
        ({"ring": np.zeros((4, 3), np.int64)}, "uint8.*int64"),
        ({"ring": np.full((4, 3), 5, np.uint8)}, "a vote must be in 0..4, the state has 5"),
        ({"visits": np.full(4, -1, np.int32)}, "-1"),
        ({"num_classes": np.array(6)}, "num_classes of this history is 5, the state has 6"),
        ({"prefilled": np.array(True)}, "prefilled"),
        ({"more": np.array(1)}, "more"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change, message):
    history = LabelHistory(4, 5, 3)
    history.record([0, 1], [4, 2])
    with pytest.raises(ValueError, match=message):
        history.load_state_dict({**history.state_dict(), **change})
    assert history.counts().sum() == 2


def test_bad_arguments_are_named_and_record_nothing():
    history = LabelHistory(3, 4, 2)
    for indices in ([0, 3], [0, -1]):
        with pytest.raises(IndexError, match=rf"0..2, got {indices[1]} at position 1"):
            history.record(indices, [1, 1])
        for ask in (history.counts, history.entropy, history.majority, history.visits):
            with pytest.raises(IndexError, match=rf"0..2, got {indices[1]} at position 1"):
                ask(indices)
    for label in (4, -1):
        with pytest.raises(ValueError, match=rf"0..3, got {label} at position 1"):
            history.record([0, 1], [1, label])
    with pytest.raises(ValueError, match="predicted must have 2 values, got 1"):
        history.record([0, 1], [1])
    with pytest.raises(ValueError, match="predicted must be a vector of integers, got float64"):
        history.record([0], [1.0])
    with pytest.raises(ValueError, match="got bool"):
        history.entropy(np.array([True, False, True]))
    with pytest.raises(ValueError, match=r"shape \(1, 1\)"):
        history.entropy([[0]])
    assert history.visits().tolist() == [0, 0, 0]
    assert history.entropy([]).shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0, 10), "num_samples=0"), ((5, 1), "num_classes=1"), ((5, 70000), "70000"), ((5, 10, 0), "length=0")],
)
def test_bad_sizes(arguments, message):
    with pytest.raises(ValueError, match=message):
        LabelHistory(*arguments)


def test_at_most_sixteen_bytes_beside_the_votes():
    for num_classes, vote_bytes in ((256, 1), (257, 2)):
        history = LabelHistory(1000, num_classes, 15)
        arrays = [value for value in vars(history).values() if isinstance(value, np.ndarray)]
        held = sum(a.nbytes for a in arrays if a.shape[:1] == (1000,))
        assert held - 15 * vote_bytes * 1000 <= 16 * 1000
