"""What a checkpoint with a right digest may not say."""

import pytest

from selfie_train.runs.log import COLUMNS, checked_rows
from selfie_train.training.position import Position


@pytest.mark.parametrize("name", ["run", "epoch", "batch", "step", "images", "seconds", "more"])
@pytest.mark.parametrize("value", [{}, "x", None, -1, 2**70, [1], float("nan")])
def test_a_position_outside_of_the_run_is_refused(name, value):
    with pytest.raises((ValueError, TypeError)):
        Position.read({name: value}, runs=2, epochs=4, batches=7)


def test_a_position_of_the_run_is_kept():
    told = {"run": 1, "epoch": 4, "batch": 7, "step": 50, "images": 9, "seconds": 0.5}
    assert Position.read(told, runs=2, epochs=4, batches=7) == Position(**told)


@pytest.mark.parametrize("rows", [5, {}, [5], [{}], [{"epoch": 1}], [dict.fromkeys(COLUMNS, "x")]])
def test_rows_that_are_none_are_refused(rows):
    with pytest.raises(ValueError, match="row"):
        checked_rows(rows)
