"""Findings for the tests of the review page."""

import numpy as np

from selfie_train.report.review import ReviewData

CLASSES = ("cat", "dog", "bird")


def findings(count=40, *, classes=CLASSES, shape=(3, 8, 8), **changes):
    """`count` findings with known labels: finding i is record 100 + i at index 2 i, given i mod k."""
    rows = np.arange(count)
    k = len(classes)
    rng = np.random.default_rng(0)
    values = {
        "title": "Review of digits",
        "digest": "d1",
        "class_names": classes,
        "records": 2 * count + 10,
        "index": 2 * rows,
        "record_id": 100 + rows,
        "name": [f"train/{classes[i % k]}/{i:04d}.png" for i in range(count)],
        "given": rows % k,
        "suggested": (rows + 1) % k,
        "score": np.linspace(0.99, 0.51, count),
        "flagged": np.ones(count, bool),
        "top_classes": np.stack([(rows + shift) % k for shift in (1, 0, 2)], 1),
        "top_probabilities": np.tile([0.7, 0.2, 0.1], (count, 1)),
        "images": rng.integers(0, 256, (count, *shape), dtype=np.uint8),
        "sources": {
            "training": ["disagrees" if i % 2 else "" for i in range(count)],
            "features": ["4 of 5 neighbours have another label"] * count,
        },
        "estimated_wrong": 20.0,
    }
    return ReviewData(**{**values, **changes})
