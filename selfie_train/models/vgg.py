"""VGG-19 of the SELFIE experiments (Simonyan and Zisserman, ICLR 2015, with batch norm after every layer)."""

from __future__ import annotations

import math

from torch import nn

GROUPS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))  # channels, convolutions
HIDDEN = 4096


def vgg_19(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Sixteen 3x3 convs in five groups, each group pooled by two; two linear layers of 4096; linear."""
    channels, height, width = shape
    layers: list[nn.Module] = []
    for group_channels, num_convs in GROUPS:
        for _ in range(num_convs):
            layers += [
                nn.Conv2d(channels, group_channels, 3, padding=1),
                nn.BatchNorm2d(group_channels),
                nn.ReLU(),
            ]
            channels = group_channels
        layers.append(nn.MaxPool2d(2, ceil_mode=True))  # a side of one pixel stays one
        height, width = math.ceil(height / 2), math.ceil(width / 2)
    layers.append(nn.Flatten())
    features = channels * height * width
    for _ in range(2):
        layers += [nn.Linear(features, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU(), nn.Dropout(0.5)]
        features = HIDDEN
    return nn.Sequential(*layers, nn.Linear(features, num_classes))
