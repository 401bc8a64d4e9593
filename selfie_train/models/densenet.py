"""DenseNet-L-12 of the SELFIE experiments (Huang et al., CVPR 2017, without bottlenecks and compression)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

GROWTH = 12
STEM_CHANNELS = 16
NUM_BLOCKS = 3
DROPOUT = 0.2


class DenseLayer(nn.Module):
    """BN, ReLU, 3x3 conv of 12 channels, dropout; the input is kept beside the output."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.new_features = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, GROWTH, 3, padding=1, bias=False),
            nn.Dropout(DROPOUT),
        )

    def forward(self, features: Tensor) -> Tensor:
        """float[b, C, H, W] -> float[b, C + 12, H, W]."""
        return torch.cat([features, self.new_features(features)], dim=1)


def _transition(channels: int) -> list[nn.Module]:
    return [
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.ReLU(),
        nn.Dropout(DROPOUT),
        nn.AvgPool2d(2, ceil_mode=True),
    ]


def densenet(depth: int, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Three blocks of (depth - 4) / 3 layers, a transition between two; ValueError if that is no integer."""
    if depth < 7 or (depth - 4) % NUM_BLOCKS:
        raise ValueError(f"the depth of a DenseNet must be 3 n + 4 with n >= 1, got {depth}")
    channels = STEM_CHANNELS
    layers: list[nn.Module] = [nn.Conv2d(shape[0], channels, 3, padding=1, bias=False)]
    for block in range(NUM_BLOCKS):
        if block:
            layers += _transition(channels)
        for _ in range((depth - 4) // NUM_BLOCKS):
            layers.append(DenseLayer(channels))
            channels += GROWTH
    layers += [nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    network = nn.Sequential(*layers, nn.Linear(channels, num_classes))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * math.prod(module.kernel_size)
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
    return network


def densenet_10_12(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """DenseNet of depth 10."""
    return densenet(10, shape, num_classes)


def densenet_25_12(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """DenseNet of depth 25, the paper's."""
    return densenet(25, shape, num_classes)


def densenet_40_12(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """DenseNet of depth 40."""
    return densenet(40, shape, num_classes)
