"""Label noise: 10 million labels drawn from a transition matrix, against NumPy.

Run: python benchmarks/bench_noise.py [--labels 10000000] [--repeats 5]
"""

import argparse
from functools import partial

import numpy as np
from timing import compare, save, show

from selfie_io.labels.noise import inject_noise


def searchsorted_by_class(labels, matrix, rng):
    """The usual NumPy: one searchsorted in the cumulative row for the members of each class."""
    noisy = np.empty_like(labels)
    uniform = rng.random(labels.size)
    for label, cumulative in enumerate(np.cumsum(matrix, axis=1)):
        members = labels == label
        noisy[members] = np.searchsorted(cumulative, uniform[members], side="right")
    return np.minimum(noisy, len(matrix) - 1)


def choice_by_class(labels, matrix, rng):
    """As simple as NumPy gets: one `choice` a class."""
    noisy = np.empty_like(labels)
    for label, row in enumerate(matrix):
        members = np.flatnonzero(labels == label)
        noisy[members] = rng.choice(len(matrix), members.size, p=row)
    return noisy


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    comparisons, ratios = [], {}
    for num_classes in (10, 200):
        labels = rng.integers(0, num_classes, arguments.labels)
        matrix = rng.dirichlet(np.ones(num_classes), num_classes)
        candidates = {
            "numpy searchsorted": partial(searchsorted_by_class, labels, matrix, rng),
            "numpy choice": partial(choice_by_class, labels, matrix, rng),
            "inject_noise": partial(inject_noise, labels, matrix),
            "inject_noise, 1 thread": partial(inject_noise, labels, matrix, num_threads=1),
        }
        title = f"{arguments.labels:,} labels of {num_classes} classes"
        comparisons.append(compare(title, candidates, repeats=arguments.repeats, items=arguments.labels))
        show(comparisons[-1], baseline="numpy searchsorted")
        ratios[f"{num_classes} classes"] = comparisons[-1].ratio("numpy searchsorted", "inject_noise")
    print(save("bench_noise", comparisons, times_faster_than_searchsorted=ratios))


if __name__ == "__main__":
    main()
