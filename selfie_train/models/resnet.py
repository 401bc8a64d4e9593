"""ResNet (He et al., CVPR 2016) and pre-activation ResNet (He et al., ECCV 2016) of basic blocks.

Images below 64 pixels go through the stem that papers on CIFAR use, one 3x3 convolution without pooling;
larger ones through ImageNet's. The pre-activation network ends without a last batch norm, as in the programs
of the papers on noisy labels (DivideMix).
"""

from __future__ import annotations

from torch import Tensor, nn

WIDTHS = (64, 128, 256, 512)
LARGE_SIDE = 64


class BasicBlock(nn.Module):
    """Two 3x3 convs with batch norm beside a shortcut, which is a 1x1 conv where the shape changes."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )
        self.activation = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        """float[b, C, H, W] -> float[b, width, H / stride, W / stride], rounded up."""
        result: Tensor = self.activation(self.residual(features) + self.shortcut(features))
        return result


class PreActivationBlock(nn.Module):
    """Batch norm and ReLU before each of two 3x3 convs; the shortcut carries the sum on untouched."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.activation = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())
        self.residual = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
        )
        self.shortcut: nn.Module | None = None
        if stride != 1 or channels != width:
            self.shortcut = nn.Conv2d(channels, width, 1, stride, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """float[b, C, H, W] -> float[b, width, H / stride, W / stride], rounded up."""
        active = self.activation(features)
        result: Tensor = self.residual(active) + (
            features if self.shortcut is None else self.shortcut(active)
        )
        return result


def _resnet(
    block: type[BasicBlock | PreActivationBlock],
    depths: tuple[int, ...],
    shape: tuple[int, int, int],
    num_classes: int,
) -> nn.Module:
    is_large, channels = max(shape[1:]) >= LARGE_SIDE, WIDTHS[0]
    kernel, stride = (7, 2) if is_large else (3, 1)
    layers: list[nn.Module] = [nn.Conv2d(shape[0], channels, kernel, stride, padding=kernel // 2, bias=False)]
    if is_large or block is BasicBlock:
        layers += [nn.BatchNorm2d(channels), nn.ReLU()]
    if is_large:
        layers.append(nn.MaxPool2d(3, 2, padding=1))
    for width, depth in zip(WIDTHS, depths, strict=True):
        for number in range(depth):
            layers.append(block(channels, width, 2 if number == 0 and width != WIDTHS[0] else 1))
            channels = width
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def resnet_18(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """ResNet of depth 18."""
    return _resnet(BasicBlock, (2, 2, 2, 2), shape, num_classes)


def resnet_34(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """ResNet of depth 34."""
    return _resnet(BasicBlock, (3, 4, 6, 3), shape, num_classes)


def preact_resnet_18(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Pre-activation ResNet of depth 18."""
    return _resnet(PreActivationBlock, (2, 2, 2, 2), shape, num_classes)
