"""bench_loader --until-quiet repeats a race until the roof's rates agree, for a limited time."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
quiet = import_module("quiet")


def rows(low, high):
    return [
        {"name": "selfie", "min": 1, "median": 50, "max": 99},
        {"name": "roof, 1 threads", "min": low, "median": 100, "max": high},
        {"name": "roof, 2 threads", "min": 100, "median": 120, "max": 200},
    ]


class Races:
    """Each race takes a minute of a clock of its own."""

    def __init__(self, *spreads):
        self.left, self.now = list(spreads), 0

    def race(self):
        self.now += 60
        return rows(100 - self.left[0], 100 + self.left.pop(0))

    def pause(self, seconds):
        self.now += seconds


def test_the_first_quiet_race_ends_it(capsys):
    races = Races(30, 20, 5, 1)
    kept = quiet.until_quiet(races.race, 30, lambda: races.now, races.pause)
    assert quiet.spread(kept) == pytest.approx(0.1)
    assert races.left == [1]
    told = capsys.readouterr().out
    assert "attempt 1: the roof's spread is 60%, more than 15%: once more" in told
    assert "attempt 3: the roof's spread is 10%, at most 15%: quiet" in told


def test_after_the_time_the_quietest_is_kept_and_said(capsys):
    races = Races(30, 10, 20, 1)
    kept = quiet.until_quiet(races.race, 4, lambda: races.now, races.pause)
    assert races.left == [1]  # a fourth would end after 5 minutes
    assert quiet.spread(kept) == pytest.approx(0.2)
    told = capsys.readouterr().out
    assert "never quiet" in told
    assert "the least spread, 20%, is kept" in told
