"""Whether the evidence or the labels are in doubt, and a noise model with evidence as sure as that says.

A human errs where an image is ambiguous, and a network that trained on such labels is itself unsure there.
The likelihood cannot tell the two doubts apart and calls all of it the evidence's. So the weights are also
tried TRIED times as large. Random noise and a network's own errors turn about half of the doubt into noise
then; the share is divided by that of the labels found right, since only these can turn. Where it is more than
TURNED, labels are what is in doubt, and the weights grow by SURER; else by LESS_SURER. Where the likelihood
finds as much noise as SETTLED of the doubt, nothing more is sought unless the share exceeds SURELY_TURNED.
The weights grow on until there is as much noise as doubt, and are doubled while yet surer evidence turns more
than all of its doubt into noise.
Clean labels and an unsure network look much the same, but annotators also err where the evidence is sure, and
that the likelihood sees. So the rate is at most as many times what the likelihood finds as that is larger
than SPURIOUS (LESS_SPURIOUS and FEW records where labels are in doubt), or BELIEVED times; the weights are
taken back to where it is that much. Random noise hits the records that the evidence is surest of (SUREST of
all, or of those of each class) as often as others, and there the likelihood is right: that much is believed
only where noise is rarer by UNEVEN in both, in proportion less where it is less rare; in one of them will do
where more than SURELY_TURNED of the doubt turns. Where more than SURELY of it does there is no limit: with
clean labels it never did. The constants were chosen on simulated annotators and probes of images, and tried
on others.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from selfie_train.evidence.likelihood import NoiseModel, log_pool, model_of

WEAK_ERROR = 0.35  # of the evidence by its own word: what it has learnt is then not told from its errors
TRIED, TURNED = 3.0, 0.56  # factor on the weights, and share of the doubt that then becomes noise
SETTLED, SURELY_TURNED = 0.75, 0.7  # noise found, as a share of the doubt; share that unsettles it
SURER, LESS_SURER, STEP, MOST_SURE = 2.5, 1.5, 1.15, 4.0  # factors on the weights
BELIEVED = 5.0  # times the noise found, at most
SPURIOUS = 0.004  # noise that clean labels may show
LESS_SPURIOUS, FEW = 0.0006, 4.0  # the same where labels are in doubt, and so many records more
SURELY = 0.85  # share of the doubt that turns into noise, above which there is no highest rate
SUREST, UNEVEN = 0.25, 0.3  # share of the records; how much rarer noise is there, if humans erred
_BISECTIONS = 6


def believed(model: NoiseModel, given: NDArray[np.int64]) -> NoiseModel:
    """The model, or one whose evidence is taken as surer, where labels and not the evidence are in doubt."""
    if model.doubt > WEAK_ERROR and model.rate < model.doubt / 2:
        return replace(model, weak=True)

    def surer(factor: float) -> NoiseModel:
        """The model with its weights times `factor`, and T fitted anew."""
        log_pooled = log_pool([model.log_pooled], np.array([factor]))
        found = model_of(model.weights * factor, log_pooled, given)
        return replace(found, unmixed=model.unmixed, loss=model.loss, likeliest=model)

    def turned(now: NoiseModel, factor: float) -> float:
        return (surer(factor * TRIED).rate - now.rate) / max(now.doubt, 1e-12)

    share = turned(model, 1.0)
    of_right = share / max(1 - model.rate, 1e-12)
    labels_in_doubt = of_right > TURNED
    if of_right <= SURELY_TURNED and model.rate >= SETTLED * model.doubt:
        return model
    factor = SURER if labels_in_doubt else LESS_SURER
    found = surer(factor)
    while found.rate < found.doubt and factor < MOST_SURE:
        factor *= STEP
        found = surer(factor)
    while factor < MOST_SURE and turned(found, factor) > 1:
        factor *= 2
        found = surer(factor)
    of_all, by_class = _rates_of_surest(model)
    surest = min(of_all, by_class) if of_right > SURELY_TURNED else max(of_all, by_class)
    rarer = float(np.clip(1 - surest / max(model.rate, 1e-12), 0, UNEVEN)) / UNEVEN
    spurious = LESS_SPURIOUS + FEW / len(given) if labels_in_doubt else SPURIOUS
    most = model.rate * (1 + rarer * (max(BELIEVED, model.rate / spurious) - 1))
    if found.rate <= most or share > SURELY:
        return found
    highest, least = found.rate, 1.0
    for _ in range(_BISECTIONS):
        middle = float(np.sqrt(least * factor))
        least, factor = (middle, factor) if surer(middle).rate <= most else (least, middle)
    return replace(surer(least), highest_rate=highest)


def _rates_of_surest(model: NoiseModel) -> tuple[float, float]:
    """The rate among the records that the pool is surest of; and if all were as the surest of each class."""
    pooled = model.pooled
    likeliest, sure = pooled.argmax(axis=1), pooled.max(axis=1)

    def wrong(members: NDArray[np.int64]) -> float:
        surest = members[sure[members] >= np.quantile(sure[members], 1 - SUREST)]
        return float(model.score[surest].mean())

    of_classes = [np.flatnonzero(likeliest == label) for label in np.unique(likeliest)]
    by_class = sum(len(members) * wrong(members) for members in of_classes) / len(sure)
    return wrong(np.arange(len(sure))), by_class
