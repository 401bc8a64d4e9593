"""The noise rate for `--noise-rate auto`: from the features' probe, kept beside the run."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfie_io.records.atomic import atomic_path
from selfie_io.records.dataset import RecordDataset
from selfie_io.records.plain_files import read_json
from selfie_train.evidence.gathering import EvidenceOptions, gather
from selfie_train.evidence.score import score_labels

FILE = "noise_rate.json"


def noise_rate_from_evidence(
    dataset: RecordDataset, given: NDArray[np.int64], cache: Path, *, seed: int
) -> tuple[float, float, float]:
    """The rate and its interval among the labels that are trained on; -1 is left out.

    Raises ValueError for data on which no evidence can be had or only weak evidence.
    """
    used = given >= 0
    labels = np.where(used, given, dataset.train.labels)
    digest = hashlib.sha256(np.ascontiguousarray(given, "<i8").tobytes())
    digest.update(str(dataset.train.identity["records"]).encode())
    kept = cache / FILE
    if kept.is_file():
        told = read_json(kept)
        if told["digest"] == digest.hexdigest():
            return told["rate"], told["low"], told["high"]
    options = EvidenceOptions(features="efficientnet-lite0", seed=seed)
    gathered = gather(dataset.train, labels, dataset.num_classes, options, cache, _silent)
    scores = score_labels(gathered.sources, labels, dataset.num_classes)
    if scores.is_weak:
        raise ValueError(f"the features are wrong on {scores.evidence_error:.0%} of the records")
    rate = float(scores.score[used].mean())
    moved = rate - scores.rate.rate
    low, high = max(scores.rate.low + moved, 0.0), min(scores.rate.high + moved, 1.0)
    with atomic_path(kept) as temporary:
        temporary.write_text(
            json.dumps({"rate": rate, "low": low, "high": high, "digest": digest.hexdigest()}) + "\n"
        )
    return rate, low, high


def _silent(what: str, total: int) -> AbstractContextManager[Callable[[int], None]]:  # noqa: ARG001
    return contextlib.nullcontext(lambda steps: None)  # noqa: ARG005
