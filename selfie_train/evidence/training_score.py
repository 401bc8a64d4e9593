"""What a run's own statistics add to the posterior of evidence that is out of sample.

A network that trained on a label may have memorised it, so its word on that label is no probability. What it
is worth is learnt from the other evidence: a logistic regression tells the posterior P(the given label is
wrong) from STATISTIC alone, the mean rank of the record's loss over the epochs. Its log odds, less those of
the overall rate and times SHARE, are added to the posterior's own. The ranks of a run that memorised
everything from the first epoch on predict nothing; the regression then is flat, and nothing is added. SHARE
is below 1 because what is hard for one network is hard for the other. The mean score stays as it was.

STATISTIC and SHARE were chosen on injected symmetric noise, on a run of Default that had memorised its labels
and on one of SELFIE, among the columns of `TrainingStatistics` and the last networks in eval mode.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit

from selfie_train.evidence.likelihood import with_wrong

STATISTIC = "loss_rank"
SHARE = 0.5
RIDGE = 1.0  # of the slope, in records
LEAST_RECORDS = 10
FLAT = 0.05  # log odds, the spread below which the run says nothing
_FLOOR = 1e-4
_STEPS = 30


@dataclass(frozen=True)
class RunsWord:
    """log_odds float64 (N,): what the run says of a wrong label; spread: their standard deviation."""

    log_odds: NDArray[np.float64]
    spread: float

    @property
    def says_nothing(self) -> bool:
        """Whether the statistics tell wrong labels from right ones no better than chance."""
        return self.spread < FLAT


def runs_word(statistics: Mapping[str, NDArray[np.float64]], score: NDArray[np.float64]) -> RunsWord:
    """What the statistics, each (N,) with NaN where unknown, say beside the scores float64 (N,)."""
    values = statistics[STATISTIC]
    known = np.isfinite(values)
    found = np.zeros(len(score))
    if known.sum() < LEAST_RECORDS or score[known].std() == 0 or values[known].std() == 0:
        return RunsWord(found, 0.0)
    column = (values[known] - values[known].mean()) / values[known].std()
    base = float(logit(np.clip(score[known].mean(), _FLOOR, 1 - _FLOOR)))
    offset, slope = _logistic_regression(column, score[known], base)
    if slope <= 0:  # a higher loss must never speak for the label
        return RunsWord(found, 0.0)
    found[known] = offset + slope * column - base
    return RunsWord(found, float(found[known].std()))


def with_runs_word(
    posterior: NDArray[np.float32], score: NDArray[np.float64], given: NDArray[np.int64], word: RunsWord
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The posterior float32 (N, k) and the score float64 (N,) with a run's word on the given labels.

    The mean score is kept.
    """
    if word.says_nothing:
        return posterior, score
    moved = logit(np.clip(score, 1e-12, 1 - 1e-12)) + SHARE * word.log_odds
    mean = float(np.clip(score.mean(), 1e-6, 1 - 1e-6))
    shift = brentq(lambda value: expit(moved + value).mean() - mean, -40, 40)
    wrong = expit(moved + shift)
    return with_wrong(posterior, given, wrong), wrong


def _logistic_regression(
    column: NDArray[np.float64], targets: NDArray[np.float64], start: float
) -> tuple[float, float]:
    """Offset and slope by Newton's method; the targets are probabilities."""
    table = np.column_stack([np.ones(len(column)), column])
    weights = np.array([start, 0.0])
    penalty = np.diag([0.0, RIDGE])
    for _ in range(_STEPS):
        fitted = expit(table @ weights)
        gradient = table.T @ (fitted - targets) + penalty @ weights
        curvature = (table * (fitted * (1 - fitted))[:, None]).T @ table + penalty
        step = np.linalg.solve(curvature + 1e-9 * np.eye(2), gradient)
        weights -= step
        if np.abs(step).max() < 1e-8:
            break
    return float(weights[0]), float(weights[1])
