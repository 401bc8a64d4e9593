"""Whether the evidence or the labels are in doubt, and a noise model with evidence as sure as that says.

A human errs where an image is ambiguous, and a network that trained on such labels is itself unsure there.
The likelihood cannot tell the two doubts apart and calls all of it the evidence's. So the weights are also
tried TRIED times as large. Random noise and a network's own errors turn at most half of the doubt into noise
then. Where more than TURNED of it does, labels are what is in doubt, and the weights grow by SURER; else,
where the likelihood finds less noise than SETTLED of the doubt, by LESS_SURER. They grow on until there is as
much noise as doubt, and are doubled while yet surer evidence turns more than all of its doubt into noise.
Clean labels and an unsure network look much the same, but annotators also err where the evidence is sure, and
that the likelihood sees. So the rate is at most as many times what the likelihood finds as that is larger
than SPURIOUS, or BELIEVED times; the weights are taken back to where it is that much. Random noise hits the
records that the evidence is surest of (SUREST of all) as often as others, and there the likelihood is right:
that much is believed only where noise is rarer by UNEVEN there, and in proportion less where it is less rare.
Where more than SURELY of the doubt turns there is no limit: with clean labels it never did. The constants
were chosen on simulated annotators and probes of images, and tried on others.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from selfie_train.evidence.likelihood import (
    NoiseModel,
    choose_matrix,
    log_pool,
    posterior,
    wrong_probabilities,
)

WEAK_ERROR = 0.35  # of the evidence by its own word: what it has learnt is then not told from its errors
TRIED, TURNED = 3.0, 0.53  # factor on the weights, and share of the doubt that then becomes noise
SETTLED = 0.75  # noise found, as a share of the doubt, with which nothing more is sought
SURER, LESS_SURER, STEP, MOST_SURE = 2.5, 1.5, 1.15, 4.0  # factors on the weights
BELIEVED, SPURIOUS = 5.0, 0.004  # times the noise found, at most; noise that clean labels may show
SURELY = 0.85  # share of the doubt that turns into noise, above which there is no highest rate
SUREST, UNEVEN = 0.25, 0.3  # share of the records; how much rarer noise is there, if humans erred
_BISECTIONS = 6


def believed(model: NoiseModel, given: NDArray[np.int64], num_classes: int) -> NoiseModel:
    """The model, or one whose evidence is taken as surer, where labels and not the evidence are in doubt."""
    if model.doubt > WEAK_ERROR and model.rate < model.doubt / 2:
        return replace(model, weak=True)

    def surer(factor: float) -> NoiseModel:
        """The model with its weights times `factor`, and T fitted anew."""
        log_pooled = log_pool([model.log_pooled], np.array([factor]))
        pooled = np.exp(log_pooled)
        matrix, _, uniform = choose_matrix(pooled, given, num_classes)
        return replace(
            model,
            weights=model.weights * factor,
            log_pooled=log_pooled,
            posterior=posterior(pooled, matrix, given),
            score=wrong_probabilities(pooled, matrix, given),
            transition_matrix=matrix,
            uniform=uniform,
            likeliest=model,
        )

    def turned(now: NoiseModel, factor: float) -> float:
        return (surer(factor * TRIED).rate - now.rate) / max(now.doubt, 1e-12)

    share = turned(model, 1.0)
    labels_in_doubt = share > TURNED
    if not labels_in_doubt and model.rate >= SETTLED * model.doubt:
        return model
    factor = SURER if labels_in_doubt else LESS_SURER
    found = surer(factor)
    while found.rate < found.doubt and factor < MOST_SURE:
        factor *= STEP
        found = surer(factor)
    while factor < MOST_SURE and turned(found, factor) > 1:
        factor *= 2
        found = surer(factor)
    rarer = np.clip(1 - _rate_of_surest(model) / max(model.rate, 1e-12), 0, UNEVEN) / UNEVEN
    most = model.rate * (1 + rarer * (max(BELIEVED, model.rate / SPURIOUS) - 1))
    if found.rate <= most or share > SURELY:
        return found
    highest, least = found.rate, 1.0
    for _ in range(_BISECTIONS):
        middle = float(np.sqrt(least * factor))
        least, factor = (middle, factor) if surer(middle).rate <= most else (least, middle)
    return replace(surer(least), highest_rate=highest)


def _rate_of_surest(model: NoiseModel) -> float:
    """The rate among the records that the pool is surest of."""
    sure = model.pooled.max(axis=1)
    return float(model.score[sure >= np.quantile(sure, 1 - SUREST)].mean())
