"""Which labels are more suspect than others: the order, where the noise model says how many are wrong.

Evidence that is taken as surer (`doubt`) counts wrong labels better and ranks them worse: its T takes the
network's confusions for noise. So the likeliest model ranks, by the log odds of
sum over j != given of (f(j | x) c_j) ** s T[j, given] to the same of the given label.
- c has a factor for each class, as in vector scaling (Guo et al., ICML 2017). It maximises the likelihood of
  the given labels with T as it is; log c has a normal prior of PRIOR records.
- s is 1 / sqrt(the sum of the weights), at most 1: a soft pool ranks better than the likeliest.
Where the evidence was taken as more than HUMAN times as sure there is no c, and T has one rate for all: the
labels are then doubted for the image's sake and not for the class's, and f alone ranks better.
The scores of the noise model are dealt out in this order, so as many labels have a score above any number as
before. Even the surest keep an order: log odds o above 0 become o / sqrt(1 + (o / MOST_ODDS) ** 2).
All was chosen on injected noise and simulated annotators, and tried on others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logsumexp

from selfie_train.evidence.likelihood import MAX_SEARCHED, Matrix, NoiseModel, parts, thinned
from selfie_train.evidence.uniform_noise import uniform_matrix

PRIOR = 30.0  # records that the prior of each class's factor counts as
HUMAN = 2.0  # times the likeliest weights, beyond which labels are doubted for the image's sake
MOST_ODDS = 12.0  # log odds: scores still differ in their ninth decimal
_STEPS = 50
_VALUES = 1 << 22


def ranked_scores(model: NoiseModel, given: NDArray[np.int64]) -> NDArray[np.float64]:
    """P(the given label is wrong), float64 (N,): the model's scores in the order of `suspicion`."""
    odds = _log_odds(model.log_pooled, model.transition_matrix, given)
    scores = np.sort(expit(odds / np.sqrt(1 + (np.maximum(odds, 0) / MOST_ODDS) ** 2)))
    _, place, count = np.unique(suspicion(model, given), return_inverse=True, return_counts=True)
    ends = np.cumsum(count)
    sums = np.concatenate([[0.0], np.cumsum(scores)])
    dealt: NDArray[np.float64] = ((sums[ends] - sums[ends - count]) / count)[place]  # the same to equals
    return dealt


def suspicion(model: NoiseModel, given: NDArray[np.int64]) -> NDArray[np.float64]:
    """Log odds float64 (N,) that rank labels, the most suspect highest."""
    likeliest = model if model.likeliest is None else model.likeliest
    soft = 1 / np.sqrt(max(float(likeliest.weights.sum()), 1.0))
    pooled, matrix = likeliest.log_pooled, likeliest.transition_matrix
    if model.weights.sum() > HUMAN * likeliest.weights.sum():
        return _log_odds(pooled, uniform_matrix(0.5, len(matrix)), given, soft)
    return _log_odds(pooled, matrix, given, soft, class_factors(likeliest, given))


def class_factors(model: NoiseModel, given: NDArray[np.int64]) -> NDArray[np.float64]:
    """log c, float64 (k,), with which the given labels are likeliest."""
    chosen = thinned(len(given), min(MAX_SEARCHED, _VALUES // model.log_pooled.shape[1]))
    logs = model.log_pooled[chosen].astype(np.float64)
    noise = np.log(np.maximum(model.transition_matrix, 1e-30)).T[given[chosen]]

    def loss_and_gradient(factors: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        told = logs + factors
        told -= logsumexp(told, axis=1, keepdims=True)
        joint = told + noise
        sums = logsumexp(joint, axis=1, keepdims=True)
        slope = np.exp(told).sum(axis=0) - np.exp(joint - sums).sum(axis=0)
        return PRIOR / 2 * float(factors @ factors) - float(sums.sum()), slope + PRIOR * factors

    found = minimize(
        loss_and_gradient,
        np.zeros(logs.shape[1]),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _STEPS},
    )
    factors: NDArray[np.float64] = found.x
    return factors


def _log_odds(
    log_pooled: NDArray[np.float32],
    matrix: Matrix,
    given: NDArray[np.int64],
    exponent: float = 1.0,
    factors: NDArray[np.float64] | float = 0.0,
) -> NDArray[np.float64]:
    noise = np.log(np.maximum(matrix, 1e-30)).T
    found = np.empty(len(given))
    for part in parts(log_pooled):
        labels = given[part]
        rows = np.arange(len(labels))
        joint = (log_pooled[part].astype(np.float64) + factors) * exponent + noise[labels]
        own = joint[rows, labels].copy()
        joint[rows, labels] = -np.inf
        found[part] = logsumexp(joint, axis=1) - own
    return found
