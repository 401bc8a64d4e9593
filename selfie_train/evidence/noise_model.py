"""How labels were corrupted: P(given | true) and the posterior of the true class, from out-of-sample data.

The model: a source s says p_s(true | x) without the record's own label; the sources are pooled,
f(j | x) proportional to the product of p_s(j | x) ** w_s; the given label is drawn from the row T[true]. The
weights w and T maximise the likelihood of the given labels, sum log sum_j f(j | x) T[j, given]. T comes by
expectation-maximisation (Dempster, Laird and Rubin 1977), w by a search in which T is fitted anew. The
posterior of record x is f(j | x) T[j, given], normalised; the score is 1 minus that of the given label.
Where a rate for each pair of classes gains less than Schwarz's criterion asks for (BIC, 1978), T has one
rate for all: else the network's own confusions pass for noise.
A network that learnt noisy labels may give P(given | x) instead, and with T the identity explain every wrong
label as its own doubt. Anchors tell: among the records that it is surest are of class j, the shares of the
given labels are the row T[j] (Patrini et al., CVPR 2017). If the pool with these rows undone, p inverse(T),
gives a rate higher by more than CONTRADICTION, that model is the one returned. A network that errs on more
than WEAK_ERROR of the records is left as it is: its own errors look like noise.
(Log-linear pool: Genest and Zidek 1986. T in the likelihood: Patrini et al., CVPR 2017, "forward".)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

MAX_SEARCHED = 20_000  # records that the weights are searched on
PRIOR = 10.0  # records for each class that the prior of T counts as
CONTRADICTION = 0.05
WEAK_ERROR = 0.35  # of the evidence by its own word: what it has learnt is then not told from its errors
ANCHOR_SHARE, LEAST_ANCHORS = 0.2, 20  # of the records of a class by the pool's word
_UNMIXED_FLOOR = 1e-4
_FLOOR = 1e-7
_START_RATE = 0.15
SLACK = 0.5  # of the log-likelihood of all records
_SHARPER = (1.25, 1.6, 2.0, 2.5, 3.2, 4.0)
_SEARCH_STEPS, _STEPS = 12, 60  # of expectation-maximisation

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class NoiseModel:
    """weights float64 (s,); pooled, posterior float32 (N, k); transition_matrix float64 (k, k)."""

    weights: NDArray[np.float64]
    pooled: NDArray[np.float32]
    posterior: NDArray[np.float32]
    transition_matrix: Matrix
    uniform: bool  # whether T has one rate for all pairs of classes
    unmixed: bool  # whether the evidence had learnt the noise, which then was undone
    loss: float  # mean negative log-likelihood of the given labels

    def scores(self, given: NDArray[np.int64]) -> NDArray[np.float64]:
        """P(the given label is wrong), float64 (N,)."""
        own = self.posterior[np.arange(len(given)), given]
        found: NDArray[np.float64] = np.clip(1 - own.astype(np.float64), 0, 1)
        return found


def fit_noise_model(
    sources: Sequence[NDArray[np.float32]], given: NDArray[np.int64], num_classes: int
) -> NoiseModel:
    """Fit weights and T to `sources`, each (N, k), which must be out of sample."""
    model = _fitted([_centred_logs(source) for source in sources], given, num_classes)
    unmixed = _unmixed(model.pooled, given, num_classes)
    other = _fitted([_centred_logs(unmixed)], given, num_classes)
    sure = float(other.pooled.max(axis=1).mean()) > 1 - WEAK_ERROR
    if sure and other.scores(given).mean() > model.scores(given).mean() + CONTRADICTION:
        return replace(other, weights=model.weights * other.weights[0], unmixed=True)
    return model


def _fitted(logs: Sequence[NDArray[np.float32]], given: NDArray[np.int64], num_classes: int) -> NoiseModel:
    searched = _thinned(len(given))
    parts, labels = [log[searched] for log in logs], given[searched]

    def loss(log_weights: NDArray[np.float64]) -> float:
        pooled = _pool(parts, np.exp(log_weights))
        return maximise_likelihood(pooled, labels, num_classes, steps=_SEARCH_STEPS)[1]

    start = np.full(len(logs), -np.log(len(logs)))
    options = {"maxfev": 40 * len(logs), "xatol": 0.02, "fatol": 1e-6}
    simplex = np.vstack([start, start + np.eye(len(logs)) * 0.7])
    found = minimize(loss, start, method="Nelder-Mead", options={**options, "initial_simplex": simplex})
    weights = np.exp(found.x)
    for factor in _SHARPER:  # few records cannot tell doubt from noise: of equals the surer
        if loss(found.x + np.log(factor)) > found.fun + SLACK / len(labels):
            break
        weights = np.exp(found.x) * factor
    pooled = _pool(logs, weights)
    matrix, likelihood_loss, uniform = _chosen_matrix(pooled, given, num_classes)
    return NoiseModel(
        weights, pooled, posterior(pooled, matrix, given), matrix, uniform, False, likelihood_loss
    )


def _chosen_matrix(
    pooled: NDArray[np.float32], given: NDArray[np.int64], num_classes: int
) -> tuple[Matrix, float, bool]:
    """T, its loss, and whether one rate for all pairs of classes does as well, by Schwarz's criterion."""
    full = maximise_likelihood(pooled, given, num_classes, steps=_STEPS)
    uniform = maximise_likelihood(pooled, given, num_classes, steps=_STEPS, uniform=True)
    more_parameters = num_classes * (num_classes - 1) - 1
    gain = (uniform[1] - full[1]) * len(given)
    if gain > more_parameters / 2 * np.log(len(given)):
        return *full, False
    return *uniform, True


