"""Small-loss selection: Co-teaching (Han et al., NeurIPS 2018) with one network, which picks for itself.

The network learns from the ceil(R(e) b) samples of lowest loss of each batch;
R(e) = 1 - noise_rate * min(1, e / ramp), as in Co-teaching.
"""

from selfie_train.methods.co_teaching import CoTeaching


class SmallLoss(CoTeaching):
    """The network picks its low-loss samples and trains on them."""

    num_networks = 1
