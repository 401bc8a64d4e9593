"""Any network of timm (PyTorch Image Models) by its name there, with new weights: `timm:NAME`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


def timm_builder(name: str) -> Callable[[tuple[int, int, int], int], nn.Module]:
    """The function (image shape, num_classes) -> nn.Module for timm's model `name`.

    Raises ValueError if timm is not installed or has no such model.
    """
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision of another torch
        raise ValueError(
            f"model timm:{name} needs timm, which cannot be imported ({error}): pip install 'selfie-io[timm]'"
        ) from error
    if not timm.is_model(name):
        stem = name.split("_")[0].split(".")[0]
        close = timm.list_models(f"*{stem}*")[:20]
        known = (
            f"with {stem!r} in the name there are {', '.join(close)}" if close else "see timm.list_models()"
        )
        raise ValueError(f"timm:NAME must name a model of timm, got {name!r}: {known}")

    def build(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        channels, height, width = shape
        options = {"pretrained": False, "in_chans": channels, "num_classes": num_classes}
        try:
            try:  # transformers are built for one size; convolutional networks do not take the option
                network: nn.Module = timm.create_model(name, img_size=(height, width), **options)
            except TypeError:
                network = timm.create_model(name, **options)
            with torch.no_grad():
                network.eval()(torch.zeros(1, *shape))
        except (RuntimeError, AssertionError, ValueError, TypeError) as error:
            raise ValueError(
                f"timm:{name} cannot take images of {channels}x{height}x{width}: {error}; "
                "pack the images with another --size, or choose another model"
            ) from error
        return network.train()

    return build
