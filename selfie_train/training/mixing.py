"""The loss of a mixed batch: mixup, squared error beside cross entropy, classes kept in balance."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from selfie_train.methods.method import Choice, Mixup
from selfie_train.training.distributed import ProcessGroup


def mixed_loss(
    forward: Callable[[Tensor], Tensor],
    choice: Choice,
    mixup: Mixup,
    images: Tensor,
    rows: Tensor,
    group: ProcessGroup,
) -> Tensor:
    """This process's part of the loss over all n mixtures; the parts of all processes average to it.

    `images` (n, C, H, W) are those of the global batch, `rows` int64 the ones of this process.
    """
    device, size = images.device, len(images)
    partners = torch.from_numpy(mixup.partners).to(device)[rows]
    mixed = torch.lerp(images[partners], images[rows], mixup.share)
    targets = torch.from_numpy(choice.targets).to(device)[rows]
    weights = torch.from_numpy(choice.weights).to(device)[rows]
    squared = torch.from_numpy(mixup.squared).to(device)[rows]

    log_shares = forward(mixed).log_softmax(1)
    shares = log_shares.exp()
    cross_entropy = -(targets * log_shares).sum(1)
    squared_error = (shares - targets).square().mean(1)
    loss = (weights * torch.where(squared, squared_error, cross_entropy)).sum() / size
    if mixup.balance:
        # KL(uniform | mean) is not a sum over samples. This sum has its gradient, with the mean over all
        # processes held constant.
        mean = group.sum(shares.detach().sum(0)) / size
        loss = loss - mixup.balance * (shares.sum(0) / mean).mean() / size
    return loss * group.world_size
