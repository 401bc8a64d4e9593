"""Co-teaching (Han et al., NeurIPS 2018): two networks, each learns what the other finds easy."""

from __future__ import annotations

import numpy as np

from selfie_train.methods.method import Choice, Method, Scores
from selfie_train.refurbish import small_loss

# Epochs until all of the noise rate is dropped: in the Co-teaching paper, and in the SELFIE authors' program.
RAMP_EPOCHS = {"paper": 10, "official": 15}


class CoTeaching(Method):
    """Each network picks its low-loss samples; its peer trains on them."""

    paper = "Han, Yao, Yu, Niu, Xu, Hu, Tsang, Sugiyama, NeurIPS 2018"
    settings = ("ramp", "variant")
    num_networks = 2

    def drop_rate(self, epoch: int) -> float:
        """1 - R(e): the share of a batch left out in `epoch` (from 0), growing to the noise rate."""
        variant = "official" if self.config.variant == "official" else "paper"
        started = epoch if variant == "paper" else epoch + 1
        return self.noise_rate * min(1.0, started / (self.config.ramp or RAMP_EPOCHS[variant]))

    def choose(self, scores: Scores) -> list[Choice]:
        """For each network the ceil(R b) samples of lowest loss of the OTHER one."""
        drop_rate = self.drop_rate(scores.epoch)
        picks = [small_loss(losses, drop_rate) for losses in scores.losses]
        return [Choice(scores.labels, pick.astype(np.float32), pick) for pick in reversed(picks)]
