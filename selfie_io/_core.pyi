"""Types of the native core (csrc/bindings.cpp).

Errors: ValueError for bad values, IndexError for positions and indices out of range, OSError with the path.
"""

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
from typing_extensions import Unpack

def isa() -> str:
    """The instruction set in use: generic, avx2, avx512 or neon (SELFIE_IO_ISA overrides)."""

class RecordFiles:
    """One split's files, open. Opening reads a page of each file at most."""

    def __init__(
        self,
        *,
        paths: Sequence[str | bytes],
        channels: int,
        height: int,
        width: int,
        num_classes: int,  # 0: unknown
        io: str,  # mmap: no descriptor stays open; pread; direct: past the page cache, where that works
    ) -> None: ...
    def __len__(self) -> int: ...
    @property
    def is_direct(self) -> bool:
        """Whether all files are read past the page cache."""

    def check_places(self) -> None:
        """OSError if another file has taken the place of one since it was opened."""

    def populate(self) -> None:
        """Read all mapped pages in the background; later calls do nothing."""

    def headers(self) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        """(record_ids, labels) of every record, (N,) each."""

    def images(self, indices: npt.NDArray[np.int64], out: npt.NDArray[np.uint8]) -> None:
        """Copy the pixels of records into out, one after the other."""

    def gather(
        self, indices: npt.NDArray[np.int64], out: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """As images(); returns (labels, record_ids) of those records, (n,) each."""

class EpochOrder:
    """The record at each position of an epoch; its length is the number of positions."""

    def __init__(
        self,
        *,
        kind: str,  # sequential, permutation, independent, quasi
        num_records: int,
        seed: int,
        epoch: int,
        global_batch_size: int,
        block_records: int,
        window_records: int,
        members: npt.NDArray[np.int64] | None = None,  # ascending; None: all records
        weight_totals: npt.NDArray[np.float64] | None = None,  # running totals; None: each record once
    ) -> None: ...
    def __len__(self) -> int: ...
    def indices(self, start: int, count: int) -> npt.NDArray[np.int64]:
        """The records at positions start..start+count-1."""

class _PlanOptions(TypedDict):
    """The options of a PixelPlan: loading/reader.py gives them, csrc/bindings.cpp takes them."""

    channels: int
    height: int
    width: int
    pad: int
    pad_mode: str  # zeros, reflect
    crop_height: int
    crop_width: int
    flip: str  # none, random, alternate
    brightness: float
    contrast_low: float
    contrast_high: float
    cutout: int
    crop_at_center: bool
    resize_height: int  # 0: no resize
    resize_width: int
    resize_crop: bool
    antialias: bool
    scale_low: float
    scale_high: float
    ratio_low: float
    ratio_high: float
    saturation_low: float
    saturation_high: float
    hue: float
    grayscale: float
    erase: float
    erase_scale_low: float
    erase_scale_high: float
    erase_ratio_low: float
    erase_ratio_high: float
    normalize: str  # none, per_image, per_channel
    mean: list[float]
    std: list[float]
    dtype: str  # float32, float16, bfloat16, uint8
    channels_last: bool
    views: int

class PixelPlan:
    """What happens to every image of a loader."""

    def __init__(self, **options: Unpack[_PlanOptions]) -> None:
        """TypeError for an unknown, missing or mistyped option."""

    def draws(
        self, seed: int, epoch: int, indices: npt.NDArray[np.int64], view: int = 0
    ) -> dict[str, npt.NDArray[Any]]:
        """The fields of loading.reader.Draws by name, (n,) each."""

    def scale_and_shift(
        self, files: RecordFiles, seed: int, epoch: int, indices: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """scale and shift, (n, C) each."""

    def decode(
        self,
        pool: BufferPool,
        seed: int,
        epoch: int,
        indices: npt.NDArray[np.int64],
        pixels: npt.NDArray[np.uint8],
    ) -> npt.NDArray[Any]:
        """Decode images (n, C, H, W) into a buffer of the pool; bfloat16 comes as uint16."""

class BufferPool:
    """Recycled memory for batches."""

    def __init__(self, *, plan: PixelPlan, batch_size: int, spare_buffers: int) -> None: ...

class BatchDecoder:
    """Worker threads: slices of an epoch go in, batches come out in order."""

    def __init__(
        self,
        *,
        files: RecordFiles,
        plan: PixelPlan,
        pool: BufferPool,
        labels: npt.NDArray[np.int64] | None,
        num_threads: int,
        read_depth: int,  # reads at once, ahead of the workers; 0: the workers read
        read_blocks: bool,  # whole blocks of the order, two windows at most; False: record by record
    ) -> None: ...
    def submit(self, order: EpochOrder, start: int, count: int) -> None:
        """Queue a slice of at most the pool's batch_size."""

    def next(
        self,
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(images, labels, record_ids, indices) of the next batch; views come first, bfloat16 as uint16.

        The arrays share one buffer, which they own. Raises the worker's exception.
        """

    def close(self) -> None:
        """Stop the workers; may be called twice."""
