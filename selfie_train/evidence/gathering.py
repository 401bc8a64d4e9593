"""From a data set and options to the sources of evidence: takes what is given, does what is missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfie_io.records.split import RecordSplit
from selfie_train.evidence.features import (
    EFFICIENTNET,
    Progress,
    features_available,
    features_evidence,
)
from selfie_train.evidence.probabilities import read_probabilities
from selfie_train.evidence.source import Evidence

DEFAULT_FOLDS = 5
LEAST_RECORDS = 10  # fewer cannot tell a wrong label from a rare one


@dataclass(frozen=True)
class EvidenceOptions:
    """What to gather evidence from; with nothing set, the features if their package is there, else folds."""

    folds: int | None = None
    features: str | None = None
    probabilities: Path | None = None
    seed: int = 0
    repeats: int = 1  # of the folds
    workers: int | None = None  # folds at a time
    ray: bool = False
    together: bool = False  # every process of torchrun gathers, and they share the folds

    def __post_init__(self) -> None:
        if self.folds is not None and self.folds < 2:
            raise ValueError(f"--folds must be at least 2, got {self.folds}")
        for option, value in (("--repeats", self.repeats), ("--workers", self.workers)):
            if value is not None and value < 1:
                raise ValueError(f"{option} must be positive, got {value}")


@dataclass
class Gathered:
    """The sources; the neighbours int32 (N, m) where features gave them; what was decided, a line each."""

    sources: list[Evidence] = field(default_factory=list)
    neighbours: NDArray[np.int32] | None = None
    statistics: dict[str, NDArray[np.float64]] | None = None  # of a run that trained on the labels
    notes: list[str] = field(default_factory=list)


def gather(
    split: RecordSplit,
    given: NDArray[np.int64],
    num_classes: int,
    options: EvidenceOptions,
    cache: Path,
    progress: Progress,
) -> Gathered:
    """Collect the evidence of a training split.

    Raises ValueError for too few records or classes and for a file that does not fit, ModuleNotFoundError
    where a wanted package is missing.
    """
    members = np.bincount(given, minlength=num_classes)
    if len(given) < LEAST_RECORDS or (members > 0).sum() < 2:
        raise ValueError(
            f"an audit needs at least {LEAST_RECORDS} records in at least 2 classes, got {len(given)} in "
            f"{int((members > 0).sum())}"
        )
    gathered = Gathered()
    folds = options.folds or DEFAULT_FOLDS
    rare = np.flatnonzero((members > 0) & (members < folds))
    if len(rare):
        gathered.notes.append(
            f"{len(rare)} classes have fewer than {folds} records (class {rare[0]} has {members[rare[0]]}): "
            "the evidence on these is weak"
        )
    if options.probabilities is not None:
        evidence = read_probabilities(options.probabilities, given, num_classes)
        gathered.sources.append(evidence)
        if (evidence.of_given(given) > 0.98).mean() > 0.98:
            gathered.notes.append(
                "the probabilities agree with nearly all labels: either hardly any is wrong, or the network "
                "trained on these labels and has memorised them; then use --folds or --features as well"
            )
    wants_features = options.features is not None
    nothing_asked = options.probabilities is None and options.folds is None and not wants_features
    if nothing_asked and features_available():
        wants_features = True
    if wants_features:
        found = features_evidence(
            split,
            given,
            num_classes,
            options.features or EFFICIENTNET,
            cache,
            seed=options.seed,
            progress=progress,
            folds=folds,
        )
        gathered.sources += found.sources
        gathered.neighbours = found.neighbours
    if options.folds is not None or (nothing_asked and not wants_features):
        from selfie_train.evidence.embedding import images_digest
        from selfie_train.evidence.folds import folds_evidence

        if nothing_asked:
            gathered.notes.append(
                "the extra [features] is not installed, so networks are trained on folds, which takes longer "
                "and finds less: pip install 'selfie-io[features]'"
            )
        gathered.sources.append(
            folds_evidence(
                split,
                given,
                num_classes,
                min(folds, len(given) // 2),
                cache,
                data_digest=images_digest(split),
                seed=options.seed,
                progress=progress,
                repeats=options.repeats,
                workers=options.workers,
                ray=options.ray,
                together=options.together,
            )
        )
    elif options.repeats > 1 or options.workers is not None or options.ray:
        gathered.notes.append("no folds are trained, so --repeats, --workers and --ray have no effect")
    return gathered
