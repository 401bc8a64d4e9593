"""Forward correction (Patrini, Rozza, Menon, Nock, Qu, CVPR 2017): predict through the noise.

The loss is the cross entropy of the given label y under T^T p: -log sum_i p_i T[i, y], with
T[i, j] = P(given j | true i). Its gradient with respect to the logits is p - s with the soft target
s_j = T[j, y] p_j / sum_i T[i, y] p_i: the probability that j is the true class, given y and p.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfie_io.labels.noise import transition_matrix
from selfie_io.records.plain_files import check_plain
from selfie_train.config import TrainConfig, parse_noise
from selfie_train.methods.method import Choice, Method, Scores
from selfie_train.methods.options import check_range
from selfie_train.methods.remembered import remembered_array

ANCHOR_PERCENTILE = 97  # the original setting for CIFAR-10; 100 for CIFAR-100
SAMPLES_FOR_ESTIMATE = 1 << 14  # of the last epoch of warm-up: enough for a percentile, small in a checkpoint


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
    targets: NDArray[np.float32] = (joint / total[:, None]).astype(np.float32)
    return targets


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
    transition: NDArray[np.float64] = rows / rows.sum(axis=1, keepdims=True)
    return transition


@dataclass(frozen=True)
class ForwardOptions:
    """Options of `forward`."""

    transition: str = "estimated"
    """estimated: from the last epoch of warm-up; injected: of the noise that --noise injects; or a CSV
    file of P(given | true), a row for each true class."""
    percentile: float = ANCHOR_PERCENTILE
    """Of the probabilities of a class, where its anchor is looked for; 100 takes the highest."""

    def __post_init__(self) -> None:
        check_range("percentile", self.percentile, 0, 100, open_low=True)


class Forward(Method):
    """Learn what the true class would be, given the label and the transition matrix."""

    paper = "Patrini, Rozza, Menon, Nock, Qu, CVPR 2017"
    Options = ForwardOptions
    options: ForwardOptions
    settings = ("warmup",)
    needs_noise_rate = False
    needs_probabilities = True

    def __init__(self, config: TrainConfig, num_samples: int, num_classes: int, noise_rate: float) -> None:
        super().__init__(config, num_samples, num_classes, noise_rate)
        self.transition = self._given_transition()
        if self.transition is None and not 1 <= config.warmup < config.epochs:
            raise ValueError(
                "forward estimates the transition matrix after warm-up, so 1 <= warmup < epochs must hold, "
                f"got warmup {config.warmup} of {config.epochs}; or give it: transition=FILE.csv"
            )
        self._seen: list[NDArray[np.float32]] = []  # probabilities of the last epoch of warm-up

    def choose(self, scores: Scores) -> list[Choice] | None:
        """Plain training while the matrix is unknown, then the soft targets."""
        (probabilities,) = scores.probabilities  # type: ignore[misc]
        if self.transition is None:
            if scores.epoch < self.config.warmup:
                room = SAMPLES_FOR_ESTIMATE - sum(map(len, self._seen))
                if scores.epoch == self.config.warmup - 1 and room > 0:
                    self._seen.append(probabilities[:room])
                return None
            self.transition = estimate_transition(np.concatenate(self._seen), self.options.percentile)
            self._seen = []
        targets = forward_targets(probabilities, scores.labels, self.transition)
        return [Choice(targets, np.ones(len(targets), np.float32), divisor="batch")]

    def restart(self) -> None:
        """Estimate again with the new weights."""
        self.transition, self._seen = self._given_transition(), []

    def _given_transition(self) -> NDArray[np.float64] | None:
        source, k = self.options.transition, self.num_classes
        if source == "estimated":
            return None
        if source == "injected":
            kind, rate = parse_noise(self.config.noise)
            if not isinstance(rate, float):
                raise ValueError(
                    "transition=injected needs noise that --noise injects, such as pair:0.4; "
                    f"got --noise {self.config.noise}"
                )
            return transition_matrix(kind, k, rate)
        check_plain(source)
        try:
            matrix = np.loadtxt(source, delimiter=",", ndmin=2, encoding="utf-8-sig")
        except ValueError as error:
            raise ValueError(
                f"{source}: a transition matrix must be a CSV file of numbers; {error}"
            ) from None
        if matrix.shape != (k, k) or not (matrix >= 0).all() or not np.allclose(matrix.sum(1), 1, atol=1e-3):
            raise ValueError(
                f"{source}: a transition matrix must have {k} rows of {k} numbers that are not negative and "
                f"sum to 1, got {matrix.shape[0]} x {matrix.shape[1]} with rows of sum "
                f"{matrix.sum(1).min():g} to {matrix.sum(1).max():g}"
            )
        return matrix

    def state_dict(self) -> dict[str, Any]:
        """The matrix where it is known, and the probabilities that it will be estimated from."""
        empty = np.empty((0, self.num_classes))
        return {
            "transition": empty if self.transition is None else self.transition,
            "seen": np.concatenate([empty.astype(np.float32), *self._seen]),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to `state`; ValueError if it is of other classes, or none."""
        k = self.num_classes
        matrix = remembered_array(state, "transition", np.float64, (None, k), 0)
        if len(matrix) and (len(matrix) != k or not np.allclose(matrix.sum(1), 1, atol=1e-3)):
            raise ValueError(f"transition must have {k} rows that sum to 1, got the sums {matrix.sum(1)[:5]}")
        seen = remembered_array(state, "seen", np.float32, (None, k), 0, 1)
        self.transition = matrix if len(matrix) else None
        self._seen = [seen] if len(seen) else []
