"""A linear probe: multinomial logistic regression on frozen features, cross-fitted, robust to wrong labels.

Two rounds, or three. In the first the targets are the given labels; then each record's target is the
posterior of its true class under the noise model fitted to the first round (an expectation-maximisation
step, as in Bekker and Goldberger, ICASSP 2016), so that a wrong label no longer pulls. A record's own label
never trains its own probabilities; in the second round it acts on them through the targets of other records,
since the rounds are not nested. A third round follows where the second's probabilities still hold the noise.
The penalty is the one under which the noise model makes the labels that the first fold left out most likely;
later rounds, whose targets are cleaner, have LATER_PENALTY of it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from selfie_train.evidence.mapped import give_back, pieces, taken
from selfie_train.evidence.noise_model import fit_noise_model

PENALTIES = (100.0, 500.0, 2500.0)  # on half the squared weights, against the sum of the losses
LATER_PENALTY = 0.5  # times the chosen one: the targets of later rounds are cleaner
TOTAL_VARIANCE = 1280.0  # of the scaled features together, so that a penalty means the same for any number
ROUNDS, MOST_ROUNDS = 2, 3
MAX_FITTED = 60_000  # records that one probe is fitted to: a sample of more
_ITERATIONS = 60
_ROWS = 8192  # multiplied at once

Array = NDArray[np.float32]


def cross_fitted_probabilities(
    features: NDArray[np.floating],
    given: NDArray[np.int64],
    num_classes: int,
    folds: NDArray[np.int64],
    seed: int,
    advance: Callable[[int], None],
) -> Array:
    """Probabilities float32 (N, k) of each record from probes that did not see its label.

    `features` (N, d) may be memory-mapped. `advance` is called with 1 after each of at
    least len(PENALTIES) + ROUNDS * folds fits.
    """
    scale = _Scale(features)
    targets = np.eye(num_classes, dtype=np.float32)[given]
    probabilities = np.full((len(given), num_classes), 1 / num_classes, np.float32)
    weights: dict[int, NDArray[np.float64]] = {}
    penalty = _choose_penalty(features, scale, given, targets, folds, seed, advance)
    for round_number in range(MOST_ROUNDS):
        if round_number:
            model = fit_noise_model([probabilities], given, num_classes)
            if round_number >= ROUNDS and not model.unmixed:
                break
            targets = model.posterior
            if round_number == 1:
                penalty *= LATER_PENALTY
        for fold in np.unique(folds).tolist():
            inside = _fitted(folds, fold, seed)
            if len(inside):
                weights[fold] = _fit(features, scale, inside, targets[inside], penalty, weights.get(fold))
                outside = np.flatnonzero(folds == fold)
                probabilities[outside] = _predict(features, scale, outside, weights[fold])
            advance(1)
    return probabilities


def _choose_penalty(
    features: NDArray[np.floating],
    scale: _Scale,
    given: NDArray[np.int64],
    targets: Array,
    folds: NDArray[np.int64],
    seed: int,
    advance: Callable[[int], None],
) -> float:
    fold = int(folds.min())
    inside, outside = _fitted(folds, fold, seed), np.flatnonzero(folds == fold)
    losses = []
    for penalty in PENALTIES:
        loss = np.inf
        if len(inside):
            weights = _fit(features, scale, inside, targets[inside], penalty, None)
            model = fit_noise_model(
                [_predict(features, scale, outside, weights)], given[outside], targets.shape[1]
            )
            loss = model.loss
        losses.append(loss)
        advance(1)
    return PENALTIES[int(np.argmin(losses))]


def _fitted(folds: NDArray[np.int64], fold: int, seed: int) -> NDArray[np.int64]:
    """Positions outside `fold`, at most MAX_FITTED."""
    inside = np.flatnonzero(folds != fold)
    if len(inside) > MAX_FITTED:
        inside = np.sort(np.random.default_rng([seed, fold]).choice(inside, MAX_FITTED, replace=False))
    return inside


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
