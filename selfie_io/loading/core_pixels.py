"""Batches by the native core, from images in memory: for a backend that gathers them itself."""

import torch

from selfie_io import _core
from selfie_io.loading.batch import Batch, batch_of
from selfie_io.loading.reader import Reader, Records, make_plan


class CorePixels:
    """Makes the batches of one loader.

    are_windows: the images are padded, cropped and flipped already
    """

    def __init__(self, reader: Reader, *, are_windows: bool) -> None:
        self._options = reader.options
        self._plan = make_plan(reader.split.layout, reader.options, of_windows=are_windows)
        # The user holds one while another is filled; the others count in the pool's estimate of cache use.
        self._pool = _core.BufferPool(
            plan=self._plan,
            batch_size=reader.options.batch_size,
            spare_buffers=reader.options.prefetch_batches + 1,
        )

    def batch(self, pixels: torch.Tensor, epoch: int, records: Records) -> Batch:
        """The batch of some images, uint8 (n, C, H, W), contiguous, in memory of its own."""
        seed, indices = self._options.seed, records.indices
        array = self._plan.decode(self._pool, seed, epoch, indices, pixels.numpy())
        batch = batch_of(array, records.labels, records.record_ids, indices, self._options.dtype)
        return batch.pin_memory() if self._options.pin_memory else batch
