"""Scores every training label: a trained network and its past predictions against the given ones.

For each sample a distribution over the classes is formed: the network's probabilities in eval mode, averaged
with the shares of the votes in its history where the method kept one. The score is (1 - margin) / 2, with
margin the given label's share minus the largest other one: 0 is sure that the label is right, 1 that it is
wrong, and above 0.5 another class is the more likely one. (Normalised margin: Northcutt et al., JAIR 2021;
here in-sample, so a method that memorised the noise, as Default does, cannot see it.)
"""

from __future__ import annotations

import numpy as np

from selfie_train.runs.label_issues import LabelIssues
from selfie_train.training.components import Components


def find_issues(components: Components) -> LabelIssues:
    """Score every training label with the networks and the method's memory of a run."""
    given = components.labels.given
    count = len(given)
    suggested = np.empty(count, np.int64)
    scores = np.empty(count)
    probability_given, votes_given = np.empty(count), np.full(count, np.nan)
    with components.loader(components.dataset.train, training=False) as loader:
        for batch in loader:
            indices = batch.indices.numpy()
            rows = np.arange(len(indices))
            labels = given[indices]
            shares = components.learner.probabilities(batch.images)
            probability_given[indices] = shares[rows, labels]
            votes = components.method.vote_shares(indices)
            if votes is not None:
                votes_given[indices] = votes[rows, labels]
                shares = (shares + votes) / 2
            own = shares[rows, labels]
            others = shares.copy()
            others[rows, labels] = -1
            best_other = others.max(axis=1)
            scores[indices] = (1 - (own - best_other)) / 2
            suggested[indices] = np.where(best_other > own, others.argmax(axis=1), labels)
    signals = {"probability_given": probability_given, "votes_given": votes_given}
    return LabelIssues(components.dataset, components.labels, suggested, scores, signals)
