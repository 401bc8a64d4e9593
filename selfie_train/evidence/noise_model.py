"""How labels were corrupted: P(given | true) and the posterior of the true class, from out-of-sample data.

The model is the likeliest one (`likelihood`), with evidence as sure as the labels allow (`doubt`).
A network that learnt noisy labels may give P(given | x) instead, and with T the identity explain every wrong
label as its own doubt. Anchors tell: among the records that it is surest are of class j, the shares of the
given labels are the row T[j] (Patrini et al., CVPR 2017). Where the anchors show more noise than the fitted T
does, f is sought with f T = p (Richardson 1972, Lucy 1974), and this model is taken if its rate is higher;
both by more than CONTRADICTION. A network that errs on more than WEAK_ERROR of the records is left as it is:
its own errors look like noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from selfie_train.evidence.doubt import WEAK_ERROR, believed
from selfie_train.evidence.likelihood import Matrix, NoiseModel, centred_logs, likeliest_model, parts

CONTRADICTION = 0.05
ANCHOR_SHARE, LEAST_ANCHORS = 0.2, 20  # of the records of a class by the pool's word
ANCHOR_PRIOR = 5.0
_FLOOR = 1e-12
_UNMIXING_STEPS = 30


def fit_noise_model(
    sources: Sequence[NDArray[np.float32]], given: NDArray[np.int64], num_classes: int
) -> NoiseModel:
    """Fit weights and T to `sources`, each (N, k), which must be out of sample."""
    logs = [centred_logs(source) for source in sources]
    model = likeliest_model(logs, given, num_classes)
    pooled = model.pooled
    anchors, likeliest = _anchor_matrix(pooled, given, num_classes)
    shown = float(likeliest @ (1 - np.diag(anchors)))
    found = float(likeliest @ (1 - np.diag(model.transition_matrix)))
    if shown > found + CONTRADICTION:
        other = likeliest_model([centred_logs(_unmixed(pooled, anchors))], given, num_classes)
        if other.doubt < WEAK_ERROR and other.rate > model.rate + CONTRADICTION:
            model = replace(other, weights=model.weights * other.weights[0], unmixed=True)
    return believed(model, given)


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
    for rows in parts(pooled):
        told = np.maximum(pooled[rows], np.float32(_FLOOR))
        part = told.copy()
        for _ in range(_UNMIXING_STEPS):
            part *= (told / np.maximum(part @ noise, np.float32(1e-30))) @ noise.T
            part /= part.sum(axis=1, keepdims=True)
        found[rows] = part
    return found
