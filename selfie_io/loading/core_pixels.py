"""Batches by the native core, from images in memory: for a backend that gathers them itself."""

import numpy as np
import numpy.typing as npt
import torch

from selfie_io import _core
from selfie_io.loading.augment import Augment
from selfie_io.loading.batch import Batch, batch_of
from selfie_io.loading.options import Layout, LoaderOptions, PerChannel, PerImage
from selfie_io.loading.reader import Reader, Records, make_plan
from selfie_io.records.layout import RecordLayout


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


class Normalizer:
    """Normalises images that lie in memory, to the bits that a Loader without augmentation gives.

    image_layout: the shape of every image
    layout: of the tensors, "NCHW" or "NHWC"
    """

    def __init__(
        self, image_layout: RecordLayout, normalize: PerImage | PerChannel | None, *, layout: Layout = "NCHW"
    ) -> None:
        self._options = LoaderOptions(
            batch_size=1,
            shuffle=False,
            drop_last=False,
            seed=0,
            labels=None,
            indices=None,
            weights=None,
            views=1,
            augment=Augment(),
            normalize=normalize,
            dtype="float32",
            layout=layout,
            order="permutation",
            num_threads=1,
            prefetch_batches=1,
            io="mmap",
            pin_memory=False,
            backend="native",
            device="cpu",
            rank=0,
            world_size=1,
        )
        self._plan = make_plan(image_layout, self._options)

    def __call__(self, images: npt.NDArray[np.uint8]) -> torch.Tensor:
        """float32 (n, C, H, W), or (n, H, W, C), of images uint8 (n, C, H, W), contiguous."""
        pool = _core.BufferPool(plan=self._plan, batch_size=len(images), spare_buffers=0)
        indices = np.zeros(len(images), np.int64)  # they draw the augmentation, and there is none
        return torch.from_numpy(self._plan.decode(pool, 0, 0, indices, images))
