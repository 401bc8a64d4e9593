"""What a loader yields."""

from typing import NamedTuple

import torch


class Batch(NamedTuple):
    """One batch of n records; the tensors own their memory and may be kept.

    images: (n, C, H, W) or, with layout="NHWC", (n, H, W, C), of the loader's dtype
    labels: int64 (n,), the stored ones or those given to the loader
    record_ids: int64 (n,), the ids stored in the records
    indices: int64 (n,), the records' positions in the split
    """

    images: torch.Tensor
    labels: torch.Tensor
    record_ids: torch.Tensor
    indices: torch.Tensor
