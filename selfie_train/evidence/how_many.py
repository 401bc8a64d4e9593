"""How many labels are wrong: the rate with its interval, and P(given | true)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfie_train.evidence.likelihood import NoiseModel, maximise_likelihood, posterior
from selfie_train.evidence.noise_model import fit_noise_model
from selfie_train.evidence.source import Evidence
from selfie_train.evidence.uniform_noise import GivenWord

RESAMPLES = 40
MAX_RESAMPLED = 20_000
_STEPS = 15


@dataclass(frozen=True)
class RateEstimate:
    """The share of wrong labels, its interval, P(given | true) float64 (k, k), and wrong labels by class."""

    rate: float
    low: float
    high: float
    transition_matrix: NDArray[np.float64]
    uniform: bool  # whether the matrix has one rate for all pairs of classes
    wrong_by_given: NDArray[np.float64]  # (k,) expected wrong labels among those given each class


def estimate_rate(
    model: NoiseModel, sources: Sequence[Evidence], given: NDArray[np.int64], num_classes: int
) -> RateEstimate:
    """The mean score; the interval covers 95 % of resamples of the records, each source by itself, and where
    the evidence was taken as surer the rates by the likelihood alone and with as much noise as doubt.

    What all sources get wrong alike is outside the interval.
    """
    score = model.score
    rate = float(score.mean())
    rates = _resampled(model, given, num_classes)
    low, high = (float(value) for value in np.quantile(rates, [0.025, 0.975]))
    alone = [rate, *(other for other in (model.likeliest_rate, model.highest_rate) if other is not None)]
    if len(sources) > 1:
        alone += [
            float(fit_noise_model([source.probabilities], given, num_classes).score.mean())
            for source, weight in zip(sources, model.weights, strict=True)
            if weight > 0.2 * model.weights.max()
        ]
    wrong = np.bincount(given, weights=score, minlength=num_classes).astype(np.float64)
    return RateEstimate(
        rate,
        max(min(low, *alone, rate), 0.0),
        min(max(high, *alone, rate), 1.0),
        model.transition_matrix,
        model.uniform,
        wrong,
    )


def _resampled(model: NoiseModel, given: NDArray[np.int64], num_classes: int) -> NDArray[np.float64]:
    """The rate in each of RESAMPLES bootstrap samples, T fitted anew from where it stands."""
    rng = np.random.default_rng(len(given))
    rows = np.arange(len(given))
    if len(rows) > MAX_RESAMPLED:
        rows = np.sort(rng.choice(rows, MAX_RESAMPLED, replace=False))
    spread = np.sqrt(len(rows) / len(given))
    pooled, labels = model.pooled[rows], given[rows]
    word = GivenWord.of(pooled, labels)
    rates = np.empty(RESAMPLES)
    for number in range(RESAMPLES):
        weights = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows))).astype(np.float64)
        wrong: NDArray[np.floating]
        if model.uniform:
            start = 1 - float(model.transition_matrix[0, 0])
            wrong = word.wrong(word.likeliest_rate(_STEPS, start, weights)[0])
        else:
            matrix, _ = maximise_likelihood(
                pooled,
                labels,
                num_classes,
                steps=_STEPS,
                start=model.transition_matrix,
                record_weights=weights,
            )
            wrong = 1 - posterior(pooled, matrix, labels)[np.arange(len(rows)), labels]
        rates[number] = (weights @ wrong) / len(rows)
    centre = float(model.score.mean())
    found: NDArray[np.float64] = centre + (rates - rates.mean()) * spread
    return found
