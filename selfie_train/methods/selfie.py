"""SELFIE (Song, Kim, Lee, ICML 2019): learn the clean samples and those whose label can be refurbished."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfie_train.config import TrainConfig
from selfie_train.methods.method import Choice, Method, Scores
from selfie_train.refurbish import Refurbisher


class Selfie(Method):
    """After warm-up: low-loss samples with their given labels, consistent ones with what they predict."""

    paper = "Song, Kim, Lee, ICML 2019"
    settings = ("warmup", "history", "threshold", "restarts", "variant", "reuse_refurbished", "two_pass")
    has_warmup = True

    def __init__(self, config: TrainConfig, num_samples: int, num_classes: int, noise_rate: float) -> None:
        super().__init__(config, num_samples, num_classes, noise_rate)
        self.refurbisher = Refurbisher(
            num_samples,
            num_classes,
            history_length=config.history,
            threshold=config.threshold,
            variant="official" if config.variant == "official" else "paper",
            reuse_refurbished=config.reuse_refurbished,
        )

    @classmethod
    def num_runs(cls, config: TrainConfig) -> int:
        """The first run and the restarts: by the paper recipe 2, 3 in the official variant; else none."""
        if config.restarts is None and config.recipe != "paper":
            return 1
        if config.restarts is None:
            return 4 if config.variant == "official" else 3
        return 1 + config.restarts

    def learns_anew(self, epoch: int) -> bool:
        """In two passes, after warm-up."""
        return epoch >= self.config.warmup and (self.config.two_pass or self.refurbisher.official)

    def choose(self, scores: Scores) -> list[Choice] | None:
        """Steps 2 to 5 of a mini-batch: C, R, their targets, and only then the new predictions."""
        indices, labels = scores.indices, scores.labels
        choices = None
        if scores.epoch >= self.config.warmup:
            selection = self.refurbisher.select(indices, labels, scores.losses[0], self.noise_rate)
            again = self.config.two_pass or self.refurbisher.official
            choices = [Choice(selection.targets, selection.weights, selection.clean, second_pass=again)]
        elif self.refurbisher.official:
            targets = self.refurbisher.warmup_targets(indices, labels)
            choices = [Choice(targets, np.ones(len(targets), np.float32))]
        self.refurbisher.record(indices, scores.predicted[0])
        return choices

    def restart(self) -> None:
        """Start anew, with the refurbished labels kept and a lower noise rate where many were found.

        With variant auto the rate does not fall below what the refurbished labels themselves show.
        """
        given = self.given_labels if self.config.variant == "auto" else None
        self.noise_rate = self.refurbisher.estimated_noise_rate(self.noise_rate, given)
        self.refurbisher.restart()

    def refurbished_labels(self) -> NDArray[np.int64]:
        """int64[N], -1 where none."""
        return self.refurbisher.refurbished_labels()

    def sample_columns(self) -> dict[str, NDArray[Any]]:
        """Entropy, majority and number of the recorded predictions."""
        everything = np.arange(self.num_samples)
        history = self.refurbisher.history
        return {
            "entropy": history.entropy(everything),
            "majority_label": history.majority(everything),
            "visits": history.visits(everything),
        }

    def state_dict(self) -> dict[str, Any]:
        """Histories and refurbished labels."""
        return {"refurbisher": self.refurbisher.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state`."""
        self.refurbisher.load_state_dict(state["refurbisher"])
