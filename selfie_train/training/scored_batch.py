"""A batch between `Learner.score` and `Learner.update`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from selfie_io.loading.batch import Batch
from selfie_train.evidence.training import Outputs
from selfie_train.training.distributed import ProcessGroup


@dataclass(frozen=True)
class ScoredBatch:
    """What `score` keeps for `update`: this process's b samples as m networks see them, with gradients."""

    group: ProcessGroup  # the processes that share the batch: this one alone where all of them have all of it
    global_size: int
    images: Tensor  # (views * b, C, H, W) on the device, view after view
    labels: Tensor  # int64 (b,) given labels
    logits: list[Tensor]  # m of float32 (views * b, k)
    losses: list[Tensor]  # m of float32 (b,)
    predicted: list[Tensor]  # m of int64 (b,)
    batch: Batch  # as the loader gave it
    num_views: int = 1
    begin: int = 0  # where these samples begin in the global batch

    def outputs(self) -> Outputs:
        """What the networks made of each sample, for the statistics of the records."""
        views = [logits.detach().view(self.num_views, -1, logits.shape[1]) for logits in self.logits]
        return Outputs(self.batch.indices, self.labels, views[0] if len(views) == 1 else torch.cat(views))

    def sums(self) -> Tensor:
        """Losses and errors averaged over the networks, and samples, float64[3]."""
        labels, count = self.labels, len(self.losses)
        return torch.stack(
            [
                torch.stack([loss.detach() for loss in self.losses]).double().sum() / count,
                torch.stack([guess != labels for guess in self.predicted]).double().sum() / count,
                torch.tensor(len(labels), dtype=torch.float64, device=labels.device),
            ]
        )
