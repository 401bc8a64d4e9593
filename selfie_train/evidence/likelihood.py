"""The noise model that makes given labels most likely: weights of the sources, and P(given | true).

A source s says p_s(true | x) without the record's own label. The sources are pooled, f(j | x) proportional to
the product of p_s(j | x) ** w_s; the given label is drawn from the row T[true]. The weights w and T maximise
the likelihood of the given labels, sum log sum_j f(j | x) T[j, given]. T comes by expectation-maximisation
(Dempster, Laird and Rubin 1977), w by a search in which T is fitted anew. The posterior of record x is
f(j | x) T[j, given], normalised; the score is 1 minus that of the given label.
Where a rate for each pair of classes gains less than Schwarz's criterion asks for (BIC, 1978), T has one
rate for all: else the network's own confusions pass for noise.
(Log-linear pool: Genest and Zidek 1986. T in the likelihood: Patrini et al., CVPR 2017, "forward".)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from selfie_train.evidence.uniform_noise import LEAST_RATE, START_RATE, GivenWord, uniform_matrix

MAX_SEARCHED = 20_000  # records that the weights are searched on
PRIOR = 10.0  # records for each class that the prior of T counts as
SLACK = 0.5  # of the log-likelihood of all records
_FLOOR, _HIGHEST_FLOOR = 1e-12, 1e-4
_SHARPER = (1.25, 1.6, 2.0, 2.5, 3.2, 4.0)
_SEARCH_STEPS, _STEPS = 12, 60  # of expectation-maximisation
_ROWS, _VALUES = 65_536, 1 << 23  # looked at at once

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class NoiseModel:
    """weights float64 (s,); log_pooled, posterior float32 (N, k); transition_matrix float64 (k, k).

    score: float64 (N,), P(the given label is wrong)
    """

    weights: NDArray[np.float64]
    log_pooled: NDArray[np.float32]
    posterior: NDArray[np.float32]
    score: NDArray[np.float64]
    transition_matrix: Matrix
    uniform: bool  # whether T has one rate for all pairs of classes
    unmixed: bool  # whether the evidence had learnt the noise, which then was undone
    loss: float  # of the likeliest weights: mean negative log-likelihood of the given labels
    likeliest: NoiseModel | None = None  # by the likelihood alone, if this one takes the evidence as surer
    highest_rate: float | None = None  # with as much noise as doubt, where that was not believed
    weak: bool = False  # whether the evidence errs too often to tell its errors from noise

    @property
    def pooled(self) -> NDArray[np.float32]:
        """f, float32 (N, k); what it is surest of is rounded to 0 or 1, other than in `log_pooled`."""
        return np.exp(self.log_pooled)

    @property
    def rate(self) -> float:
        """The share of labels that is wrong."""
        return float(self.score.mean())

    @property
    def likeliest_rate(self) -> float | None:
        """The rate by the likelihood alone, where the evidence was taken as surer."""
        return None if self.likeliest is None else self.likeliest.rate

    @property
    def doubt(self) -> float:
        """How often the pool's own best guess is wrong, by its own word."""
        return float(1 - self.pooled.max(axis=1).mean())


def likeliest_model(
    logs: Sequence[NDArray[np.float32]], given: NDArray[np.int64], num_classes: int
) -> NoiseModel:
    """The weights and T of the largest likelihood; of weights that few records cannot tell apart the largest.

    `logs` are `centred_logs` of the sources, each (N, k).
    """
    searched = thinned(len(given))
    rows, labels = [log[searched] for log in logs], given[searched]
    few = len(labels) < PRIOR * num_classes * (num_classes - 1)  # records, for a rate of each pair

    def loss(weights: NDArray[np.float64]) -> float:
        pooled = np.exp(log_pool(rows, weights))
        if few:
            return GivenWord.of(pooled, labels).likeliest_rate(_SEARCH_STEPS)[1]
        return maximise_likelihood(pooled, labels, num_classes, steps=_SEARCH_STEPS)[1]

    start = np.full(len(logs), -np.log(len(logs)))
    options = {"maxfev": 40 * len(logs), "xatol": 0.02, "fatol": 1e-6}
    simplex = np.vstack([start, start + np.eye(len(logs)) * 0.7])
    found = minimize(
        lambda log_weights: loss(np.exp(log_weights)),
        start,
        method="Nelder-Mead",
        options={**options, "initial_simplex": simplex},
    )
    best = weights = np.exp(found.x)
    for factor in _SHARPER:  # few records cannot tell doubt from noise: of equals the surer
        if loss(best * factor) > found.fun + SLACK / len(labels):
            break
        weights = best * factor
    return model_of(weights, log_pool(logs, weights), given)


def model_of(
    weights: NDArray[np.float64], log_pooled: NDArray[np.float32], given: NDArray[np.int64]
) -> NoiseModel:
    """The model of a pool as it is, with the likeliest T."""
    pooled = np.exp(log_pooled)
    matrix, loss, uniform = choose_matrix(pooled, given, pooled.shape[1])
    return NoiseModel(
        weights=weights,
        log_pooled=log_pooled,
        posterior=posterior(pooled, matrix, given),
        score=wrong_probabilities(pooled, matrix, given),
        transition_matrix=matrix,
        uniform=uniform,
        unmixed=False,
        loss=loss,
    )


