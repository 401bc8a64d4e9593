"""The tables of methods and models by name.

A built-in entry is the place it lives at, "module:attribute", and is imported on first use: listing the names
costs nothing. `methods.method.register_method` and `models.builder.register_model` add to the tables.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Literal

METHODS: dict[str, Any] = {
    "default": "selfie_train.methods.default:Default",
    "active-bias": "selfie_train.methods.active_bias:ActiveBias",
    "co-teaching": "selfie_train.methods.co_teaching:CoTeaching",
    "selfie": "selfie_train.methods.selfie:Selfie",
    "gce": "selfie_train.methods.gce:Gce",
    "sce": "selfie_train.methods.sce:Sce",
    "forward": "selfie_train.methods.forward:Forward",
    "elr": "selfie_train.methods.elr:Elr",
    "small-loss": "selfie_train.methods.small_loss:SmallLoss",
    "dividemix": "selfie_train.methods.dividemix:DivideMix",
}
MODELS: dict[str, Any] = {
    "densenet-10-12": "selfie_train.models.densenet:densenet_10_12",
    "densenet-25-12": "selfie_train.models.densenet:densenet_25_12",
    "densenet-40-12": "selfie_train.models.densenet:densenet_40_12",
    "vgg-19": "selfie_train.models.vgg:vgg_19",
    "convnet": "selfie_train.models.convnet:convnet",
    "airnet": "selfie_train.models.airnet:airnet",
    "airnet-small": "selfie_train.models.airnet:airnet_small",
    "airnet-wide": "selfie_train.models.airnet:airnet_wide",
    "resnet-18": "selfie_train.models.resnet:resnet_18",
    "resnet-34": "selfie_train.models.resnet:resnet_34",
    "preact-resnet-18": "selfie_train.models.resnet:preact_resnet_18",
}
TIMM = "timm:"  # the rest of such a name is one of timm's models

Kind = Literal["method", "model"]
KINDS: tuple[Kind, ...] = ("method", "model")


def _table(kind: Kind) -> dict[str, Any]:
    return METHODS if kind == "method" else MODELS


def known_names(kind: Kind) -> list[str]:
    """The names that `TrainConfig.method` or `TrainConfig.model` takes."""
    return list(_table(kind))


def check_model_name(name: str) -> None:
    """Raise ValueError, with the known names, unless `TrainConfig.model` takes `name`."""
    if name not in ("auto", *MODELS) and not (name.startswith(TIMM) and len(name) > len(TIMM)):
        raise ValueError(f"model must be one of auto, {', '.join(MODELS)}, timm:NAME; got {name!r}")


def look_up(kind: Kind, name: str) -> Any:
    """The method or model called `name`; ValueError lists the known ones."""
    table = _table(kind)
    if name not in table:
        raise ValueError(f"{kind} must be one of {', '.join(table)}; got {name!r}")
    if isinstance(table[name], str):
        module, attribute = table[name].split(":")
        table[name] = getattr(import_module(module), attribute)
    return table[name]


def add(kind: Kind, name: str, entry: Any) -> None:
    """Make a method or model known as `name`; ValueError if the name is taken."""
    table = _table(kind)
    if name in table:
        raise ValueError(f"the name of a {kind} must be new: {name!r} exists already")
    table[name] = entry
