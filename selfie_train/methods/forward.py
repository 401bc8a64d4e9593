"""Forward correction (Patrini, Rozza, Menon, Nock, Qu, CVPR 2017): predict through the noise.

The loss is the cross entropy of the given label y under T^T p: -log sum_i p_i T[i, y], with
T[i, j] = P(given j | true i). Its gradient with respect to the logits is p - s with the soft target
s_j = T[j, y] p_j / sum_i T[i, y] p_i: the probability that j is the true class, given y and p.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ANCHOR_PERCENTILE = 97  # the original setting for CIFAR-10; 100 for CIFAR-100


def forward_targets(
    probabilities: NDArray[np.float32], labels: NDArray[np.int64], transition: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Soft targets float32 (b, k) of probabilities (b, k) and given labels (b,); each row sums to 1.

    Where `transition` (k, k) says that the given label cannot occur, the target is that label.
    """
    joint = probabilities.astype(np.float64) * transition.T[labels]
    total = joint.sum(axis=1)
    impossible = total <= 0
    joint[impossible, labels[impossible]] = total[impossible] = 1
    return (joint / total[:, None]).astype(np.float32)


def estimate_transition(
    probabilities: NDArray[np.float32], percentile: float = ANCHOR_PERCENTILE
) -> NDArray[np.float64]:
    """T float64 (k, k) from the probabilities (n, k) of a network trained on the given labels.

    The anchor of class i is the sample most probably of it below the `percentile` of all n, since
    those above may be outliers; row i of T is what the network says of it (Patrini et al.,
    section 4.1).
    """
    anchors = []
    for column in probabilities.T:
        limit = np.percentile(column, percentile, method="higher")
        below = np.where(column < limit, column, -1) if percentile < 100 else column
        anchors.append(int(below.argmax()) if below.max() >= 0 else int(column.argmax()))
    rows = probabilities[anchors].astype(np.float64)
    return rows / rows.sum(axis=1, keepdims=True)
