"""What a run's own statistics add to a score: nothing once it memorised, something where they tell."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import average_precision_score

from selfie_train.evidence.training_score import STATISTIC, runs_word, with_runs_word

RECORDS, CLASSES = 2000, 3


def rough_posterior(seed):
    """Given labels, which are wrong, and the posterior of evidence that is only rough."""
    rng = np.random.default_rng(seed)
    given = rng.integers(0, CLASSES, RECORDS)
    wrong = rng.random(RECORDS) < 0.2
    score = expit(rng.normal(np.where(wrong, 0.5, -2.0), 1.0))
    posterior = np.empty((RECORDS, CLASSES), np.float32)
    posterior[:] = (score / (CLASSES - 1))[:, None]
    posterior[np.arange(RECORDS), given] = 1 - score
    return given, wrong, score, posterior


def statistics_of(wrong, gap, seed):
    rng = np.random.default_rng(seed)
    return {STATISTIC: expit(rng.normal(np.where(wrong, gap, -gap), 1.0))}


@pytest.mark.parametrize("seed", [0, 1])
def test_statistics_that_tell_raise_the_precision_and_keep_the_mean(seed):
    given, wrong, score, posterior = rough_posterior(seed)
    word = runs_word(statistics_of(wrong, 1.0, seed), score)
    assert not word.says_nothing
    found, own = with_runs_word(posterior, score, given, word)
    assert own.mean() == pytest.approx(score.mean(), abs=1e-9)
    np.testing.assert_allclose(1 - found[np.arange(RECORDS), given], own, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    assert average_precision_score(wrong, own) > average_precision_score(wrong, score) + 0.03


def test_a_run_that_memorised_its_labels_adds_nothing():
    given, wrong, score, posterior = rough_posterior(0)
    word = runs_word(statistics_of(np.zeros(RECORDS, np.bool_), 4.0, 1), score)
    _, own = with_runs_word(posterior, score, given, word)
    assert average_precision_score(wrong, own) > average_precision_score(wrong, score) - 0.005
    same = runs_word({STATISTIC: np.full(RECORDS, 0.5)}, score)
    assert same.says_nothing
    assert with_runs_word(posterior, score, given, same)[1] is score


def test_records_without_statistics_keep_their_score_and_a_backward_word_is_not_taken():
    given, wrong, score, posterior = rough_posterior(2)
    statistics = statistics_of(wrong, 1.0, 2)
    for values in statistics.values():
        values[:100] = np.nan
    assert not runs_word(statistics, score).log_odds[:100].any()
    backward = runs_word({name: 1 - values for name, values in statistics.items()}, score)
    assert backward.says_nothing
    nothing = runs_word({STATISTIC: np.full(RECORDS, np.nan)}, score)
    assert with_runs_word(posterior, score, given, nothing)[0] is posterior