def _unmixed(pooled: NDArray[np.float32], given: NDArray[np.int64], num_classes: int) -> NDArray[np.float32]:
    """The pool with the noise that its anchors show undone, float32 (N, k)."""
    matrix = np.eye(num_classes)
    likeliest = pooled.argmax(axis=1)
    for label in range(num_classes):
        members = np.flatnonzero(likeliest == label)
        if len(members) >= LEAST_ANCHORS:
            count = max(LEAST_ANCHORS, round(ANCHOR_SHARE * len(members)))
            anchors = members[np.argsort(-pooled[members, label], kind="stable")[:count]]
            matrix[label] = np.bincount(given[anchors], minlength=num_classes) / count
    inverse = np.linalg.pinv(matrix, rcond=0.05)
    found = np.maximum(pooled @ inverse.astype(np.float32), np.float32(_UNMIXED_FLOOR))
    normalised: NDArray[np.float32] = found / found.sum(axis=1, keepdims=True)
    return normalised


def maximise_likelihood(
    pooled: NDArray[np.float32],
    given: NDArray[np.int64],
    num_classes: int,
    *,
    steps: int,
    start: Matrix | None = None,
    record_weights: NDArray[np.float64] | None = None,
    uniform: bool = False,
) -> tuple[Matrix, float]:
    """T by expectation-maximisation, and the mean negative log-likelihood of the given labels.

    Each row has a Dirichlet prior of PRIOR records around uniform noise of the overall rate; `uniform`
    noise has that rate alone.
    """
    same = np.eye(num_classes)
    other = (1 - same) / max(num_classes - 1, 1)
    matrix = same * (1 - _START_RATE) + other * _START_RATE if start is None else start
    order = np.argsort(given, kind="stable")
    grouped = pooled[order].astype(np.float64)
    ends = np.cumsum(np.bincount(given, minlength=num_classes)).tolist()
    weight = None if record_weights is None else record_weights[order]
    total = len(given) if weight is None else float(weight.sum())
    loss = 0.0
    for _ in range(steps):
        counts = np.zeros((num_classes, num_classes))  # [true, given]
        loss, begin = 0.0, 0
        for label, end in enumerate(ends):
            joint = grouped[begin:end] * matrix[:, label]
            evidence = np.maximum(joint.sum(axis=1), 1e-300)
            ratio = 1 / evidence if weight is None else weight[begin:end] / evidence
            counts[:, label] = ratio @ joint
            logs = np.log(evidence)
            loss -= float(logs.sum() if weight is None else logs @ weight[begin:end])
            begin = end
        rate = 1 - np.trace(counts) / max(counts.sum(), 1e-300)
        spread = same * (1 - rate) + other * rate
        matrix = spread if uniform else counts + PRIOR * spread
        matrix /= matrix.sum(axis=1, keepdims=True)
    return matrix, loss / max(total, 1e-300)


def posterior(pooled: NDArray[np.float32], matrix: Matrix, given: NDArray[np.int64]) -> NDArray[np.float32]:
    """P(true class | record, given label), float32 (N, k)."""
    joint = pooled * matrix.T.astype(np.float32)[given]
    sums = joint.sum(axis=1, keepdims=True)
    found: NDArray[np.float32] = np.where(sums > 0, joint / np.maximum(sums, 1e-30), pooled)
    return found


def _centred_logs(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    logs: NDArray[np.float32] = np.log(np.maximum(probabilities, _FLOOR))
    logs -= logs.mean(axis=1, keepdims=True)
    return logs


def _pool(logs: Sequence[NDArray[np.float32]], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    pooled = np.zeros_like(logs[0])
    for log, weight in zip(logs, weights, strict=True):
        pooled += np.float32(weight) * log
    pooled = np.exp(pooled - pooled.max(axis=1, keepdims=True))
    normalised: NDArray[np.float32] = pooled / pooled.sum(axis=1, keepdims=True)
    return normalised


def _thinned(count: int) -> NDArray[np.int64]:
    """At most MAX_SEARCHED positions, evenly drawn; the same ones every time."""
    if count <= MAX_SEARCHED:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, MAX_SEARCHED, replace=False))
