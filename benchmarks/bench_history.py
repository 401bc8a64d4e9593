"""Label histories: entropy and majority of a million samples against NumPy; the calls of one training step.

Run: python benchmarks/bench_history.py [--samples 1000000] [--repeats 5]
"""

import argparse
from functools import partial

import numpy as np
from timing import compare, save, show

from selfie_io.labels.history import LabelHistory

LENGTH = 15
BATCH = 128


def bincount_of_all(votes, num_classes, block=10_000):
    """The usual NumPy: bincount of a block's votes, then entropy and argmax of its table of counts."""
    entropy, majority = np.empty(len(votes)), np.empty(len(votes), np.int64)
    for start in range(0, len(votes), block):
        part = votes[start : start + block]
        size = len(part) * num_classes
        cells = np.arange(0, size, num_classes)[:, None] + part
        counts = np.bincount(cells.ravel(), minlength=size).reshape(-1, num_classes)
        shares = counts / LENGTH
        logs = np.log(shares, out=np.zeros_like(shares), where=counts > 0)
        entropy[start : start + block] = -(shares * logs).sum(axis=1) / np.log(num_classes)
        majority[start : start + block] = counts.argmax(axis=1)
    return entropy, majority


def ask_all(history, everyone):
    return history.entropy(everyone), history.majority(everyone)


def take_steps(history, batches, predicted):
    for batch in batches:
        history.record(batch, predicted)
        history.entropy(batch)
        history.majority(batch)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    everyone = np.arange(arguments.samples)
    comparisons, ratios, microseconds = [], {}, {}
    for num_classes in (10, 200):
        # Most votes agree, as in training: 70 % for one class, the rest anywhere.
        favourite = rng.integers(0, num_classes, (arguments.samples, 1))
        anywhere = rng.integers(0, num_classes, (arguments.samples, LENGTH))
        votes = np.where(rng.random((arguments.samples, LENGTH)) < 0.7, favourite, anywhere)
        history = LabelHistory(arguments.samples, num_classes, LENGTH)
        for visit in range(LENGTH):
            history.record(everyone, votes[:, visit])
        entropy, majority = bincount_of_all(votes, num_classes)
        assert np.allclose(entropy, history.entropy(), rtol=0, atol=1e-12)
        assert (majority == history.majority()).all()
        candidates = {
            "numpy bincount": partial(bincount_of_all, votes, num_classes),
            "LabelHistory": partial(ask_all, history, everyone),
        }
        title = f"entropy and majority of {arguments.samples:,} samples, {num_classes} classes"
        comparisons.append(compare(title, candidates, repeats=arguments.repeats, items=arguments.samples))
        show(comparisons[-1], baseline="numpy bincount")
        ratios[f"{num_classes} classes"] = comparisons[-1].ratio("numpy bincount", "LabelHistory")

        batches = rng.permutation(arguments.samples)[: BATCH * 50].reshape(50, BATCH)
        steps = partial(take_steps, history, batches, rng.integers(0, num_classes, BATCH))
        title = f"50 steps of record, entropy, majority of {BATCH}, {num_classes} classes"
        comparisons.append(compare(title, {"LabelHistory": steps}, repeats=20, items=50 * BATCH))
        show(comparisons[-1])
        timing = comparisons[-1].timings[0]
        figures = {"median": timing.median, "min": min(timing.seconds), "cpu": timing.median_cpu}
        microseconds[f"{num_classes} classes"] = {key: value / 50 * 1e6 for key, value in figures.items()}
    path = save(
        "bench_history", comparisons, times_faster_than_bincount=ratios, microseconds_a_step=microseconds
    )
    print(f"microseconds a step: {microseconds}\n{path}")


if __name__ == "__main__":
    main()
