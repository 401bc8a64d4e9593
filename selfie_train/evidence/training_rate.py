"""The noise rate for `--noise-rate auto`, before the run: from the features' probe, else a short k-fold."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfie_io.records.atomic import atomic_path
from selfie_io.records.dataset import RecordDataset
from selfie_io.records.plain_files import read_json
from selfie_train.evidence.features import EFFICIENTNET, features_available
from selfie_train.evidence.gathering import EvidenceOptions, gather
from selfie_train.evidence.score import score_labels

FOLDS = 3
MOST_RECORDS = 10_000  # their share is known to half a percent
VERSION = 4


@dataclass(frozen=True)
class RateFound:
    """The rate with its interval, what it comes from, and whether it was found by an earlier run."""

    rate: float
    low: float
    high: float
    source: str
    was_kept: bool = False

    def __str__(self) -> str:
        kept = ", kept from an earlier run" if self.was_kept else ""
        return f"{self.source} ({self.low:.3f} to {self.high:.3f}{kept})"


def noise_rate_from_evidence(
    dataset: RecordDataset, given: NDArray[np.int64], cache: Path, *, seed: int
) -> RateFound:
    """The rate among at most MOST_RECORDS of the labels that are trained on; -1 is left out.

    `cache` keeps it, and what it was made from, for the next run.

    Raises ValueError for data on which no evidence can be had or only weak evidence.
    """
    chosen = np.flatnonzero(given >= 0)
    if len(chosen) > MOST_RECORDS:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, MOST_RECORDS, replace=False))
    split, labels = dataset.train.subset(chosen), given[chosen]
    digest = hashlib.sha256(np.ascontiguousarray(given, "<i8").tobytes())
    digest.update(f"{dataset.train.identity['records']} {seed} {VERSION}".encode())
    kept = cache / f"noise-rate-{digest.hexdigest()[:32]}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        told = read_json(kept)
        shares = [float(told[name]) for name in ("rate", "low", "high")]
        if all(0 <= share <= 1 for share in shares):
            return RateFound(shares[0], shares[1], shares[2], str(told["source"]), was_kept=True)
    ways = {f"{FOLDS} networks on folds": EvidenceOptions(folds=FOLDS, seed=seed)}
    if features_available():
        name = f"the features of {EFFICIENTNET}"
        ways = {name: EvidenceOptions(features=EFFICIENTNET, seed=seed), **ways}
    weak = []
    for source, options in ways.items():
        gathered = gather(split, labels, dataset.num_classes, options, cache, _silent)
        scores = score_labels(gathered.sources, labels, dataset.num_classes)
        if scores.is_weak:
            weak.append(f"{source} are wrong on {scores.evidence_error:.0%} of the records")
            continue
        rate = scores.rate
        with atomic_path(kept) as temporary:
            values = {"rate": rate.rate, "low": rate.low, "high": rate.high, "source": source}
            temporary.write_text(json.dumps(values) + "\n")
        return RateFound(rate.rate, rate.low, rate.high, source)
    raise ValueError("; ".join(weak))


def _silent(what: str, total: int) -> AbstractContextManager[Callable[[int], None]]:  # noqa: ARG001
    return contextlib.nullcontext(lambda steps: None)  # noqa: ARG005
