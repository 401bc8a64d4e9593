"""What a checkpoint with a right digest may not say."""

import pytest

from selfie_train.runs.log import COLUMNS, checked_rows
from selfie_train.training.position import Position, checked_rate

TOLD = {"run": 1, "epoch": 4, "batch": 7, "step": 50, "images": 9, "seconds": 0.5}


@pytest.mark.parametrize("name", ["run", "epoch", "batch", "step", "images", "seconds", "more"])
@pytest.mark.parametrize("value", [{}, "x", None, -1, 2**70, [1], float("nan")])
def test_a_position_outside_of_the_run_is_refused(name, value):
    with pytest.raises(ValueError, match=name):
        Position.read(TOLD | {name: value}, runs=2, epochs=4, batches=7)


@pytest.mark.parametrize("told", [5, None, [], {}, {key: 1 for key in TOLD if key != "epoch"}])
def test_a_position_is_whole(told):
    with pytest.raises(ValueError, match="a position must have run, epoch"):
        Position.read(told, runs=2, epochs=4, batches=7)


@pytest.mark.parametrize("rate", ["x", None, True, -0.1, 5, float("nan"), [], {}])
def test_a_noise_rate_is_a_share(rate):
    with pytest.raises(ValueError, match="noise_rate must be in"):
        checked_rate(rate)
    assert checked_rate(0.4) == 0.4


def test_a_position_of_the_run_is_kept():
    assert Position.read(TOLD, runs=2, epochs=4, batches=7) == Position(**TOLD)


@pytest.mark.parametrize("rows", [5, {}, [5], [{}], [{"epoch": 1}], [dict.fromkeys(COLUMNS, "x")]])
def test_rows_that_are_none_are_refused(rows):
    with pytest.raises(ValueError, match="row"):
        checked_rows(rows)
