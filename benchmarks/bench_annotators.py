"""The audit's flags against cleanlab's filter on networks that trained on labels of simulated annotators.

Classes are Gaussians in groups that look alike, some records harder than others. Annotator and network each
see a record through noise of their own, and of noise that they share; a network gives what the labels of the
41 records nearest to its view are, sharpened or flattened. Needs an interpreter that has cleanlab.

    python benchmarks/bench_annotators.py --cleanlab venv/bin/python --seeds 6 8
"""

from __future__ import annotations

import argparse

import numpy as np
from bench_audit import cleanlab_says, grade
from sklearn.neighbors import NearestNeighbors

from selfie_train.evidence.score import score_labels
from selfie_train.evidence.source import Evidence

CLASSES, DIMENSIONS, RECORDS = 10, 12, 8000
NOISE = (("human", 0.09), ("human", 0.4), ("half random", 0.09), ("half random", 0.4), ("human", 0.17))
DRAWS = 3  # of each noise, for each seed
SHARED = (0.1, 0.3, 0.5, 0.7)  # of the annotator's noise, that the network sees too


def softmax(logits):
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def logits_of(centres, seen):
    return seen @ centres.T - 0.5 * (centres**2).sum(axis=1)


def separation(error, wanted):
    """How far apart classes must be for `error` of it to be `wanted`, by bisection."""
    low, high = 0.3, 15.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if error(middle) > wanted else (low, middle)
    return middle


def draw(kind, rate, rng, shares_of_error):
    """Probabilities (N, k), given and true labels (N,), the network's error, and what both share."""
    groups, alike = rng.normal(0, 1, (4, DIMENSIONS)), rng.uniform(0.5, 0.75)
    own = np.sqrt(1 - alike**2) * rng.normal(0, 1, (CLASSES, DIMENSIONS))
    centres = alike * groups[rng.integers(0, 4, CLASSES)] + own
    true = rng.integers(0, CLASSES, RECORDS)
    hardness = np.exp(rng.normal(0, 0.5, RECORDS))[:, None]
    annotators = rng.normal(0, 1, (RECORDS, DIMENSIONS))
    shared, error = rng.choice(shares_of_error), rng.choice([0.02, 0.06, 0.1, 0.14])
    networks = shared * annotators + np.sqrt(1 - shared**2) * rng.normal(0, 1, annotators.shape)

    def seen(apart, noise):
        return logits_of(centres * apart, centres[true] * apart + hardness * noise)

    view = seen(separation(lambda s: np.mean(seen(s, networks).argmax(1) != true), error), networks)
    random = rate / 2 if kind == "half random" else 0.0
    apart = separation(lambda s: np.mean(seen(s, annotators).argmax(1) != true), rate - random)
    given = seen(apart, annotators).argmax(1)
    picked = rng.random(RECORDS) < random * CLASSES / (CLASSES - 1)
    given = np.where(picked, rng.integers(0, CLASSES, RECORDS), given)
    near = NearestNeighbors(n_neighbors=42).fit(view).kneighbors(view, return_distance=False)[:, 1:]
    learnt = 0.97 * np.eye(CLASSES)[given][near].mean(axis=1) + 0.03 * softmax(view * 0.3)
    sharpness, roughness = rng.choice([0.7, 1.0, 1.5, 2.5]), rng.choice([0.15, 0.4])
    shares = softmax(sharpness * np.log(learnt + 1e-6) + roughness * rng.normal(0, 1, learnt.shape))
    return shares.astype(np.float32), given, true, error, shared


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cleanlab", required=True, help="an interpreter that has cleanlab")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--shared", type=float, nargs="+", default=SHARED, help="shares of error to draw from, 0 to 1"
    )
    options = parser.parse_args()
    rows = []
    for seed in options.seeds:
        for number, (kind, rate) in enumerate(NOISE * DRAWS):
            shares, given, true, error, shared = draw(
                kind, rate, np.random.default_rng([seed, number]), options.shared
            )
            wrong = given != true
            found = score_labels([Evidence("probabilities", "", True, shares)], given, CLASSES)
            ours = grade(wrong, found.score, found.flagged, found.rate.rate)
            said = cleanlab_says(options.cleanlab, given, shares)
            theirs = grade(wrong, said["self_confidence"], said["flagged"], float(said["rate"]))
            rows.append((kind, rate, ours["f1"], theirs["f1"], ours["ap"], theirs["ap"], ours["rate_error"]))
            print(
                f"{kind} {rate} error {error} shared {shared}: F1 {ours['f1']:.3f} {theirs['f1']:.3f}",
                flush=True,
            )
    all_rows = np.array([row[2:4] for row in rows])
    print(
        f"all {len(rows)} draws: mean F1 {all_rows[:, 0].mean():.3f}, cleanlab {all_rows[:, 1].mean():.3f}, "
        f"ahead in {int((all_rows[:, 0] > all_rows[:, 1]).sum())}"
    )
    for kind, rate in NOISE:
        figures = np.array([row[2:] for row in rows if row[:2] == (kind, rate)])
        means, ahead = figures.mean(axis=0), int((figures[:, 0] > figures[:, 1]).sum())
        print(
            f"| {kind} {rate} | {means[0]:.3f} | {means[1]:.3f} | {ahead} of {len(figures)} | {means[2]:.3f} "
            f"| {means[3]:.3f} | {np.abs(figures[:, 4]).mean():.3f} |"
        )


if __name__ == "__main__":
    main()
