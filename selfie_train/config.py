"""TrainConfig: everything that decides a run. The command line is made from it."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from selfie_train.registry import known_names, look_up

NOISE_KINDS = ("none", "pair", "symmetric", "asymmetric", "overlay")
_NOISE_ALIASES = {"pairflip": "pair", "symmetry": "symmetric"}


@dataclass(frozen=True, repr=False)
class TrainConfig:
    """One training run: data, noise, method, network, schedule, machine.

    Raises ValueError for a value outside its range or an unknown name, with the known ones.
    """

    dataset: str
    """Folder of record files, as `selfie-convert pack` writes it."""
    method: str = "selfie"
    """`selfie-train methods` lists them: default, active-bias, co-teaching, selfie, gce, sce, forward, elr,
    small-loss, dividemix, or a registered one."""
    method_options: tuple[str, ...] = ()
    """The method's own options, each NAME=VALUE, as in --method gce --method-options q=0.5."""
    model: str = "densenet-25-12"
    """densenet-10-12, densenet-25-12, densenet-40-12, vgg-19, convnet, or a registered one."""
    noise: str = "none"
    """pair:RATE, symmetric:RATE or asymmetric:RATE injects noise; overlay:NAME trains on stored labels; none
    trains on the labels as they are (their noise is then unknown)."""
    noise_rate: float | Literal["auto"] = "auto"
    """The rate the method assumes. auto: the observed rate of injected noise, an estimate of real noise."""
    variant: Literal["paper", "official"] = "paper"
    """The paper's algorithm, or the authors' program with its quirks (SELFIE, Co-teaching)."""
    epochs: int = 100
    """Epochs of each run (SELFIE with restarts trains several runs)."""
    warmup: int = 25
    """Epochs of plain training before a method selects (SELFIE, Active Bias)."""
    history: int = 15
    """Predictions kept per sample (SELFIE)."""
    ramp: int | None = None
    """Epochs until the whole noise rate is dropped (Co-teaching); default: 10, 15 in the official variant."""
    threshold: float = 0.05
    """Largest normalised entropy of a refurbishable sample's predictions (SELFIE)."""
    restarts: int | None = None
    """SELFIE's runs after the first; default: 2, 3 in the official variant."""
    reuse_refurbished: bool = False
    """Keep a refurbished label when its sample's predictions waver again (SELFIE)."""
    two_pass: bool = False
    """Run the chosen samples through the network again instead of masking the loss (SELFIE)."""
    batch_size: int = 128
    """Samples of one step over all processes together."""
    lr: float = 0.1
    """Learning rate of the first epoch."""
    schedule: Literal["step", "cosine"] = "step"
    """step: divide by 5 after half and after three quarters of the epochs; cosine: fall to 0."""
    momentum: float = 0.9
    """Nesterov momentum of SGD."""
    weight_decay: float = 5e-4
    """On every parameter, batch norm and biases too."""
    early_stopping: Literal["none", "label-wave"] = "none"
    """label-wave: stop where the predictions change least from epoch to epoch, and keep those weights."""
    patience: int = 10
    """Epochs without a new minimum after which label-wave stops."""
    augment: Literal["none", "crop-flip"] = "none"
    """crop-flip: pad by 4, crop at random, flip at random."""
    seed: int = 0
    """Seeds the injected noise, weights, order, augmentation and dropout."""
    device: str = "auto"
    """cpu, cuda, cuda:N, or auto: CUDA where there is one."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: forward passes under autocast; weights and losses stay float32."""
    channels_last: bool = False
    """Images and weights in NHWC memory order."""
    compile: bool = False
    """Compile the network with torch.compile."""
    sync_batchnorm: bool = False
    """Batch statistics over all processes (CUDA only)."""
    checkpoint_batches: int = 0
    """Also write a checkpoint every so many batches; 0: after epochs only, at least ten seconds apart."""
    tensorboard: bool = False
    """Also write TensorBoard events to RUN/tensorboard."""
    shape: tuple[int, int, int] | None = None
    """Channels, height, width of a folder without a manifest."""
    out: str | None = None
    """The run's folder; default runs/DATASET-METHOD-MODEL-NOISE-sSEED."""

    def __post_init__(self) -> None:
        for name in ("dataset", "out"):  # a Path in Python; the stored config has text
            if isinstance(getattr(self, name), os.PathLike):
                object.__setattr__(self, name, os.fspath(getattr(self, name)))
        if isinstance(self.method_options, Mapping):  # in Python {"q": 0.5}; stored as "q=0.5"
            texts = tuple(f"{name}={value}" for name, value in self.method_options.items())
            object.__setattr__(self, "method_options", texts)
        elif isinstance(self.method_options, list):
            object.__setattr__(self, "method_options", tuple(self.method_options))
        _one_of("method", self.method, known_names("method"))
        _one_of("model", self.model, known_names("model"))
        _one_of("variant", self.variant, ("paper", "official"))
        _one_of("schedule", self.schedule, ("step", "cosine"))
        _one_of("early_stopping", self.early_stopping, ("none", "label-wave"))
        _one_of("augment", self.augment, ("none", "crop-flip"))
        _one_of("precision", self.precision, ("float32", "bfloat16"))
        for name, hint in get_type_hints(type(self)).items():
            if not _fits(getattr(self, name), hint):
                raise ValueError(f"{name} must be {_in_words(hint)}, got {getattr(self, name)!r}")
        look_up("method", self.method).parse_options(self)
        parse_noise(self.noise)
        if self.noise_rate != "auto":
            _check_rate("noise_rate", self.noise_rate)
        # Batch norm needs two samples.
        for name, least in (("epochs", 1), ("history", 1), ("patience", 1), ("batch_size", 2)):
            _at_least(name, getattr(self, name), least)
        for name in ("warmup", "seed", "checkpoint_batches"):
            _at_least(name, getattr(self, name), 0)
        for name, least in (("restarts", 0), ("ramp", 1)):
            if getattr(self, name) is not None:
                _at_least(name, getattr(self, name), least)
        for name in ("lr", "weight_decay", "threshold"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be finite and not negative, got {value}")
        if not 0 < self.momentum < 1:
            raise ValueError(f"momentum must be in (0, 1), as Nesterov's momentum needs, got {self.momentum}")

    @property
    def run_folder(self) -> Path:
        """Where the run's files go."""
        if self.out is not None:
            return Path(self.out)
        noise = self.noise.replace(":", "-")
        return Path("runs") / f"{Path(self.dataset).name}-{self.method}-{self.model}-{noise}-s{self.seed}"

    @property
    def num_runs(self) -> int:
        """How often training starts from new weights."""
        runs: int = look_up("method", self.method).num_runs(self)
        return runs

    def __repr__(self) -> str:
        """The settings that differ from the defaults, as the call that makes this config."""
        settings = [repr(self.dataset)]
        for field in dataclasses.fields(self)[1:]:
            value = getattr(self, field.name)
            if value != field.default:
                settings.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(settings)})"

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TrainConfig:
        """The config that `to_json` described; an unknown key is a ValueError that names it."""
        if not isinstance(values, dict):
            raise ValueError(f"a run's config must be a JSON object of settings, got {values!r}")
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = set(values) - set(known)
        if unknown:
            raise ValueError(
                f"unknown settings in the run's config: {', '.join(sorted(unknown))}; "
                f"known are {', '.join(known)}"
            )
        for name in ("shape", "method_options"):
            if isinstance(values.get(name), list):
                values = {**values, name: tuple(values[name])}
        return cls(**values)

    @classmethod
    def read(cls, folder: Path) -> TrainConfig:
        """The config of the run in `folder`.

        Raises OSError if there is none, ValueError that names the file if it is not one.
        """
        path = folder / "config.json"
        try:
            return cls.from_json(json.loads(path.read_text()))
        except (ValueError, TypeError) as error:  # TypeError: a setting without default is missing
            raise ValueError(f"{path}: {error}") from None


