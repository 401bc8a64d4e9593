"""Class probabilities of a trained run for images of any origin."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfie_train.inference.inputs import Images, batches
from selfie_train.inference.trained_run import TrainedRun


def predict(run: TrainedRun, images: Images, *, batch_size: int | None = None) -> NDArray[np.float32]:
    """The class probabilities float32 (n, k) of n images; each row sums to 1.

    Of a run with two networks (Co-teaching, DivideMix) they are the mean of both networks' probabilities.

    run: what `load_run` gives
    images: uint8 (n, C, H, W) in NumPy or torch; a split of a data set, such as `open_dataset(...).test`; or
        the path of an image, of a folder or an archive of images, or several such paths. Image files are
        decoded and scaled as `selfie-convert pack` does; those of a folder come in the order of their sorted
        names.
    batch_size: images that go through the networks at once; None: as the run was tested

    Raises ValueError for images of another shape, and for files that are no images, by name; OSError for a
    path that is not there.
    """
    size = check_batch_size(run, batch_size)
    found = [probabilities(run.logits(part)).numpy() for part in batches(images, run.shape, size)]
    return np.concatenate(found) if found else np.empty((0, run.num_classes), np.float32)


def check_batch_size(run: TrainedRun, batch_size: int | None) -> int:
    """The number of images in a batch; ValueError unless it is positive."""
    if batch_size is None:
        return int(run.config.batch_size)
    if batch_size < 1:
        raise ValueError(f"batch_size must be positive, got {batch_size}")
    return batch_size


def probabilities(logits: Sequence[Tensor]) -> Tensor:
    """The mean over the networks of their class probabilities, float32 (n, k)."""
    return torch.stack([one.softmax(1) for one in logits]).mean(0)
