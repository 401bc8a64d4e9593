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
given labels are the row T[j] (Patrini et al., CVPR 2017). Where the anchors show more noise than the fitted T
does, f is sought with f T = p (Richardson 1972, Lucy 1974), and this model is taken if its rate is higher;
both by more than CONTRADICTION. A network that errs on more than WEAK_ERROR of the records is left as it is:
its own errors look like noise.
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
(Log-linear pool: Genest and Zidek 1986. T in the likelihood: Patrini et al., CVPR 2017, "forward".)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from selfie_train.evidence.uniform_noise import LEAST_RATE, START_RATE, GivenWord, uniform_matrix

MAX_SEARCHED = 20_000  # records that the weights are searched on
PRIOR = 10.0  # records for each class that the prior of T counts as
CONTRADICTION = 0.05
WEAK_ERROR = 0.35  # of the evidence by its own word: what it has learnt is then not told from its errors
ANCHOR_SHARE, LEAST_ANCHORS = 0.2, 20  # of the records of a class by the pool's word
TRIED, TURNED = 3.0, 0.53  # factor on the weights, and share of the doubt that then becomes noise
SETTLED = 0.75  # noise found, as a share of the doubt, with which nothing more is sought
SURER, LESS_SURER, STEP, MOST_SURE = 2.5, 1.5, 1.15, 4.0  # factors on the weights
BELIEVED, SPURIOUS = 5.0, 0.004  # times the noise found, at most; noise that clean labels may show
SURELY = 0.85  # share of the doubt that turns into noise, above which there is no highest rate
SUREST, UNEVEN = 0.25, 0.3  # share of the records; how much rarer noise is there, if humans erred
_BISECTIONS = 6
ANCHOR_PRIOR = 5.0
_UNMIXING_STEPS = 30
_FLOOR, _HIGHEST_FLOOR = 1e-12, 1e-4
SLACK = 0.5  # of the log-likelihood of all records
_SHARPER = (1.25, 1.6, 2.0, 2.5, 3.2, 4.0)
_SEARCH_STEPS, _STEPS = 12, 60  # of expectation-maximisation
_ROWS, _VALUES = 65_536, 1 << 23  # looked at at once

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class NoiseModel:
    """weights float64 (s,); pooled, posterior float32 (N, k); transition_matrix float64 (k, k).

    score: float64 (N,), P(the given label is wrong)
    """

    weights: NDArray[np.float64]
    pooled: NDArray[np.float32]
    posterior: NDArray[np.float32]
    score: NDArray[np.float64]
    transition_matrix: Matrix
    uniform: bool  # whether T has one rate for all pairs of classes
    unmixed: bool  # whether the evidence had learnt the noise, which then was undone
    loss: float  # of the likeliest weights: mean negative log-likelihood of the given labels
    likeliest_score: NDArray[np.float64] | None = None  # by the likelihood alone, if not the one above
    highest_rate: float | None = None  # with as much noise as doubt, where that was not believed
    weak: bool = False  # whether the evidence errs too often to tell its errors from noise

    @property
    def rate(self) -> float:
        """The share of labels that is wrong."""
        return float(self.score.mean())

    @property
    def likeliest_rate(self) -> float | None:
        """The rate by the likelihood alone, where the evidence was taken as surer."""
        return None if self.likeliest_score is None else float(self.likeliest_score.mean())

    @property
    def doubt(self) -> float:
        """How often the pool's own best guess is wrong, by its own word."""
        return float(1 - self.pooled.max(axis=1).mean())


def fit_noise_model(
    sources: Sequence[NDArray[np.float32]], given: NDArray[np.int64], num_classes: int
) -> NoiseModel:
    """Fit weights and T to `sources`, each (N, k), which must be out of sample."""
    logs = [_centred_logs(source) for source in sources]
    model = _fitted(logs, given, num_classes)
    anchors, likeliest = _anchor_matrix(model.pooled, given, num_classes)
    shown = float(likeliest @ (1 - np.diag(anchors)))
    found = float(likeliest @ (1 - np.diag(model.transition_matrix)))
    if shown > found + CONTRADICTION:
        other = _fitted([_centred_logs(_unmixed(model.pooled, anchors))], given, num_classes)
        if other.doubt < WEAK_ERROR and other.rate > model.rate + CONTRADICTION:
            model = replace(other, weights=model.weights * other.weights[0], unmixed=True)
    return _believed(model, given, num_classes)


