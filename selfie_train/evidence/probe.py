"""A linear probe and the votes of neighbours, cross-fitted and robust to wrong labels.

The probe is a multinomial logistic regression on frozen features. A record's own label takes no part in its
probabilities. First a probe for each pair of folds learns the given labels of all other folds. Then each fold
is judged by a probe that learnt the other ones, and its targets are the posterior of the true class under a
noise model (an expectation-maximisation step, as in Bekker and Goldberger, ICASSP 2016), so that a wrong
label no longer pulls. The target of a record of fold g, for the probe that judges fold f, comes from the
probe of the pair (f, g). It must not come from a probe that saw fold f: with a thousand features and a few
thousand records a label then finds its way back through the targets of others, and the noise model takes the
memory for evidence.
A neighbour votes for its given label, with the weight of that label in its target; of a record in the fold
that is judged, in the posterior by the probe that judges.
The penalty is the one under which the noise model makes the labels that the first fold left out most likely;
the second probes, whose targets are cleaner, have LATER_PENALTY of it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from selfie_train.evidence.likelihood import posterior
from selfie_train.evidence.mapped import give_back, pieces, taken
from selfie_train.evidence.neighbours import Neighbours
from selfie_train.evidence.noise_model import fit_noise_model

PENALTIES = (100.0, 500.0, 2500.0)  # on half the squared weights, against the sum of the losses
LATER_PENALTY = 0.5  # times the chosen one: the targets of the second probes are cleaner
TOTAL_VARIANCE = 1280.0  # of the scaled features together, so that a penalty means the same for any number
_ITERATIONS = 60
_ROWS = 8192  # multiplied at once

Array = NDArray[np.float32]


def cross_fit(
    features: NDArray[np.floating],
    given: NDArray[np.int64],
    num_classes: int,
    folds: NDArray[np.int64],
    neighbours: Neighbours,
    advance: Callable[[int], None],
) -> tuple[Array, Array]:
    """Probabilities and votes, both float32 (N, k), of each record from probes that did not see its label.

    `features` (N, d) may be memory-mapped. Probes are fitted to the records among which `neighbours` were
    sought. `advance` is called with 1 after each of `num_fits(folds)` fits.
    """
    scale, sample = _Scale(features), neighbours.references
    probabilities = np.full((len(given), num_classes), 1 / num_classes, np.float32)
    votes, trust = probabilities.copy(), np.ones(len(given), np.float32)
    dealt = np.unique(folds).tolist()
    penalty = _choose_penalty(features, scale, given, num_classes, folds, sample, advance)
    first: dict[tuple[int, int], NDArray[np.float64]] = {}  # of each pair of folds, which it has not seen
    for pair in combinations(dealt, 2):
        inside = _outside_of(pair, folds, sample)
        if len(inside):
            targets = _one_hot(given[inside], num_classes)
            first[pair] = first[pair[::-1]] = _fit(features, scale, inside, targets, penalty, None)
        advance(1)
    for fold in dealt:
        inside, judged = _outside_of((fold,), folds, sample), np.flatnonzero(folds == fold)
        if len(inside):
            targets, start = _one_hot(given[inside], num_classes), None
            noise = np.eye(num_classes)
            if first:
                told = np.empty_like(targets)
                for other in np.unique(folds[inside]).tolist():
                    start = first[fold, other]
                    members = folds[inside] == other
                    told[members] = _predict(features, scale, inside[members], start)
                model = fit_noise_model([told], given[inside], num_classes)
                targets, noise = model.posterior, model.transition_matrix
            weights = _fit(features, scale, inside, targets, penalty * LATER_PENALTY, start)
            probabilities[judged] = _predict(features, scale, judged, weights)
            trust[inside] = targets[np.arange(len(inside)), given[inside]]
            told = posterior(probabilities[judged], noise, given[judged])
            trust[judged] = told[np.arange(len(judged)), given[judged]]
            votes[judged] = neighbours.votes(judged, given, trust, num_classes)
        advance(1)
    return probabilities, votes


def num_fits(folds: NDArray[np.int64]) -> int:
    """How many probes `cross_fit` fits: for the penalties, pairs of folds, and folds."""
    count = len(np.unique(folds))
    return len(PENALTIES) + count * (count - 1) // 2 + count


def _choose_penalty(
    features: NDArray[np.floating],
    scale: _Scale,
    given: NDArray[np.int64],
    num_classes: int,
    folds: NDArray[np.int64],
    sample: NDArray[np.int64],
    advance: Callable[[int], None],
) -> float:
    fold = int(folds.min())
    inside, outside = _outside_of((fold,), folds, sample), np.flatnonzero(folds == fold)
    targets = _one_hot(given[inside], num_classes)
    losses = []
    for penalty in PENALTIES:
        loss = np.inf
        if len(inside):
            weights = _fit(features, scale, inside, targets, penalty, None)
            model = fit_noise_model(
                [_predict(features, scale, outside, weights)], given[outside], num_classes
            )
            loss = model.loss
        losses.append(loss)
        advance(1)
    return PENALTIES[int(np.argmin(losses))]


def _outside_of(
    left_out: tuple[int, ...], folds: NDArray[np.int64], sample: NDArray[np.int64]
) -> NDArray[np.int64]:
    return sample[~np.isin(folds[sample], left_out)]


def _one_hot(labels: NDArray[np.int64], num_classes: int) -> Array:
    targets = np.zeros((len(labels), num_classes), np.float32)
    targets[np.arange(len(labels)), labels] = 1
    return targets


class _Scale:
    """Centre each feature and divide it by its deviation, but one far below the usual is not blown up."""

    def __init__(self, features: NDArray[np.floating]) -> None:
        count = len(features)
        sums = np.zeros(features.shape[1])
        squares = np.zeros(features.shape[1])
        for _, piece in pieces(features, _ROWS):
            rows = np.asarray(piece, np.float64)
            sums += rows.sum(axis=0)
            squares += (rows * rows).sum(axis=0)
        self.mean = (sums / count).astype(np.float32)
        deviation = np.sqrt(np.maximum(squares / count - (sums / count) ** 2, 0))
        usual = float(np.sqrt((deviation**2).mean()))
        scaled = deviation / (deviation + 0.2 * usual) if usual > 0 else deviation
        total = float((scaled**2).sum())
        factor = np.sqrt(TOTAL_VARIANCE / total) / (deviation + 0.2 * usual) if total > 0 else deviation
        self.factor = factor.astype(np.float32)

    def __call__(self, rows: NDArray[np.floating]) -> Array:
        scaled: Array = (np.asarray(rows, np.float32) - self.mean) * self.factor
        return scaled


def _fit(
    features: NDArray[np.floating],
    scale: _Scale,
    inside: NDArray[np.int64],
    targets: Array,
    penalty: float,
    start: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    """Weights float64 (d + 1, k), the intercept last, that minimise the penalised cross-entropy."""
    size, num_classes = features.shape[1], targets.shape[1]
    rows = scale(taken(features, inside))

    def loss_and_gradient(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = flat.reshape(size + 1, num_classes)
        single = weights.astype(np.float32)
        gradient = np.zeros_like(weights)
        loss = 0.0
        for begin in range(0, len(rows), _ROWS):
            part, wanted = rows[begin : begin + _ROWS], targets[begin : begin + _ROWS]
            logits = part @ single[:-1] + single[-1]
            logits -= logits.max(axis=1, keepdims=True)
            shares = np.exp(logits)
            sums = shares.sum(axis=1, keepdims=True)
            loss -= float((wanted * (logits - np.log(sums))).sum(dtype=np.float64))
            slope = shares / sums - wanted  # targets sum to 1
            gradient[:-1] += part.T @ slope
            gradient[-1] += slope.sum(axis=0)
        penalised = weights[:-1]
        gradient[:-1] += penalty * penalised
        return loss + penalty / 2 * float((penalised**2).sum()), gradient.ravel()

    begin = np.zeros((size + 1) * num_classes) if start is None else start.ravel()
    options = {"maxiter": _ITERATIONS, "gtol": 1e-5 * len(inside)}
    found = minimize(loss_and_gradient, begin, jac=True, method="L-BFGS-B", options=options)
    weights: NDArray[np.float64] = found.x.reshape(size + 1, num_classes)
    return weights


def _predict(
    features: NDArray[np.floating], scale: _Scale, wanted: NDArray[np.int64], weights: NDArray[np.float64]
) -> Array:
    single = weights.astype(np.float32)
    found = np.empty((len(wanted), weights.shape[1]), np.float32)
    for begin in range(0, len(wanted), _ROWS):
        logits = scale(features[wanted[begin : begin + _ROWS]]) @ single[:-1] + single[-1]
        logits = np.exp(logits - logits.max(axis=1, keepdims=True))
        found[begin : begin + _ROWS] = logits / logits.sum(axis=1, keepdims=True)
        give_back(features)
    return found
