"""ProbabilityMoments against numpy.var of the list of all values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfie_io.labels.moments import ProbabilityMoments

VISITS = st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1)), max_size=30)


@settings(deadline=None)  # the first call compiles
@given(st.lists(VISITS, max_size=3))
def test_equals_the_list_of_all_values(batches):
    moments, lists = ProbabilityMoments(4), [[] for _ in range(4)]
    for batch in batches:
        moments.record([index for index, _ in batch], [value for _, value in batch])
        for index, value in batch:
            lists[index].append(value)
    everyone = np.arange(4)
    assert moments.visits(everyone).tolist() == [len(values) for values in lists]
    for ask, reference in ((moments.mean, np.mean), (moments.variance, np.var)):
        expected = [reference(values) if values else 0 for values in lists]
        np.testing.assert_allclose(ask(everyone), expected, rtol=0, atol=1e-14)


def test_tiny_variances_survive_many_visits():
    values = 0.999 + 1e-7 * np.sin(np.arange(10_000))
    moments = ProbabilityMoments(1)
    moments.record(np.zeros(10_000, int), values)
    assert moments.variance([0])[0] == pytest.approx(np.var(values), rel=1e-8)


def test_state_survives_and_is_a_copy():
    moments, other = ProbabilityMoments(3), ProbabilityMoments(3)
    moments.record([0, 0, 2], np.float32([0.25, 0.5, 1]))
    other.load_state_dict(moments.state_dict())
    moments.record([2], [0.0])
    assert other.variance([2])[0] == 0
    other.record([2], [0.0])
    for ask in ("visits", "mean", "variance"):
        assert getattr(other, ask)([0, 1, 2]).tolist() == getattr(moments, ask)([0, 1, 2]).tolist()
    moments.clear()
    assert moments.visits([0, 1, 2]).tolist() == [0, 0, 0]
    assert moments.variance([0]).tolist() == [0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"visits": np.zeros(2, np.int32)}, r"visits must be int32 \(3,\) here, got int32 \(2,\)"),
        ({"means": np.zeros(3, np.float32)}, "float32"),
        ({"squares": np.array([0, np.nan, 0])}, "squares must be finite"),
        ({"visits": np.array([0, -1, 0], np.int32)}, "got -1"),
        ({"more": np.zeros(3)}, "more"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change, message):
    moments = ProbabilityMoments(3)
    moments.record([1], [0.5])
    with pytest.raises(ValueError, match=message):
        moments.load_state_dict({**moments.state_dict(), **change})
    assert moments.mean([0, 1, 2]).tolist() == [0, 0.5, 0]


def test_bad_arguments_are_named_and_record_nothing():
    moments = ProbabilityMoments(3)
    for index in (3, -1):
        with pytest.raises(IndexError, match=rf"0..2, got {index} at position 1"):
            moments.record([0, index], [0.5, 0.5])
        with pytest.raises(IndexError, match=rf"got {index} at position 0"):
            moments.variance([index])
    for value in (1.5, -0.1, float("nan")):
        with pytest.raises(ValueError, match=rf"\[0, 1\], got {value} at position 1"):
            moments.record([0, 1], [0.5, value])
    with pytest.raises(ValueError, match=r"\(2,\), got \(1,\)"):
        moments.record([0, 1], [0.5])
    with pytest.raises(ValueError, match="num_samples must be positive, got 0"):
        ProbabilityMoments(0)
    assert moments.visits([0, 1, 2]).tolist() == [0, 0, 0]
