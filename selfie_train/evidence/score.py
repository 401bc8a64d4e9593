"""One score for each label, P(the given label is wrong), and which labels to flag, change or leave out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from selfie_train.evidence.how_many import RateEstimate, estimate_rate
from selfie_train.evidence.likelihood import with_wrong
from selfie_train.evidence.noise_model import fit_noise_model
from selfie_train.evidence.ranking import ranked_scores
from selfie_train.evidence.source import Evidence
from selfie_train.evidence.training_score import RunsWord, runs_word, with_runs_word

LEAST_SCORE = 0.5  # a label that is more likely right is not flagged
DOUBTFUL = 0.45  # a little less: a wrong label costs a training more than a record that is left out
WEAK_SCORE = 0.9


@dataclass(frozen=True)
class LabelScores:
    """What the evidence says of N labels.

    score: float64 (N,), P(the given label is wrong); posterior: float32 (N, k), P(each class is true)
    pooled: float32 (N, k), the same without looking at the given label
    flagged: bool (N,), score >= threshold
    suggested: int64 (N,), the likeliest class; of what is flagged the likeliest other one
    sure: bool (N,), flagged, the suggested class is likelier than the given one, and the label is wrong by
    the likelihood alone too: where the evidence was taken as surer, a flag may be the network's own error,
    and its suggestion is that error
    expected_precision, expected_recall: of the flags, by the scores alone
    evidence_error: how often the pooled evidence's own best guess is wrong, by its own word
    """

    score: NDArray[np.float64]
    posterior: NDArray[np.float32]
    pooled: NDArray[np.float32]
    suggested: NDArray[np.int64]
    flagged: NDArray[np.bool_]
    sure: NDArray[np.bool_]
    threshold: float
    expected_precision: float | None
    expected_recall: float | None
    evidence_error: float
    rate: RateEstimate
    weights: dict[str, float]
    is_weak: bool = False  # the evidence errs too often to flag more than a little
    runs_word: RunsWord | None = None  # what a run that trained on the labels added

    def relabelled(self, given: NDArray[np.int64]) -> NDArray[np.int64]:
        """The likeliest class where a label is surely wrong, else the given one."""
        return np.where(self.sure, self.suggested, given)

    def without_doubtful(self, given: NDArray[np.int64]) -> NDArray[np.int64]:
        """-1 where the score is DOUBTFUL or more, else the given label.

        Where the evidence is weak, only for what is flagged.
        """
        return np.where(self.flagged if self.is_weak else self.score >= DOUBTFUL, -1, given)


def score_labels(
    sources: Sequence[Evidence],
    given: NDArray[np.int64],
    num_classes: int,
    *,
    precision: float | None = None,
    statistics: Mapping[str, NDArray[np.float64]] | None = None,
) -> LabelScores:
    """Combine out-of-sample sources; `precision` sets the threshold, else the expected F1 does.

    `statistics` are those of a run that trained on the labels, each (N,).
    Raises ValueError if no source is out of sample: a network that has seen a label may have memorised it.
    """
    trusted = [source for source in sources if source.out_of_sample]
    if not trusted:
        raise ValueError("a score needs evidence from networks that did not train on the label, got none")
    model = fit_noise_model([source.probabilities for source in trusted], given, num_classes)
    likeliest = model.likeliest or model
    score = ranked_scores(model, given)
    posterior = with_wrong(likeliest.posterior, given, score)
    word = None
    if statistics is not None:
        word = runs_word(statistics, score)
        posterior, score = with_runs_word(posterior, score, given, word)
    model = replace(model, score=score)
    threshold = choose_threshold(score, precision)
    if precision is None and model.weak:
        threshold = max(threshold, WEAK_SCORE)
    flagged = score >= threshold
    rows = np.arange(len(given))
    own = posterior[rows, given]
    posterior[rows[flagged], given[flagged]] = -1  # what is flagged is suggested another class
    suggested = posterior.argmax(axis=1).astype(np.int64)
    posterior[rows, given] = own
    sure = flagged & (likeliest.score >= LEAST_SCORE) & (posterior[rows, suggested] > own)
    caught = float(score[flagged].sum())
    return LabelScores(
        score=score,
        posterior=posterior,
        pooled=model.pooled,
        suggested=suggested,
        flagged=flagged,
        sure=sure,
        threshold=threshold,
        expected_precision=caught / int(flagged.sum()) if flagged.any() else None,
        expected_recall=caught / float(score.sum()) if score.sum() > 0 else None,
        evidence_error=model.doubt,
        rate=estimate_rate(model, trusted, given, num_classes),
        weights={source.name: float(w) for source, w in zip(trusted, model.weights, strict=True)},
        is_weak=model.weak,
        runs_word=word,
    )


def choose_threshold(score: NDArray[np.float64], precision: float | None) -> float:
    """The least score to flag: of the largest expected F1, but at least LEAST_SCORE; or of `precision`.

    The expected F1 of the m highest scores is 2 * (their sum) / (m + sum of all). Of `precision` it is the
    lowest score down to which the mean of the scores keeps it; 1.01, that is none, if no score does.
    """
    ordered = np.sort(score)[::-1]
    sums = np.cumsum(ordered)
    counts = np.arange(1, len(ordered) + 1)
    if precision is not None:
        enough = np.flatnonzero(sums / counts >= precision)
        return float(ordered[enough[-1]]) if len(enough) else 1.01
    expected = 2 * sums / (counts + sums[-1])
    return max(float(ordered[int(np.argmax(expected))]), LEAST_SCORE)