def choose_matrix(
    pooled: NDArray[np.float32], given: NDArray[np.int64], num_classes: int
) -> tuple[Matrix, float, bool]:
    """T, its loss, and whether one rate for all pairs of classes does as well, by Schwarz's criterion."""
    rate, loss = GivenWord.of(pooled, given).likeliest_rate(_STEPS)
    asked = (num_classes * (num_classes - 1) - 1) / 2 * np.log(len(given))
    if (loss + 1e-6) * len(given) > asked:  # else a loss of 0 would gain too little
        full = maximise_likelihood(pooled, given, num_classes, steps=_STEPS)
        if (loss - full[1]) * len(given) > asked:
            return *full, False
    return uniform_matrix(rate, num_classes), loss, True


def maximise_likelihood(
    pooled: NDArray[np.float32],
    given: NDArray[np.int64],
    num_classes: int,
    *,
    steps: int,
    start: Matrix | None = None,
    record_weights: NDArray[np.float64] | None = None,
) -> tuple[Matrix, float]:
    """T by expectation-maximisation, and the mean negative log-likelihood of the given labels.

    Each row has a Dirichlet prior of PRIOR records around uniform noise of the overall rate.
    """
    same = np.eye(num_classes)
    other = (1 - same) / max(num_classes - 1, 1)
    matrix = same * (1 - START_RATE) + other * START_RATE if start is None else start
    order = np.argsort(given, kind="stable")
    grouped = pooled[order]
    ends = np.cumsum(np.bincount(given, minlength=num_classes)).tolist()
    weight = None if record_weights is None else record_weights[order]
    total = len(given) if weight is None else float(weight.sum())
    loss = 0.0
    for _ in range(steps):
        counts = np.zeros((num_classes, num_classes))  # [true, given]
        loss, begin = 0.0, 0
        for label, end in enumerate(ends):
            joint = grouped[begin:end].astype(np.float64) * matrix[:, label]
            evidence = np.maximum(joint.sum(axis=1), 1e-300)
            ratio = 1 / evidence if weight is None else weight[begin:end] / evidence
            counts[:, label] = ratio @ joint
            logs = np.log(evidence)
            loss -= float(logs.sum() if weight is None else logs @ weight[begin:end])
            begin = end
        rate = max(1 - np.trace(counts) / max(counts.sum(), 1e-300), LEAST_RATE)
        spread = same * (1 - rate) + other * rate
        matrix = counts + PRIOR * spread
        matrix /= matrix.sum(axis=1, keepdims=True)
    return matrix, loss / max(total, 1e-300)


def posterior(pooled: NDArray[np.float32], matrix: Matrix, given: NDArray[np.int64]) -> NDArray[np.float32]:
    """P(true class | record, given label), float32 (N, k)."""
    found = np.empty_like(pooled)
    of_given = matrix.T.astype(np.float32)
    for part in parts(pooled):
        joint = pooled[part] * of_given[given[part]]
        sums = joint.sum(axis=1, keepdims=True)
        found[part] = np.where(sums > 0, joint / np.maximum(sums, 1e-30), pooled[part])
    return found


def with_wrong(
    posterior: NDArray[np.float32], given: NDArray[np.int64], wrong: NDArray[np.float64]
) -> NDArray[np.float32]:
    """A posterior float32 (N, k) whose given labels are wrong with probability `wrong`, float64 (N,)."""
    found = posterior.copy()
    for part in parts(found):
        rows, labels = np.arange(len(found[part])), given[part]
        others = found[part].astype(np.float64)
        others[rows, labels] = 0
        others *= (wrong[part] / np.maximum(others.sum(axis=1), 1e-300))[:, None]
        others[rows, labels] = 1 - wrong[part]
        found[part] = others / others.sum(axis=1, keepdims=True)
    return found


def wrong_probabilities(
    pooled: NDArray[np.float32], matrix: Matrix, given: NDArray[np.int64]
) -> NDArray[np.float64]:
    """1 minus the posterior of the given label, float64 (N,)."""
    scores = np.empty(len(given))
    for part in parts(pooled):
        labels = given[part]
        rows = np.arange(len(labels))
        others = pooled[part].astype(np.float64) * matrix.T[labels]
        own = others[rows, labels].copy()
        others[rows, labels] = 0
        wrong = others.sum(axis=1)
        scores[part] = wrong / np.maximum(wrong + own, 1e-300)
    return scores


def log_pool(logs: Sequence[NDArray[np.float32]], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """The logarithm of the log-linear pool, float32 (N, k)."""
    pooled = np.zeros_like(logs[0])
    for log, weight in zip(logs, weights, strict=True):
        pooled += np.float32(weight) * log
    pooled -= pooled.max(axis=1, keepdims=True)
    pooled -= np.log(np.exp(pooled).sum(axis=1, keepdims=True))
    return pooled


def centred_logs(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Centred logarithms; what was rounded to 0 counts as half of the least value that was not."""
    least = float(np.min(probabilities, initial=1.0, where=probabilities > 0))
    floor = np.float32(np.clip(least / 2, _FLOOR, _HIGHEST_FLOOR))
    logs: NDArray[np.float32] = np.maximum(probabilities, floor)
    np.log(logs, out=logs)
    logs -= logs.mean(axis=1, keepdims=True)
    return logs


def parts(rows: NDArray[np.float32]) -> Iterator[slice]:
    """Slices of (N, k) rows that keep what is computed of them small."""
    step = max(1, min(_ROWS, _VALUES // rows.shape[1]))
    for begin in range(0, len(rows), step):
        yield slice(begin, begin + step)


def thinned(count: int, most: int = MAX_SEARCHED) -> NDArray[np.int64]:
    """At most `most` positions of `count`, evenly drawn; the same ones every time."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))
