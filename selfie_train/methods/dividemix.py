"""DivideMix (Li, Socher, Hoi, ICLR 2020): two networks divide the samples for each other, then mix them.

1. Co-divide: each epoch a mixture of two Gaussians over a network's losses gives w, the probability
   that a label is right; the OTHER network takes labels with w > p_threshold as labelled.
2. Of two augmented views, a labelled sample's target is sharpen(w y + (1 - w) p), p the network's mean
   over the views (co-refinement); an unlabelled one's is the sharpened mean of both networks (co-guessing).
3. Mixup of all views and targets with lambda ~ max(l, 1 - l), l ~ Beta(alpha, alpha). The loss is cross
   entropy on labelled rows + lambda_u * squared error of the probabilities on unlabelled ones + KL of
   a uniform prior to the mean probability. lambda_u grows linearly over 16 epochs after warm-up.

Original settings: the defaults below, SGD with lr 0.02 and batch 64, 300 epochs, warm-up 10 (CIFAR-100: 30)
and lambda_u 25 (0 where 20 % of the labels are wrong, or 40 % asymmetrically; CIFAR-100: 150).
Differences: losses come from the epoch's own passes in train mode, not from one more pass; labelled and
unlabelled samples share the batch as they come, and each part's loss is a mean over that part; both
networks step in turn on one scoring of the batch; no confidence penalty in warm-up.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from selfie_train.methods.method import Choice, Method, Mixup, Scores
from selfie_train.methods.options import check_range
from selfie_train.methods.remembered import remembered_array, remembered_count

if TYPE_CHECKING:
    from selfie_train.config import TrainConfig

RAMP_EPOCHS = 16


@dataclass(frozen=True)
class DivideMixOptions:
    """Options of `dividemix`."""

    p_threshold: float = 0.5
    """Samples above this probability of a right label are labelled; inside [0, 1]."""
    temperature: float = 0.5
    """Of sharpening: p^(1 / temperature), normalised; inside (0, 1]."""
    alpha: float = 4.0
    """Of the Beta distribution of mixup; positive."""
    lambda_u: float = 25.0
    """Weight of the unlabelled loss after its ramp; not negative."""

    def __post_init__(self) -> None:
        check_range("p_threshold", self.p_threshold, 0, 1)
        check_range("temperature", self.temperature, 0, 1, open_low=True)
        check_range("alpha", self.alpha, 0, open_low=True)
        check_range("lambda_u", self.lambda_u, 0)


def clean_probabilities(losses: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """The probability float32 (N,) that each label is right, from its loss float32 (N,): that of the
    component of lower mean, in a mixture of two Gaussians over the losses scaled to 0..1."""
    low, high = float(losses.min()), float(losses.max())
    if not low < high:
        return np.ones(len(losses), np.float32)
    scaled = ((losses - low) / (high - low)).reshape(-1, 1).astype(np.float64)
    mixture = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # ten iterations are the authors' setting
        mixture.fit(scaled)
    shares: NDArray[np.float64] = mixture.predict_proba(scaled)[:, mixture.means_.argmin()]
    return shares.astype(np.float32)


def sharpen(probabilities: NDArray[Any], temperature: float) -> NDArray[np.float64]:
    """p^(1 / temperature), each row (b, k) normalised to sum 1."""
    powers = probabilities.astype(np.float64) ** (1 / temperature)
    shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return shares


class DivideMix(Method):
    """Two networks that tell each other which labels to trust, on mixed views."""

    paper = "Li, Socher, Hoi, ICLR 2020"
    Options = DivideMixOptions
    options: DivideMixOptions
    settings = ("warmup",)
    num_networks = 2
    num_views = 2
    needs_noise_rate = False
    needs_probabilities = True

    def __init__(self, config: TrainConfig, num_samples: int, num_classes: int, noise_rate: float) -> None:
        super().__init__(config, num_samples, num_classes, noise_rate)
        self._losses = np.zeros((2, num_samples), np.float32)  # of each sample's last visit
        self._clean = np.ones((2, num_samples), np.float32)  # w, of the epoch in hand
        self._epoch = self._step = self._seen = 0

    def learns_anew(self, epoch: int) -> bool:
        """After warm-up: the mixtures are other images."""
        return epoch >= self.config.warmup

    def choose(self, scores: Scores) -> list[Choice] | None:
        """Plain training in warm-up; then a mixed batch for each network."""
        if scores.epoch != self._epoch:
            self._epoch, self._seen = scores.epoch, 0
            if scores.epoch >= self.config.warmup:
                self._clean = np.stack([clean_probabilities(row, self.config.seed) for row in self._losses])
        self._losses[:, scores.indices] = scores.losses
        choices = None
        if scores.epoch >= self.config.warmup:
            choices = [self._mixed(scores, number) for number in range(2)]
        self._step += 1
        self._seen += len(scores.labels)
        return choices

    def _mixed(self, scores: Scores, number: int) -> Choice:
        """What network `number` learns: targets and weights of both views, view after view."""
        options, size, k = self.options, len(scores.labels), self.num_classes
        own = scores.probabilities[number]  # type: ignore[index]
        w = self._clean[1 - number][scores.indices][:, None]
        labelled = w[:, 0] > options.p_threshold
        refined = sharpen(w * np.eye(k)[scores.labels] + (1 - w) * own, options.temperature)
        guessed = sharpen(scores.probabilities.mean(0), options.temperature)  # type: ignore[union-attr]
        targets = np.tile(np.where(labelled[:, None], refined, guessed), (2, 1))

        generator = np.random.default_rng((self.config.seed, self._step, number))
        share = generator.beta(options.alpha, options.alpha)
        share = max(share, 1 - share)
        partners = generator.permutation(2 * size)
        mixed = share * targets + (1 - share) * targets[partners]

        done = scores.epoch - self.config.warmup + self._seen / self.num_samples
        lambda_u = options.lambda_u * min(1.0, done / RAMP_EPOCHS)
        num_labelled = int(np.count_nonzero(labelled))
        # The mean over the batch of these weights times the losses is a mean over each part.
        right, wrong = size / max(1, num_labelled), lambda_u * size / max(1, size - num_labelled)
        weights = np.tile(np.where(labelled, right, wrong), 2).astype(np.float32)
        mixup = Mixup(partners, float(share), squared=np.tile(~labelled, 2), balance=1.0)
        return Choice(mixed.astype(np.float32), weights, labelled, divisor="batch", mixup=mixup)

    def state_dict(self) -> dict[str, Any]:
        """Losses, probabilities of right labels, and the place in the epoch."""
        place = {"epoch": self._epoch, "step": self._step, "seen": self._seen}
        return {"losses": self._losses.copy(), "clean": self._clean.copy(), **place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to `state`; ValueError if it is of another number of samples, or none."""
        shape = self._losses.shape
        self._losses = remembered_array(state, "losses", np.float32, shape, 0)
        self._clean = remembered_array(state, "clean", np.float32, shape, 0, 1)
        self._epoch, self._step, self._seen = (
            remembered_count(state, key) for key in ("epoch", "step", "seen")
        )
