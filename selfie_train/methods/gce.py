"""GCE (Zhang, Sabuncu, NeurIPS 2018): between cross entropy (q -> 0) and absolute error (q = 1).

The loss of a sample with label y and probabilities p is (1 - p_y^q) / q. Its gradient with respect
to the logits is p_y^q (p - e_y): that of cross entropy against the soft target p_y^q e_y, so a
sample that the network doubts counts less. The original setting is q = 0.7; the paper's truncated
variant is not offered.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def gce_weights(losses: NDArray[np.float32], q: float) -> NDArray[np.float32]:
    """p_y^q of each sample float32 (b,), from its cross entropy `losses` = -log p_y float32 (b,)."""
    return np.exp(-q * losses.astype(np.float64)).astype(np.float32)
