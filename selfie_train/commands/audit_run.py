"""What the audit of a run adds: the run's own word on its labels, and whether it has memorised them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from selfie_train.commands.audit_subject import Subject

if TYPE_CHECKING:
    from selfie_train.evidence.features import Progress
    from selfie_train.evidence.gathering import Gathered
    from selfie_train.evidence.score import LabelScores

DOUBTFUL = 0.8  # a score from which on the other evidence holds a label for wrong
MEMORISED = 0.5  # of these labels, predicted by the run


def add_run(subject: Subject, gathered: Gathered, progress: Progress) -> None:
    """Let the networks of the subject's run look at its records; what cannot be had is a note."""
    if subject.run is None:
        return
    from selfie_train.training.run_evidence import run_evidence

    config, folder = subject.run
    try:
        found = run_evidence(config, folder, progress)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        gathered.notes.append(f"the run's own networks have no part in the scores: {error}")
        return
    gathered.sources.append(found.evidence)
    gathered.statistics = {
        **{name: np.asarray(values, np.float64) for name, values in found.statistics.items()},
        "run_given": found.evidence.of_given(subject.given).astype(np.float64),
    }


def run_note(subject: Subject, gathered: Gathered, scores: LabelScores) -> str | None:
    """What the run's word was worth, in a line; None without one."""
    if gathered.statistics is None or scores.runs_word is None:
        return None
    probabilities = next(one.probabilities for one in gathered.sources if one.name == "run")
    doubtful = scores.score >= DOUBTFUL
    learnt = ""
    if doubtful.any():
        share = float(np.mean(probabilities[doubtful].argmax(axis=1) == subject.given[doubtful]))
        what = "has memorised them" if share >= MEMORISED else "has not memorised them"
        learnt = f"it predicts {share:.0%} of the labels that are held for wrong, so it {what}; "
    worth = (
        "its statistics tell wrong labels no better than chance and have no part in the scores"
        if scores.runs_word.says_nothing
        else "its statistics count as far as they agree with evidence that is out of sample"
    )
    return f"the run: {learnt}{worth}"
