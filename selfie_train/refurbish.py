"""SELFIE's choice for a mini-batch: which samples are clean, which can be refurbished, and the label.

NumPy arrays in and out; any training loop can use it. Source: Song, Kim, Lee, "SELFIE: Refurbishing Unclean
Samples for Robust Deep Learning", ICML 2019, section 3; variant="official" is the authors' program.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from selfie_io.labels.history import LabelHistory


class Selection(NamedTuple):
    """What to learn from a batch of b samples, in the batch's order."""

    targets: NDArray[np.int64]  # (b,) the refurbished label, or the given one
    weights: NDArray[np.float32]  # (b,) 1 used, 0 dropped
    clean: NDArray[np.bool_]  # (b,) among the lowest losses
    refurbished: NDArray[np.bool_]  # (b,) learns from a refurbished label


def small_loss(losses: ArrayLike, noise_rate: float) -> NDArray[np.bool_]:
    """Mark the ceil(b * (1 - noise_rate)) lowest of b losses; of equal ones the earlier, NaN last.

    Raises ValueError if noise_rate is outside [0, 1] or losses is not one-dimensional.
    """
    values = np.asarray(losses)
    if values.ndim != 1:
        raise ValueError(f"losses must be one-dimensional, got shape {values.shape}")
    marked = np.zeros(values.size, dtype=np.bool_)
    marked[np.argsort(values, kind="stable")[: num_small_loss(values.size, noise_rate)]] = True
    return marked


def num_small_loss(batch_size: int, noise_rate: float) -> int:
    """ceil(batch_size * (1 - noise_rate)), where a product that is an integer but for rounding counts as it.

    In floating point 10 * (1 - 0.7) is 3.0000000000000004, whose ceiling would keep one sample too many. That
    error is a few times 2**-53 of the batch size, while the product of an observed rate m / N misses an
    integer by 1 / N or more: 1e-12 of the batch size lies well between the two for every N below a billion.
    """
    if not 0 <= noise_rate <= 1:
        raise ValueError(f"noise_rate must be in [0, 1], got {noise_rate}")
    return max(0, math.ceil(batch_size * (1 - noise_rate) - batch_size * 1e-12))


class Refurbisher:
    """The memory of SELFIE over a training set: past predictions and refurbished labels of every sample.

    num_samples: N of the training set
    num_classes: k; labels and predictions are in 0..k-1
    history_length: predictions kept of each sample
    threshold: the largest normalised entropy of a refurbishable sample's predictions
    variant: "paper", or "official" for the authors' program with its quirks
    reuse_refurbished: keep a refurbished label when the predictions of its sample waver again

    Raises ValueError for a threshold outside [0, 1] or an unknown variant.
    """

    def __init__(
        self,
        num_samples: int,
        num_classes: int,
        *,
        history_length: int = 15,
        threshold: float = 0.05,
        variant: Literal["paper", "official"] = "paper",
        reuse_refurbished: bool = False,
    ) -> None:
        if variant not in ("paper", "official"):
            raise ValueError(f"variant must be one of paper, official; got {variant!r}")
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be in [0, 1] (entropy is normalised), got {threshold}")
        self.num_samples = num_samples
        self.num_classes = num_classes
        self.history_length = history_length
        self.threshold = threshold
        self.official = variant == "official"
        self.reuse_refurbished = reuse_refurbished or self.official
        # The official ring starts full of class 0, and those zeros count as votes.
        self.history = LabelHistory(num_samples, num_classes, length=history_length, prefilled=self.official)
        self._refurbished = np.full(num_samples, -1, dtype=np.int64)

    def record(self, indices: ArrayLike, predicted: ArrayLike) -> None:
        """Append each sample's predicted class int64[b] to its history."""
        self.history.record(indices, predicted)

    def select(
        self, indices: ArrayLike, labels: ArrayLike, losses: ArrayLike, noise_rate: float
    ) -> Selection:
        """Choose from a batch by its losses float[b] against labels int64[b], before `record` sees it.

        Raises ValueError if the three differ in length or noise_rate is outside [0, 1], IndexError for an
        index outside the training set.
        """
        positions = np.asarray(indices, dtype=np.int64)
        targets = np.array(labels, dtype=np.int64)
        if not positions.shape == targets.shape == np.shape(losses):
            raise ValueError(
                "indices, labels and losses must have one length, "
                f"got {positions.shape}, {targets.shape}, {np.shape(losses)}"
            )
        clean = small_loss(losses, noise_rate)

        certain = self.history.entropy(positions) <= self.threshold
        if not self.official:
            certain &= self.history.visits(positions) >= self.history_length
        chosen = positions[certain]
        self._refurbished[chosen] = self.history.majority(chosen)

        known = self._refurbished[positions]
        refurbished = certain | (known >= 0) if self.reuse_refurbished else certain
        targets[refurbished] = known[refurbished]
        return Selection(targets, (clean | refurbished).astype(np.float32), clean, refurbished)

    def warmup_targets(self, indices: ArrayLike, labels: ArrayLike) -> NDArray[np.int64]:
        """Labels int64[b] to learn in warm-up: the given ones; official: refurbished ones where there are."""
        targets = np.array(labels, dtype=np.int64)
        if self.official:
            known = self._refurbished[np.asarray(indices, dtype=np.int64)]
            targets[known >= 0] = known[known >= 0]
        return targets

    def refurbished_labels(self) -> NDArray[np.int64]:
        """The last refurbished label of every sample int64[N], -1 where none."""
        return self._refurbished.copy()

    def estimated_noise_rate(self, noise_rate: float, given: NDArray[np.int64] | None = None) -> float:
        """What a restart assumes: `noise_rate`, or the share never refurbished where that is less.

        That is the paper's rule. It takes whatever was not refurbished for the noise that is left, although
        the given labels stay as noisy as they were. With the labels `given`, int64 (N,) with -1 for samples
        left out, the rate does not fall below the share of refurbished labels that are not the given ones.
        """
        known = self._refurbished >= 0
        count = int(np.count_nonzero(known))
        if given is None or not count:
            return min(noise_rate, 1 - count / self.num_samples)
        changed = float(np.mean(self._refurbished[known] != given[known]))
        never = 1 - count / int(np.count_nonzero(given >= 0))
        return min(noise_rate, max(never, changed))

    def restart(self) -> None:
        """Forget the predictions, keep the refurbished labels."""
        self.history.clear(keep_visits=self.official)

    def state_dict(self) -> dict[str, Any]:
        """Everything remembered, as NumPy arrays and numbers."""
        return {"history": self.history.state_dict(), "refurbished": self._refurbished.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state`; raises ValueError if it belongs to another training set."""
        refurbished = np.asarray(state["refurbished"])
        if refurbished.dtype != np.int64 or refurbished.shape != (self.num_samples,):
            raise ValueError(
                f"refurbished labels must be int64 of {self.num_samples} samples, got {refurbished.dtype} of "
                f"{refurbished.size}"
            )
        if refurbished.min() < -1 or refurbished.max() >= self.num_classes:
            raise ValueError(
                f"refurbished labels must be in -1..{self.num_classes - 1}, got {refurbished.min()} to "
                f"{refurbished.max()}"
            )
        self.history.load_state_dict(state["history"])
        self._refurbished = refurbished.copy()
