"""The loop over a batch that keeps the statistics of training, compiled by numba and cached on disk."""
# mypy: allow-untyped-defs, no-check-untyped-defs

import math

import numpy as np

from selfie_io.labels._kernels import kernel

# The columns of the table, float64 (N, COLUMNS): one row is a cache line or two.
SEEN, MARGIN_SUM, GIVEN_SUM, GIVEN, OTHER_SUM, OTHER, OTHER_CLASS, OTHER_VOTES = range(8)
WRONG, FORGOTTEN, WAS_RIGHT, LOSS, RANK_SUM, WHEN = range(8, 14)  # WHEN: the number of the last visit's batch
COLUMNS = 14
# Of the last visit; the others are sums.
LAST = (GIVEN, OTHER, OTHER_CLASS, OTHER_VOTES, WAS_RIGHT, LOSS, WHEN)
COUNTS = (SEEN, OTHER_VOTES, WRONG, FORGOTTEN, WHEN)


@kernel
def record(table, touched, when, indices, labels, logits):
    """Count batch number `when`: logits float32 (r, b, k) of b records.

    Returns the first position whose index or label is out of range, before anything is changed, or -1.
    """
    rows, size, num_classes = logits.shape
    for i in range(size):
        if not 0 <= indices[i] < table.shape[0] or not 0 <= labels[i] < num_classes:
            return i
    shares = np.empty(num_classes)
    powers = np.empty(num_classes)
    for i in range(size):
        label = labels[i]
        shares[:] = 0.0
        margin = loss = 0.0
        for row in range(rows):
            top = best = -np.inf
            for c in range(num_classes):
                value = np.float64(logits[row, i, c])
                top = max(top, value)
                if c != label:
                    best = max(best, value)
            total = 0.0
            for c in range(num_classes):
                powers[c] = math.exp(np.float64(logits[row, i, c]) - top)
                total += powers[c]
            for c in range(num_classes):
                shares[c] += powers[c] / total
            own = np.float64(logits[row, i, label])
            margin += own - best
            loss += math.log(total) + top - own
        other = 1 if label == 0 else 0
        for c in range(num_classes):
            if c != label and shares[c] > shares[other]:
                other = c
        given, second = shares[label] / rows, shares[other] / rows
        right = given > second or (given == second and label < other)

        line = table[indices[i]]
        touched[indices[i]] = True
        line[SEEN] += 1
        line[MARGIN_SUM] += margin / rows
        line[GIVEN_SUM] += given
        line[GIVEN] = given
        line[OTHER_SUM] += second
        line[OTHER] = second
        if line[OTHER_VOTES] == 0:
            line[OTHER_CLASS] = other
        line[OTHER_VOTES] += 1 if line[OTHER_CLASS] == other else -1
        if not right:
            line[WRONG] += 1
            line[FORGOTTEN] += line[WAS_RIGHT]
        line[WAS_RIGHT] = 1.0 if right else 0.0
        line[LOSS] = loss / rows
        line[WHEN] = when
    return -1