def _believed(model: NoiseModel, given: NDArray[np.int64], num_classes: int) -> NoiseModel:
    """The model, or one whose evidence is taken as surer, where labels and not the evidence are in doubt."""
    if model.doubt > WEAK_ERROR and model.rate < model.doubt / 2:
        return replace(model, weak=True)
    logs = [_centred_logs(model.pooled)]

    def surer(factor: float) -> NoiseModel:
        """The model with its weights times `factor`, and T fitted anew."""
        pooled = _pool(logs, np.array([factor]))
        matrix, _, uniform = _chosen_matrix(pooled, given, num_classes)
        return replace(
            model,
            weights=model.weights * factor,
            pooled=pooled,
            posterior=posterior(pooled, matrix, given),
            score=_scores(pooled, matrix, given),
            transition_matrix=matrix,
            uniform=uniform,
            likeliest_score=model.score,
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


def _fitted(logs: Sequence[NDArray[np.float32]], given: NDArray[np.int64], num_classes: int) -> NoiseModel:
    searched = _thinned(len(given))
    parts, labels = [log[searched] for log in logs], given[searched]
    few = len(labels) < PRIOR * num_classes * (num_classes - 1)  # records, for a rate of each pair

    def loss(weights: NDArray[np.float64]) -> float:
        pooled = _pool(parts, weights)
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
    pooled = _pool(logs, weights)
    matrix, likelihood_loss, uniform = _chosen_matrix(pooled, given, num_classes)
    return NoiseModel(
        weights=weights,
        pooled=pooled,
        posterior=posterior(pooled, matrix, given),
        score=_scores(pooled, matrix, given),
        transition_matrix=matrix,
        uniform=uniform,
        unmixed=False,
        loss=likelihood_loss,
    )


def _scores(pooled: NDArray[np.float32], matrix: Matrix, given: NDArray[np.int64]) -> NDArray[np.float64]:
    """1 minus the posterior of the given label; in double precision, so that the surest still rank."""
    scores = np.empty(len(given))
    for part in _parts(pooled):
        labels = given[part]
        rows = np.arange(len(labels))
        others = pooled[part].astype(np.float64) * matrix.T[labels]
        own = others[rows, labels].copy()
        others[rows, labels] = 0
        wrong = others.sum(axis=1)
        scores[part] = wrong / np.maximum(wrong + own, 1e-300)
    return scores


def _chosen_matrix(
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


def _anchor_matrix(
    pooled: NDArray[np.float32], given: NDArray[np.int64], num_classes: int
) -> tuple[Matrix, NDArray[np.float64]]:
    """Shares of the given labels among the anchors of each class, (k, k), and of the likeliest classes, (k,).

    Each row of shares has a prior of ANCHOR_PRIOR records around one rate for all.
    """
    counts = np.zeros((num_classes, num_classes))
    likeliest = pooled.argmax(axis=1)
    for label in range(num_classes):
        members = np.flatnonzero(likeliest == label)
        if len(members) >= LEAST_ANCHORS:
            count = max(LEAST_ANCHORS, round(ANCHOR_SHARE * len(members)))
            anchors = members[np.argsort(-pooled[members, label], kind="stable")[:count]]
            counts[label] = np.bincount(given[anchors], minlength=num_classes)
    same = np.eye(num_classes)
    rate = 1 - np.trace(counts) / max(counts.sum(), 1)
    spread = same * (1 - rate) + (1 - same) * rate / max(num_classes - 1, 1)
    there = counts.sum(axis=1, keepdims=True) > 0
    matrix = np.where(there, counts + ANCHOR_PRIOR * spread, same)
    matrix /= matrix.sum(axis=1, keepdims=True)
    return matrix, np.bincount(likeliest, minlength=num_classes) / len(given)


def _unmixed(pooled: NDArray[np.float32], matrix: Matrix) -> NDArray[np.float32]:
    """Probabilities f float32 (N, k) with f @ matrix near the pool; positive, so they still rank."""
    noise = np.maximum(matrix, 1e-6).astype(np.float32)
    noise /= noise.sum(axis=1, keepdims=True)
    found = np.empty_like(pooled)
    for rows in _parts(pooled):
        told = np.maximum(pooled[rows], np.float32(_FLOOR))
        part = told.copy()
        for _ in range(_UNMIXING_STEPS):
            part *= (told / np.maximum(part @ noise, np.float32(1e-30))) @ noise.T
            part /= part.sum(axis=1, keepdims=True)
        found[rows] = part
    return found


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
    for part in _parts(pooled):
        joint = pooled[part] * of_given[given[part]]
        sums = joint.sum(axis=1, keepdims=True)
        found[part] = np.where(sums > 0, joint / np.maximum(sums, 1e-30), pooled[part])
    return found


def _parts(rows: NDArray[np.float32]) -> Iterator[slice]:
    """Slices of (N, k) rows that keep what is computed of them small."""
    step = max(1, min(_ROWS, _VALUES // rows.shape[1]))
    for begin in range(0, len(rows), step):
        yield slice(begin, begin + step)


def _centred_logs(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Centred logarithms; what was rounded to 0 counts as half of the least value that was not."""
    least = float(np.min(probabilities, initial=1.0, where=probabilities > 0))
    floor = np.float32(np.clip(least / 2, _FLOOR, _HIGHEST_FLOOR))
    logs: NDArray[np.float32] = np.maximum(probabilities, floor)
    np.log(logs, out=logs)
    logs -= logs.mean(axis=1, keepdims=True)
    return logs


def _pool(logs: Sequence[NDArray[np.float32]], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    pooled = np.zeros_like(logs[0])
    for log, weight in zip(logs, weights, strict=True):
        pooled += np.float32(weight) * log
    pooled -= pooled.max(axis=1, keepdims=True)
    np.exp(pooled, out=pooled)
    pooled /= pooled.sum(axis=1, keepdims=True)
    return pooled


def _thinned(count: int) -> NDArray[np.int64]:
    """At most MAX_SEARCHED positions, evenly drawn; the same ones every time."""
    if count <= MAX_SEARCHED:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, MAX_SEARCHED, replace=False))
