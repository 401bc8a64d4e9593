"""AirNet: a small fast learner, after airbench (Jordan, "94% on CIFAR-10 in 3.29 Seconds", 2024).

A frozen stem whitens small patches; three groups of two 3x3 convolutions follow, each pooled right after its
first; the largest value of each map goes to a scaled linear head.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALLEST_SIDE = 8
STEM_FILTERS = 24  # at most so many patch components; each comes with both signs
WHITENING_EPSILON = 5e-4
NORM_MOMENTUM = 0.2  # the running statistics follow fast weights
BIAS_SCALE = 8.0  # the norms' biases learn 64 times as fast: their gradient and their step grow by 8 each
HEAD_SCALE = 1 / 9


class Norm(nn.Module):
    """Batch norm without a learned weight, whose bias learns faster than the other parameters."""

    unit: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm: nn.Module = nn.BatchNorm2d(channels, momentum=NORM_MOMENTUM, affine=False)
        self.register_buffer("unit", torch.ones(channels), persistent=False)
        self.offset = nn.Parameter(torch.zeros(channels))  # the bias is BIAS_SCALE times this

    def forward(self, features: Tensor) -> Tensor:
        """float[b, C, H, W], normalised and shifted."""
        norm, bias = self.norm, self.offset * BIAS_SCALE
        if not isinstance(norm, nn.BatchNorm2d):  # it became a SyncBatchNorm
            return cast(Tensor, norm(features)) + bias[:, None, None]
        # One pass: the bias goes in with the norm.
        return F.batch_norm(
            features,
            norm.running_mean,
            norm.running_var,
            self.unit,
            bias,
            self.training,
            NORM_MOMENTUM,
            norm.eps,
        )


class Group(nn.Module):
    """Conv, pool, norm, GELU, conv, norm, GELU; the convs start as the identity on their first channels."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.norm1 = Norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = Norm(width)
        for conv in (self.conv1, self.conv2):
            nn.init.dirac_(conv.weight.data[: conv.in_channels])

    def forward(self, features: Tensor) -> Tensor:
        """float[b, C, H, W] -> float[b, width, H / 2, W / 2], rounded down; a side of one pixel stays one."""
        features = self.conv1(features)
        window = (min(2, features.shape[2]), min(2, features.shape[3]))
        features = F.gelu(self.norm1(F.max_pool2d(features, window)))
        return F.gelu(self.norm2(self.conv2(features)))


class AirNet(nn.Module):
    """The network; `prepare` makes its stem from data. `whitening` is a buffer: it never learns."""

    whitening: Tensor

    def __init__(
        self, shape: tuple[int, int, int], num_classes: int, widths: tuple[int, ...] = (64, 128, 128)
    ) -> None:
        super().__init__()
        channels, height, width = shape
        if min(height, width) < SMALLEST_SIDE:
            raise ValueError(
                f"airnet needs images of at least {SMALLEST_SIDE}x{SMALLEST_SIDE} pixels, "
                f"got {height}x{width}: use --model convnet, or pack the images with a larger --size"
            )
        side = max(height, width)
        self.stride = 1 if side <= 40 else 2 if side <= 80 else 4
        patch = max(2, self.stride)
        filters = min(channels * patch * patch, STEM_FILTERS)
        whitening = torch.empty(filters, channels, patch, patch)
        nn.init.orthogonal_(whitening)  # until `prepare`
        self.register_buffer("whitening", whitening)
        self.stem_bias = nn.Parameter(torch.zeros(2 * filters))
        groups, features = [], 2 * filters
        for wide in widths:
            groups.append(Group(features, wide))
            features = wide
        self.groups = nn.Sequential(*groups)
        self.head = nn.Linear(features, num_classes, bias=False)

    def prepare(self, images: Tensor) -> None:
        """Make the stem whiten the patches of float[n, C, H, W] images: eigenvectors over their deviations.

        The components of largest variance come first. Raises ValueError if a pixel is not finite.
        """
        if not torch.isfinite(images).all():
            raise ValueError("the images that airnet's stem is made from must be finite, got NaN or infinity")
        filters, channels, patch, _ = self.whitening.shape
        # One row a patch; neighbouring patches overlap where the stem's do.
        patches = (
            F.unfold(images.double(), patch, stride=self.stride)
            .transpose(1, 2)
            .reshape(-1, channels * patch**2)
        )
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))  # ascending
        vectors = vectors.flip(1).T[:filters]
        # The sign of an eigenvector is arbitrary: the largest entry is positive, on every machine.
        largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
        vectors = vectors * largest.sign()
        scaled = vectors / (values.flip(0)[:filters, None] + WHITENING_EPSILON).sqrt()
        self.whitening.copy_(scaled.reshape(self.whitening.shape))

    def forward(self, images: Tensor) -> Tensor:
        """float[b, C, H, W] -> logits float[b, k]."""
        filters = torch.cat([self.whitening, -self.whitening])
        features = F.gelu(F.conv2d(images, filters, self.stem_bias, stride=self.stride))
        features = self.groups(features).amax((2, 3))
        return cast(Tensor, self.head(features)) * HEAD_SCALE


def airnet(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """AirNet of 64, 128 and 128 channels, for images of 8x8 to 224x224 pixels.

    Raises ValueError if the images are smaller.
    """
    return AirNet(shape, num_classes)


def airnet_small(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """AirNet of 32, 64 and 128 channels: less than half the work. Raises ValueError as `airnet` does."""
    return AirNet(shape, num_classes, (32, 64, 128))


def airnet_wide(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """AirNet of 64, 256 and 256 channels: twice the work. Raises ValueError as `airnet` does."""
    return AirNet(shape, num_classes, (64, 256, 256))
