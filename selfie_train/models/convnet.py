"""A small network that learns in minutes on a laptop's CPU: six 3x3 convolutions."""

from __future__ import annotations

from torch import nn

WIDTHS = (16, 32, 64)


def convnet(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Three pairs of conv, batch norm, ReLU (16, 32, 64 channels), pooled between, averaged, linear."""
    layers: list[nn.Module] = []
    channels = shape[0]
    for width in WIDTHS:
        if layers:
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        for _ in range(2):
            layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))
