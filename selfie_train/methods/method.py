"""What a method is: it sees a batch's scores and chooses targets and weights. NumPy only, no torch.

The training loop makes one forward pass a step, hands every method the scores of the GLOBAL batch (all
processes see the same arrays and so keep the same memory), and steps each network on
sum(weight * cross entropy) / divisor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from selfie_train.methods.options import NoOptions, parse_options
from selfie_train.registry import add, look_up

if TYPE_CHECKING:
    from selfie_train.config import TrainConfig


@dataclass(frozen=True)
class Scores:
    """One batch of b samples as m networks see it before they learn from it."""

    epoch: int  # of this run, from 0
    indices: NDArray[np.int64]  # (b,) positions in the training set
    labels: NDArray[np.int64]  # (b,) given labels
    losses: NDArray[np.float32]  # (m, b) cross entropy against the given labels
    predicted: NDArray[np.int64]  # (m, b) most probable classes
    probabilities: NDArray[np.float32] | None = None  # (m, b, k) for a method with `needs_probabilities`
    # With several views of each image: losses and probabilities are means over the views.


@dataclass(frozen=True)
class Mixup:
    """Learn mixtures of the n = views * b images of a batch, view after view, in one more pass."""

    partners: NDArray[np.int64]  # (n,) the image that each is mixed with
    share: float  # of the image itself; the rest is its partner's
    squared: NDArray[np.bool_]  # (n,) squared error of the probabilities in place of cross entropy
    balance: float  # weight of KL(uniform | mean probability), which keeps classes in balance


@dataclass(frozen=True)
class Choice:
    """What one network learns from a batch of b samples: sum(weights * cross entropy) / divisor.

    Soft targets count as they are: -sum(target * log probability), whether or not they sum to 1.
    """

    targets: NDArray[np.int64] | NDArray[np.float32]  # (b,) int64 classes, or (b, k) float32 soft targets
    weights: NDArray[np.float32]  # (b,) not negative; all 0: no step
    clean: NDArray[np.bool_] | None = None  # (b,) taken for clean, where the method tells clean from noisy
    second_pass: bool = False  # run the samples of weight > 0 through the network again, without the others
    divisor: Literal["weights", "batch"] = "weights"  # the sum of the weights, or b
    mixup: Mixup | None = None  # with it, targets and weights are of the n mixtures


class Method:
    """A way to learn from noisy labels. Subclasses override `choose`, and what else they need.

    config: the settings of the run
    num_samples: N of the training set
    num_classes: k
    noise_rate: the rate that the method assumes; the training loop replaces an estimate after warm-up
    """

    paper = ""  # authors, venue, year
    Options: type = NoOptions  # a frozen dataclass: its fields are the names that --method-options takes
    settings: tuple[str, ...] = ()  # the fields of TrainConfig that this method looks at beside its options
    num_networks = 1
    num_views = 1  # augmented views of each image in a batch
    needs_scores = True  # False: `choose` is never called and the loss is the plain mean
    needs_probabilities = False  # True: `Scores.probabilities` is given
    needs_noise_rate = True  # False: `noise_rate` is not looked at
    has_warmup = False  # True: it trains plainly for `config.warmup` epochs, and begins after them

    given_labels: NDArray[np.int64] | None = None  # (N,) -1: left out; the training loop sets them

    def __init__(
        self,
        config: TrainConfig,
        num_samples: int,
        num_classes: int,
        noise_rate: float,
    ) -> None:
        self.config = config
        self.options = self.parse_options(config)
        self.num_samples = num_samples
        self.num_classes = num_classes
        self.noise_rate = noise_rate  # the training loop replaces it where it is estimated after warm-up

    @classmethod
    def parse_options(cls, config: TrainConfig) -> Any:
        """An `Options` with the values of `config.method_options`; ValueError for one that is none."""
        return parse_options(config.method, cls.Options, config.method_options)

    @classmethod
    def check(cls, config: TrainConfig) -> None:
        """Raise ValueError for settings with which the method would never begin."""
        if cls.has_warmup and config.warmup >= config.epochs:
            shorter = -(-config.epochs // 4) if config.epochs > 1 else 0
            raise ValueError(
                f"warmup must be less than epochs, because {config.method} begins after the warm-up; got "
                f"warmup {config.warmup} and epochs {config.epochs}: lower the warm-up (--warmup {shorter}), "
                "train longer, or train plainly (--method default)"
            )

    @classmethod
    def num_runs(cls, config: TrainConfig) -> int:  # noqa: ARG003
        """How often training starts from new weights; `restart` is called before each run but the first."""
        return 1

    def learns_anew(self, epoch: int) -> bool:  # noqa: ARG002
        """Whether all choices of an epoch go through the network again: scoring needs no gradients."""
        return False

    def choose(self, scores: Scores) -> list[Choice] | None:
        """One choice per network; None: the plain mean over the given labels."""
        raise NotImplementedError

    def restart(self) -> None:
        """Forget what belongs to the weights: they start anew."""

    def refurbished_labels(self) -> NDArray[np.int64] | None:
        """int64[N], -1 where a sample keeps its given label; None for a method that corrects nothing."""
        return None

    def sample_columns(self) -> dict[str, NDArray[Any]]:
        """More columns for labels.csv, each of N values."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What `choose` remembers between batches: nested dicts of NumPy arrays and numbers."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state`."""


_MethodClass = TypeVar("_MethodClass", bound=type[Method])


def method_class(name: str) -> type[Method]:
    """The method called `name`; ValueError lists the known ones."""
    found: type[Method] = look_up("method", name)
    return found


def register_method(name: str) -> Callable[[_MethodClass], _MethodClass]:
    """Make the decorated `Method` subclass known as `name`; ValueError if the name is taken."""

    def keep(method: _MethodClass) -> _MethodClass:
        add("method", name, method)
        return method

    return keep
