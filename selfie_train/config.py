"""TrainConfig: everything that decides a run. The command line is made from it."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args, get_type_hints

from selfie_io.records.plain_files import read_json
from selfie_train.plugins import Imports, check_stored_imports, import_plugin
from selfie_train.recipes import AUTO, PAPER
from selfie_train.registry import KINDS, check_model_name, known_names, look_up

MOST_CONFIG_BYTES = 1 << 24
DEFAULT_TIMEOUT = 40.0  # with torchrun's 30 seconds until it kills what is stopped, all are gone in 70
NOISE_KINDS = ("none", "pair", "symmetric", "asymmetric", "overlay")
DATA_KEY = "data"  # in config.json, beside the settings: what runs.data_identity says
_NOISE_ALIASES = {"pairflip": "pair", "symmetry": "symmetric"}


if TYPE_CHECKING:  # what they are once they are chosen (`recipes.resolve`)
    AutoInt: TypeAlias = int
    AutoFloat: TypeAlias = float
    AutoBool: TypeAlias = bool
else:
    AutoInt = int | Literal["auto"]
    AutoFloat = float | Literal["auto"]
    AutoBool = bool | Literal["auto"]
_AUTO: Any = AUTO


@dataclass(frozen=True, repr=False)
class TrainConfig:
    """One training run: data, noise, method, network, schedule, machine.

    A setting that is left at auto is chosen when the run starts, from the recipe, the data and the machine.
    The run says what it chose and keeps it in config.json.

    Raises ValueError for a value outside its range or an unknown name, with the known ones.
    """

    dataset: str
    """Folder of record files, as `selfie-convert pack` writes it."""
    method: str = "selfie"
    """`selfie-train methods` lists them: default, active-bias, co-teaching, selfie, gce, sce, forward, elr,
    small-loss, dividemix, or a registered one."""
    method_options: tuple[str, ...] = ()
    """The method's own options, each NAME=VALUE, as in --method gce --method-options q=0.5; by default
    those that `selfie-train methods` lists."""
    model: str = AUTO
    """airnet, airnet-small, airnet-wide, convnet, resnet-18, resnet-34, preact-resnet-18, densenet-10-12,
    densenet-25-12, densenet-40-12, vgg-19, timm:NAME or a registered one. auto: airnet on a CPU (airnet-small
    below 16 pixels, convnet below 8), resnet-34 on a GPU."""
    recipe: Literal["auto", "paper"] = AUTO
    """What the settings at auto become. auto: what fits the network, the data and the machine; paper: the
    SELFIE paper's, with its network, 100 epochs and restarts."""
    noise: str = "none"
    """pair:RATE, symmetric:RATE or asymmetric:RATE injects noise; overlay:NAME trains on stored labels; none
    trains on the labels as they are (their noise is then unknown)."""
    noise_rate: float | Literal["auto"] = "auto"
    """The rate the method assumes. auto: the observed rate of injected noise, an estimate of real noise."""
    variant: Literal["auto", "paper", "official"] = AUTO
    """The paper's algorithm, or the authors' program with its quirks (SELFIE, Co-teaching). auto: the
    paper's, but a restart of SELFIE does not lower the noise rate below what the refurbished labels show."""
    epochs: AutoInt = _AUTO
    """Epochs of each run (SELFIE with restarts trains several runs)."""
    warmup: AutoInt = _AUTO
    """Epochs of plain training before a method selects (SELFIE, Active Bias)."""
    history: AutoInt = _AUTO
    """Predictions kept per sample (SELFIE)."""
    ramp: int | None = None
    """Epochs until the whole noise rate is dropped (Co-teaching); default: a tenth of
    the epochs; by the paper recipe 10, 15 in the official variant."""
    threshold: float = 0.05
    """Largest normalised entropy of a refurbishable sample's predictions (SELFIE)."""
    restarts: int | None = None
    """SELFIE's runs after the first; default: 0; by the paper recipe 2, 3 in the official variant."""
    reuse_refurbished: bool = False
    """Keep a refurbished label when its sample's predictions waver again (SELFIE)."""
    two_pass: bool = False
    """Run the chosen samples through the network again instead of masking the loss (SELFIE)."""
    batch_size: AutoInt = _AUTO
    """Samples of one step over all processes together."""
    lr: AutoFloat = _AUTO
    """Learning rate: the largest of the schedule."""
    schedule: Literal["auto", "step", "cosine", "one-cycle"] = AUTO
    """step: divide by 5 after half and after three quarters of the epochs; cosine: fall to 0 epoch by epoch;
    one-cycle: rise for lr_warmup epochs, then fall in a line, batch by batch."""
    lr_warmup: AutoFloat = _AUTO
    """Epochs in which the learning rate rises from a fifth of it."""
    optimizer: Literal["auto", "sgd", "muon"] = AUTO
    """sgd, or muon for the filters of convolutions that a batch norm follows."""
    momentum: AutoFloat = _AUTO
    """Nesterov momentum."""
    weight_decay: AutoFloat = _AUTO
    """On every parameter, batch norm and biases too (with muon not on the filters)."""
    label_smoothing: AutoFloat = _AUTO
    """Share of each hard target that is spread over all classes."""
    ema: AutoFloat = _AUTO
    """Decay per step of an average of the weights, which is then what is tested and kept; 0: no average."""
    early_stopping: Literal["none", "label-wave"] = "none"
    """label-wave: stop where the predictions change least from epoch to epoch, and keep those weights."""
    patience: int = 10
    """Epochs without a new minimum after which label-wave stops."""
    augment: Literal["auto", "none", "crop", "crop-flip", "crop-alternate"] = AUTO
    """crop: pad by 4 and crop at random; crop-flip: flip at random too; crop-alternate: reflect 2 pixels
    over the edge, crop at random, flip every other epoch."""
    seed: int = 0
    """Seeds the injected noise, weights, order, augmentation and dropout."""
    device: str = "auto"
    """cpu, cuda, cuda:N, or auto: CUDA where there is one."""
    precision: Literal["auto", "float32", "bfloat16"] = AUTO
    """bfloat16: forward passes under autocast; weights and losses stay float32. auto: what this machine does
    fastest, measured for a second before a run that is long enough to gain from it."""
    channels_last: AutoBool = _AUTO
    """Images and weights in NHWC memory order; auto: as precision."""
    compile: bool = False
    """Compile the network with torch.compile."""
    sync_batchnorm: bool = False
    """Batch statistics over all processes (CUDA only)."""
    checkpoint_batches: int = 0
    """Also write a checkpoint every so many batches; 0: after epochs only, at least ten seconds apart."""
    timeout: float = DEFAULT_TIMEOUT
    """Of several processes: seconds without a sign of life of one, after which the others end and name it."""
    tensorboard: bool = False
    """Also write TensorBoard events to RUN/tensorboard."""
    shape: tuple[int, int, int] | None = None
    """Channels, height, width of a folder without a manifest; by default the one known shape that fits."""
    out: str | None = None
    """The run's folder; default runs/DATASET-METHOD-MODEL-NOISE-sSEED."""
    imports: Imports = field(default=(), kw_only=True)
    """A Python module or file to import first, which registers methods and models of your own; repeatable."""

    def __post_init__(self) -> None:
        for name in ("dataset", "out"):  # a Path in Python; the stored config has text
            if isinstance(getattr(self, name), os.PathLike):
                object.__setattr__(self, name, os.fspath(getattr(self, name)))
        if isinstance(self.method_options, Mapping):  # in Python {"q": 0.5}; stored as "q=0.5"
            texts = tuple(f"{name}={value}" for name, value in self.method_options.items())
            object.__setattr__(self, "method_options", texts)
        elif isinstance(self.method_options, list):
            object.__setattr__(self, "method_options", tuple(self.method_options))
        if _fits(self.imports, tuple[str, ...]):
            object.__setattr__(self, "imports", tuple(import_plugin(module) for module in self.imports))
        _one_of("method", self.method, known_names("method"))
        for name, hint in get_type_hints(TrainConfig).items():
            if getattr(hint, "__origin__", None) is Literal:
                _one_of(name, getattr(self, name), get_args(hint))
            elif not _fits(getattr(self, name), hint):
                raise ValueError(f"{name} must be {_in_words(hint)}, got {getattr(self, name)!r}")
        check_model_name(self.model)
        if self.recipe == "paper":
            for name, value in PAPER.items():
                if self._is_auto(name):
                    object.__setattr__(self, name, value)
        look_up("method", self.method).parse_options(self)
        parse_noise(self.noise)
        if self.noise_rate != "auto":
            _check_rate("noise_rate", self.noise_rate)
        for name, least in (("epochs", 1), ("history", 1), ("patience", 1), ("batch_size", 2)):
            # Batch norm needs two samples.
            self._at_least(name, least)
        for name in ("warmup", "seed", "checkpoint_batches"):
            self._at_least(name, 0)
        for name, least in (("restarts", 0), ("ramp", 1)):
            if getattr(self, name) is not None:
                self._at_least(name, least)
        for name in ("lr", "weight_decay", "threshold", "lr_warmup"):
            value = getattr(self, name)
            if not self._is_auto(name) and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be finite and not negative, got {value}")
        if not 5 <= self.timeout <= 1e6:
            raise ValueError(f"timeout must be in 5..1,000,000 seconds, got {self.timeout}")
        for name in ("label_smoothing", "ema"):
            if not self._is_auto(name) and not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if not self._is_auto("momentum") and not 0 < self.momentum < 1:
            raise ValueError(f"momentum must be in (0, 1), as Nesterov's momentum needs, got {self.momentum}")

    def _at_least(self, name: str, least: int) -> None:
        if not self._is_auto(name) and getattr(self, name) < least:
            raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")

    @classmethod
    def _default(cls, name: str) -> Any:
        return next(field.default for field in dataclasses.fields(cls) if field.name == name)

    def _is_auto(self, name: str) -> bool:
        return bool(getattr(self, name) == AUTO and self._default(name) == AUTO)

    def auto_settings(self) -> list[str]:
        """The names of the settings that are still to be chosen."""
        fixed = ("recipe", "device", "noise_rate", "variant")  # auto says something else there
        names = [field.name for field in dataclasses.fields(self) if field.name not in fixed]
        open_names = [name for name in names if self._is_auto(name)]
        return open_names + (["ramp"] if self.ramp is None and self.recipe != "paper" else [])

    def filled(self, **values: Any) -> TrainConfig:
        """This config with `values` for those of its settings that are at auto."""
        return dataclasses.replace(
            self, **{name: value for name, value in values.items() if self._is_auto(name)}
        )

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
        for one in dataclasses.fields(self)[1:]:
            value = getattr(self, one.name)
            usual = PAPER.get(one.name, one.default) if self.recipe == "paper" else one.default
            if value != usual:
                settings.append(f"{one.name}={value!r}")
        return f"{type(self).__name__}({', '.join(settings)})"

    def check_method(self) -> None:
        """Raise ValueError if the method could not begin with these settings, naming them.

        Settings that are still to be chosen are not checked.
        """
        if {"warmup", "epochs"} & set(self.auto_settings()):
            return
        look_up("method", self.method).check(self)

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
        for name in ("shape", "imports", "method_options"):
            if isinstance(values.get(name), list):
                values = {**values, name: tuple(values[name])}
        return cls(**values)

    @classmethod
    def read(cls, folder: Path, *, import_modules: bool = True) -> TrainConfig:
        """The config of the run in `folder`; its modules are imported, as the run did.

        Without `import_modules` no code of the run's runs; its method and model may be unknown then.
        Raises OSError if there is none, ValueError that names the file if it is not one, or if a module may
        have come with it.
        """
        path = folder / "config.json"
        if not path.exists():
            raise FileNotFoundError(
                f"{folder} holds no run ({path.name} is missing): give a folder that `selfie-train run` made"
            )
        try:
            values = read_json(path, MOST_CONFIG_BYTES)
            if isinstance(values, dict):
                # A run from before there were recipes had the paper's defaults.
                values = {"recipe": "paper", **values}
                values.pop(DATA_KEY, None)
                modules = values.get("imports") or ()
                if not import_modules:
                    return cls._without_code(values, tuple(modules))
                check_stored_imports(modules, folder)
            return cls.from_json(values)
        except (ValueError, TypeError) as error:  # TypeError: a setting without default is missing
            raise ValueError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None

    @classmethod
    def _without_code(cls, values: dict[str, Any], modules: tuple[str, ...]) -> TrainConfig:
        """The config with names that only its modules know, taken as they are."""
        unknown: dict[str, Any] = {
            kind: values[kind]
            for kind in KINDS
            if modules and values.get(kind) not in (None, *known_names(kind))
        }
        known = {name: value for name, value in values.items() if name not in (*unknown, "imports")}
        config = cls.from_json(known)
        for name, value in {**unknown, "imports": modules}.items():
            object.__setattr__(config, name, value)
        return config


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
    if getattr(hint, "__origin__", None) is tuple:
        parts = get_args(hint)
        if parts[-1] is Ellipsis:
            return isinstance(value, tuple) and all(_fits(one, parts[0]) for one in value)
        fits = isinstance(value, tuple) and len(value) == len(parts)
        return fits and all(_fits(part, one) for part, one in zip(value, parts, strict=True))
    if isinstance(hint, type):  # str, bool, NoneType
        return isinstance(value, hint)
    # A choice of words, or of types.
    return any(value == one if isinstance(one, str) else _fits(value, one) for one in get_args(hint))


def _in_words(hint: Any) -> str:
    if isinstance(hint, type):
        return hint.__name__ if not get_args(hint) else str(hint)
    if getattr(hint, "__origin__", None) is Literal:
        return " | ".join(map(repr, get_args(hint)))
    if getattr(hint, "__origin__", None) is tuple:
        return str(hint).replace("typing.", "")
    return " | ".join("None" if part is type(None) else _in_words(part) for part in get_args(hint))


def _one_of(name: str, value: str, known: Any) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}; got {value!r}")


def _check_rate(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be in [0, 1], got {value}")
