"""The methods and models known by name; a new one registers itself with a decorator.

The built-in ones are named by where they live and imported on first use: listing the names costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import nn

    from selfie_train.methods.base import Method

    BuildModel = Callable[[tuple[int, int, int], int], nn.Module]

_Builder = TypeVar("_Builder", bound=Callable[..., Any])

_METHODS: dict[str, str | type[Method]] = {
    "default": "selfie_train.methods.default:Default",
    "active-bias": "selfie_train.methods.active_bias:ActiveBias",
    "co-teaching": "selfie_train.methods.co_teaching:CoTeaching",
    "selfie": "selfie_train.methods.selfie:Selfie",
}
_MODELS: dict[str, str | BuildModel] = {
    "densenet-10-12": "selfie_train.models.densenet:densenet_10_12",
    "densenet-25-12": "selfie_train.models.densenet:densenet_25_12",
    "densenet-40-12": "selfie_train.models.densenet:densenet_40_12",
    "vgg-19": "selfie_train.models.vgg:vgg_19",
    "convnet": "selfie_train.models.convnet:convnet",
}


def method_names() -> list[str]:
    """The names that `TrainConfig.method` takes."""
    return list(_METHODS)


def model_names() -> list[str]:
    """The names that `TrainConfig.model` takes."""
    return list(_MODELS)


def method_class(name: str) -> type[Method]:
    """The method called `name`; ValueError lists the known ones."""
    return _find(_METHODS, "method", name)  # type: ignore[no-any-return]


def model_builder(name: str) -> BuildModel:
    """The function (picture shape, num_classes) -> nn.Module of a name; ValueError lists the known ones."""
    return _find(_MODELS, "model", name)  # type: ignore[no-any-return]


def register_method(name: str) -> Callable[[type[Method]], type[Method]]:
    """Make a `Method` subclass known as `name`; ValueError if the name is taken."""
    return _register(_METHODS, "method", name)


def register_model(name: str) -> Callable[[BuildModel], BuildModel]:
    """Make a function (picture shape, num_classes) -> nn.Module known as `name`; ValueError if taken."""
    return _register(_MODELS, "model", name)


def _find(table: dict[str, Any], kind: str, name: str) -> Any:
    if name not in table:
        raise ValueError(f"{kind} must be one of {', '.join(table)}; got {name!r}")
    if isinstance(table[name], str):
        module, attribute = table[name].split(":")
        table[name] = getattr(import_module(module), attribute)
    return table[name]


def _register(table: dict[str, Any], kind: str, name: str) -> Callable[[_Builder], _Builder]:
    if name in table:
        raise ValueError(f"a {kind} called {name!r} exists already")

    def keep(builder: _Builder) -> _Builder:
        table[name] = builder
        return builder

    return keep
