"""What a model is: a function (image shape, num_classes) -> nn.Module, known by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from selfie_train.registry import TIMM, add, check_model_name, look_up

if TYPE_CHECKING:
    from torch import nn

    BuildModel = Callable[[tuple[int, int, int], int], nn.Module]

STEM_IMAGES = 2000  # training images that a network with a `prepare` is given before it learns

_Builder = TypeVar("_Builder", bound="BuildModel")


def model_builder(name: str) -> BuildModel:
    """The function (image shape, num_classes) -> nn.Module called `name`; ValueError lists the known ones."""
    if name.startswith(TIMM):
        check_model_name(name)
        from selfie_train.models.timm_model import timm_builder

        return timm_builder(name.removeprefix(TIMM))
    builder: BuildModel = look_up("model", name)
    return builder


def register_model(name: str) -> Callable[[_Builder], _Builder]:
    """Make the decorated function (image shape, num_classes) -> nn.Module known as `name`.

    Raises ValueError if the name is taken.
    """

    def keep(builder: _Builder) -> _Builder:
        add("model", name, builder)
        return builder

    return keep