def parse_noise(text: str) -> tuple[str, float | str | None]:
    """Split `noise` into kind and rate (or overlay name): "pair:0.4" -> ("pair", 0.4).

    Raises ValueError for an unknown kind (the known ones are listed) or a rate outside [0, 1].
    """
    kind, _, rest = text.partition(":")
    kind = _NOISE_ALIASES.get(kind, kind)
    if kind not in NOISE_KINDS:
        raise ValueError(
            f"noise must be pair:RATE, symmetric:RATE, asymmetric:RATE, overlay:NAME or none; got {text!r}"
        )
    if kind == "none" and not rest:
        return kind, None
    if kind == "overlay" and rest:
        return kind, rest
    try:
        rate = float(rest)
    except ValueError:
        raise ValueError(
            f"noise {kind!r} needs a value as in pair:0.4 or overlay:NAME, got {text!r}"
        ) from None
    if kind == "none":
        raise ValueError(f"noise none takes no value, got {text!r}: write none")
    _check_rate("the noise's rate", rate)
    return kind, rate


def _fits(value: Any, hint: Any) -> bool:
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if isinstance(hint, type):  # str, bool, NoneType
        return isinstance(value, hint)
    if getattr(hint, "__origin__", None) is tuple:
        parts = get_args(hint)
        if parts[1] is Ellipsis:
            return isinstance(value, tuple) and all(_fits(one, parts[0]) for one in value)
        fits = isinstance(value, tuple) and len(value) == len(parts)
        return fits and all(_fits(part, one) for part, one in zip(value, parts, strict=True))
    # A choice of words, or of types.
    return any(value == one if isinstance(one, str) else _fits(value, one) for one in get_args(hint))


def _in_words(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def _one_of(name: str, value: str, known: Any) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}; got {value!r}")


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


def _check_rate(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be in [0, 1], got {value}")
