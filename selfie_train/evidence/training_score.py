"""What a run's own statistics add to the posterior of evidence that is out of sample.

A network that trained on a label may have memorised it, so its word on that label is no probability. What it
is worth is learnt from the other evidence: a logistic regression tells the posterior P(the given label is
wrong) from the statistics alone. Its log odds, less those of the overall rate and times SHARE, are added to
the posterior's own. A memorised label looks like a right one; statistics of a run that memorised everything
predict nothing, the regression then is flat, and nothing is added. SHARE is below 1 because what is hard for
one network is hard for the other: it was chosen on injected noise. The mean score stays as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit

USED = ("margin", "run_given")  # of the statistics
PROBABILITIES = ("run_given", "given_mean", "given_last")  # whose log odds are taken
SHARE = 0.5
RIDGE = 1.0  # of the standardised coefficients, in records
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


def runs_word(statistics: Mapping[str, NDArray[np.floating]], score: NDArray[np.float64]) -> RunsWord:
    """What the statistics, each (N,) with NaN where unknown, say beside the scores float64 (N,)."""
    known = np.all([np.isfinite(statistics[name]) for name in USED], axis=0)
    found = np.zeros(len(score))
    if known.sum() < 10 or score[known].std() == 0:
        return RunsWord(found, 0.0)
    columns = [statistics[name][known].astype(np.float64) for name in USED]
    columns = [
        logit(np.clip(column, _FLOOR, 1 - _FLOOR)) if name in PROBABILITIES else column
        for name, column in zip(USED, columns, strict=True)
    ]
    deviations = [max(float(column.std()), 1e-9) for column in columns]
    table = np.column_stack(
        [np.ones(known.sum()), *((c - c.mean()) / d for c, d in zip(columns, deviations, strict=True))]
    )
    targets = score[known]
    weights = np.zeros(table.shape[1])
    weights[0] = logit(np.clip(targets.mean(), _FLOOR, 1 - _FLOOR))
    penalty = np.diag([0.0, *([RIDGE] * len(USED))])
    for _ in range(_STEPS):  # Newton's method
        fitted = expit(table @ weights)
        gradient = table.T @ (fitted - targets) + penalty @ weights
        curvature = (table * (fitted * (1 - fitted))[:, None]).T @ table + penalty
        step = np.linalg.solve(curvature + 1e-9 * np.eye(len(weights)), gradient)
        weights -= step
        if np.abs(step).max() < 1e-8:
            break
    # A larger margin or probability of the given label must never speak against it.
    weights[1:] = np.minimum(weights[1:], 0)
    word = table @ weights
    found[known] = word - logit(np.clip(targets.mean(), _FLOOR, 1 - _FLOOR))
    return RunsWord(found, float(word.std()))


def with_runs_word(
    posterior: NDArray[np.float32], given: NDArray[np.int64], word: RunsWord
) -> NDArray[np.float32]:
    """The posterior float32 (N, k) with a run's word on the given labels; the mean score is kept."""
    rows = np.arange(len(given))
    own = posterior[rows, given].astype(np.float64)
    before = logit(np.clip(1 - own, 1e-7, 1 - 1e-7))
    mean = float(np.clip((1 - own).mean(), 1e-6, 1 - 1e-6))
    moved = before + SHARE * word.log_odds
    shift = brentq(lambda value: expit(moved + value).mean() - mean, -30, 30)
    wrong = expit(moved + shift)
    found = posterior.astype(np.float64)
    others = np.maximum(1 - own, 1e-12)
    found *= (wrong / others)[:, None]
    found[rows, given] = 1 - wrong
    normalised: NDArray[np.float32] = (found / found.sum(axis=1, keepdims=True)).astype(np.float32)
    return normalised
