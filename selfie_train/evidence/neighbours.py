"""The nearest records in a feature space, and what they vote for.

Distance: the cosine after projection on the first principal components, each scaled to variance 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfie_train.evidence.mapped import give_back, pieces, taken

COUNT = 50  # neighbours that vote
COMPONENTS = 128
MAX_REFERENCES = 50_000  # records among which neighbours are sought, and that probes learn: a sample of more
_TEMPERATURE = 0.1  # a neighbour's vote weighs exp(cosine / this)
_PRIOR = 0.02  # share of a vote that goes to all classes alike
_SAMPLE = 20_000  # records from which the components are found
_ROWS = 1024
_GROUPS = 16  # of columns, for each neighbour
_SHARED_ROWS = 65_536


@dataclass(frozen=True)
class Neighbours:
    """nearest int32 (N, m), positions of other records, nearest first; cosines float32 (N, m).

    references: int64, the records among which they were sought, in order: all, or a sample of many
    """

    nearest: NDArray[np.int32]
    cosines: NDArray[np.float32]
    references: NDArray[np.int64]

    def votes(
        self,
        judged: NDArray[np.int64],
        given: NDArray[np.int64],
        trust: NDArray[np.float32],
        num_classes: int,
    ) -> NDArray[np.float32]:
        """Class shares float32 (n, k) of the records `judged`: the given labels (N,) of those near them.

        trust: float32 (N,), P(the given label is right); the rest of a vote goes to all classes alike. The
        label and the trust of a record take no part in its own shares.
        """
        found = np.zeros((len(judged), num_classes), np.float32)
        for begin in range(0, len(judged), _SHARED_ROWS):
            part = judged[begin : begin + _SHARED_ROWS]
            near, cosines = self.nearest[part], self.cosines[part]
            weights = np.exp((cosines - cosines.max(axis=1, keepdims=True)) / _TEMPERATURE)
            weights /= weights.sum(axis=1, keepdims=True)
            weights *= (1 - _PRIOR) * trust[near]
            rows = np.arange(begin, begin + len(part))
            for column in range(near.shape[1]):  # each row once a turn: no two votes meet
                found[rows, given[near[:, column]]] += weights[:, column]
        found += (1 - found.sum(axis=1, keepdims=True)) / num_classes
        return found


def find_neighbours(features: NDArray[np.floating], seed: int, advance: Callable[[int], None]) -> Neighbours:
    """The COUNT nearest other records of each, or N - 1 if that is less.

    `advance` is told how many records are done.
    """
    records = len(features)
    rng = np.random.default_rng([seed, records])
    project = _projection(features, rng)
    references = np.arange(records)
    if records > MAX_REFERENCES:
        references = np.sort(rng.choice(records, MAX_REFERENCES, replace=False))
    known = np.empty((len(references), project(features[:1]).shape[1]), np.float32)
    for begin in range(0, len(references), _ROWS):
        known[begin : begin + _ROWS] = project(features[references[begin : begin + _ROWS]])
        give_back(features)
    count = min(COUNT, records - 1)
    found = np.empty((records, count), np.int32)
    cosines = np.empty((records, count), np.float32)
    place = np.full(records, -1)
    place[references] = np.arange(len(references))
    for begin, rows in pieces(features, _ROWS):
        end = begin + len(rows)
        closeness = project(rows) @ known.T
        own = place[begin:end]
        closeness[np.flatnonzero(own >= 0), own[own >= 0]] = -np.inf
        nearest = _largest(closeness, count)
        found[begin:end] = references[nearest]
        cosines[begin:end] = np.take_along_axis(closeness, nearest, 1)
        advance(end - begin)
    return Neighbours(found, cosines, references)


def _largest(values: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Columns int64 (n, count) of the largest values of each row, largest first, of equals the first.

    The columns are dealt into groups. The group maxima are values too, so the `count`-th largest of these is
    at most the `count`-th largest value, and few values reach it.
    """
    rows, columns = values.shape
    groups = min(columns, _GROUPS * count)
    whole = columns // groups * groups
    maxima = values[:, :whole].reshape(rows, -1, groups).max(axis=1)
    least = np.partition(maxima, groups - count, axis=1)[:, groups - count]
    row, column = np.divmod(np.flatnonzero(values >= least[:, None]), columns)
    order = np.lexsort((column, -values[row, column], row))
    starts = np.searchsorted(row, np.arange(rows))
    found: NDArray[np.int64] = column[order][starts[:, None] + np.arange(count)]
    return found


def _projection(
    features: NDArray[np.floating], rng: np.random.Generator
) -> Callable[[NDArray[np.floating]], NDArray[np.float32]]:
    chosen = np.arange(len(features))
    if len(features) > _SAMPLE:
        chosen = np.sort(rng.choice(len(features), _SAMPLE, replace=False))
    sample = np.asarray(taken(features, chosen), np.float32)
    mean = sample.mean(axis=0)
    centred = sample - mean
    values, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64) / len(centred))
    kept = np.arange(len(values))[::-1][: min(COMPONENTS, len(values))]
    kept = kept[values[kept] > 1e-6 * max(values[-1], 1e-30)]
    basis = (vectors[:, kept] / np.sqrt(values[kept])).astype(np.float32)

    def project(rows: NDArray[np.floating]) -> NDArray[np.float32]:
        points = (np.asarray(rows, np.float32) - mean) @ basis
        lengths = np.sqrt((points * points).sum(axis=1, keepdims=True))
        scaled: NDArray[np.float32] = points / np.maximum(lengths, 1e-12)
        return scaled

    return project
