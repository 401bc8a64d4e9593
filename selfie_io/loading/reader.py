"""What every backend needs of the native core: record files, the epoch's order, draws and the pixel plan."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from selfie_io import _core
from selfie_io.loading.augment import crop_size, resized_size
from selfie_io.loading.memory import memory_limit
from selfie_io.loading.options import LoaderOptions, PerChannel, PerImage
from selfie_io.loading.order import EpochSlices, quasi_sizes
from selfie_io.loading.reading import choose_reading
from selfie_io.records.layout import RecordLayout
from selfie_io.records.split import RecordSplit, size_text

_VALUE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "uint8": 1}


class Draws(NamedTuple):
    """The augmentation of n records, one array entry each.

    top, left: int32, of the crop in the unpadded image (negative inside the padding)
    flip: bool; brightness: float32, in byte units; contrast: float32, a factor
    cutout_top, cutout_left: int32, of the square in the finished image (it may reach outside)
    height, width: int32, of the window; resize_crop stretches it to the crop
    saturation: float32, a factor; hue: float32, in turns; grayscale: bool
    erase_top, erase_left, erase_height, erase_width: int32, of the rectangle; height 0: none
    colour: float32 (n, 3, 3), the matrix of saturation, hue and grayscale together
    """

    top: npt.NDArray[np.int32]
    left: npt.NDArray[np.int32]
    flip: npt.NDArray[np.bool_]
    brightness: npt.NDArray[np.float32]
    contrast: npt.NDArray[np.float32]
    cutout_top: npt.NDArray[np.int32]
    cutout_left: npt.NDArray[np.int32]
    height: npt.NDArray[np.int32]
    width: npt.NDArray[np.int32]
    saturation: npt.NDArray[np.float32]
    hue: npt.NDArray[np.float32]
    grayscale: npt.NDArray[np.bool_]
    erase_top: npt.NDArray[np.int32]
    erase_left: npt.NDArray[np.int32]
    erase_height: npt.NDArray[np.int32]
    erase_width: npt.NDArray[np.int32]
    colour: npt.NDArray[np.float32]


class Records(NamedTuple):
    """n records without their pixels; indices, labels and record_ids: int64 (n,); draws: of each view."""

    indices: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    record_ids: npt.NDArray[np.int64]
    draws: tuple[Draws, ...]


class Reader:
    """One split read under one set of options.

    Raises ValueError if the options do not fit the split's images, OSError if a file cannot be opened.
    """

    def __init__(self, split: RecordSplit, options: LoaderOptions) -> None:
        self.split = split
        self.options = options
        self.num_members = len(split.whole) if options.indices is None else options.indices.size
        self.reading = choose_reading(split, options, self.num_members)
        self._files: _core.RecordFiles | None = split.shared_files(self.reading.files)
        self._files.check_places()
        self.slices = EpochSlices.of(options, self.num_members)
        self._weight_totals = None if options.weights is None else np.cumsum(options.weights)
        self._order: tuple[int, _core.EpochOrder] | None = None
        self.plan = make_plan(split.layout, options)

    @property
    def files(self) -> _core.RecordFiles:
        """The open files. Raises RuntimeError after close()."""
        if self._files is None:
            raise RuntimeError("the loader is closed")
        return self._files

    def close(self) -> None:
        """Let go of the files: those that are not mapped close with their last loader."""
        self._files = None

    @property
    def io_told(self) -> str:
        """How the files are read, for a repr."""
        return self.reading.told(self.options.io, self._files)

    def batch_bytes(self, records: int) -> int:
        """The memory of a batch of so many records."""
        height, width = crop_size(self.options.augment, self.split.layout)
        values = self.options.views * self.split.layout.channels * height * width
        return records * (values * _VALUE_BYTES[self.options.dtype] + 3 * 8)

    def check_memory(self, batches: int) -> None:
        """Raise ValueError if so many batches at once are more than the memory that there is."""
        if batches * self.batch_bytes(self.slices.largest) > memory_limit():
            raise ValueError(self.memory_advice(batches))

    def memory_advice(self, batches: int) -> str:
        """What to say where so many batches at once are too much."""
        records = self.slices.largest
        return (
            f"{batches} batches of {records} records in flight must fit in memory, and they need "
            f"{size_text(batches * self.batch_bytes(records))}: lower batch_size, prefetch_batches or "
            "num_threads"
        )

    def epoch_order(self, epoch: int) -> _core.EpochOrder:
        """The records in the order of an epoch."""
        if self._order is None or self._order[0] != epoch:
            block, window = quasi_sizes(self.split.layout.record_bytes)
            order = _core.EpochOrder(
                kind=self.options.order if self.options.shuffle else "sequential",
                num_records=len(self.split.whole),
                seed=self.options.seed,
                epoch=epoch,
                global_batch_size=min(self.slices.global_batch_size, self.num_members),
                block_records=block,
                window_records=window,
                members=self.options.indices,
                weight_totals=self._weight_totals,
            )
            self._order = epoch, order  # that of a part of the split takes time to make
        return self._order[1]

    def indices(self, epoch: int, batch: int) -> npt.NDArray[np.int64]:
        """The records of this rank's slice of a global batch; possibly none."""
        return self.epoch_order(epoch).indices(*self.slices[batch])

    def gather(
        self, indices: npt.NDArray[np.int64], out: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Copy the pixels of some records into out, uint8 (n, C, H, W), contiguous.

        Returns their labels (the loader's, else the stored ones) and ids, int64 (n,) each.
        Raises ValueError for a stored label outside the classes, with file, record and byte.
        """
        labels, record_ids = self.files.gather(indices, out)
        return labels if self.options.labels is None else self.options.labels[indices], record_ids

    def draws(self, epoch: int, indices: npt.NDArray[np.int64], view: int = 0) -> Draws:
        """The augmentation of some records in an epoch."""
        return Draws(**self.plan.draws(self.options.seed, epoch, indices, view))

    def draws_of_views(self, epoch: int, indices: npt.NDArray[np.int64]) -> tuple[Draws, ...]:
        """The augmentation of every view of some records."""
        return tuple(self.draws(epoch, indices, view) for view in range(self.options.views))

    def scale_and_shift(
        self, epoch: int, indices: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Scale and shift, float32 (n, C) each: value = fmaf(byte, scale, shift)."""
        return self.plan.scale_and_shift(self.files, self.options.seed, epoch, indices)


def make_plan(layout: RecordLayout, options: LoaderOptions, *, of_windows: bool = False) -> _core.PixelPlan:
    """The options of a loader as the native core takes them.

    of_windows: for images that are padded, cropped and flipped already

    Raises ValueError if the options do not fit the images.
    """
    augment, normalize = options.augment, options.normalize
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    kind = "per_image" if isinstance(normalize, PerImage) else "none"
    if isinstance(normalize, PerChannel):
        kind, mean, std = "per_channel", normalize.mean, normalize.std
        if len(mean) != layout.channels:
            raise ValueError(
                f"PerChannel must have one mean and std per channel, "
                f"got {len(mean)} for {layout.channels} channels"
            )
    crop_height, crop_width = crop_size(augment, layout)
    contrast, saturation = augment.contrast or (1.0, 1.0), augment.saturation or (1.0, 1.0)
    scale = augment.resize_crop or (1.0, 1.0)
    resized = (0, 0)
    if augment.resize is not None and not of_windows:
        resized = resized_size(augment, layout)
    return _core.PixelPlan(
        channels=layout.channels,
        height=crop_height if of_windows else layout.height,
        width=crop_width if of_windows else layout.width,
        pad=0 if of_windows else augment.pad,
        pad_mode=augment.pad_mode,
        crop_height=crop_height,
        crop_width=crop_width,
        flip="none" if of_windows else augment.flip,
        brightness=augment.brightness,
        contrast_low=contrast[0],
        contrast_high=contrast[1],
        cutout=augment.cutout,
        crop_at_center=augment.crop_at == "center",
        resize_height=resized[0],
        resize_width=resized[1],
        resize_crop=augment.resize_crop is not None and not of_windows,
        antialias=augment.antialias,
        scale_low=scale[0],
        scale_high=scale[1],
        ratio_low=augment.ratio[0],
        ratio_high=augment.ratio[1],
        saturation_low=saturation[0],
        saturation_high=saturation[1],
        hue=augment.hue,
        grayscale=augment.grayscale,
        erase=augment.erase,
        erase_scale_low=augment.erase_scale[0],
        erase_scale_high=augment.erase_scale[1],
        erase_ratio_low=augment.erase_ratio[0],
        erase_ratio_high=augment.erase_ratio[1],
        normalize=kind,
        mean=list(mean),
        std=list(std),
        dtype=options.dtype,
        channels_last=options.layout == "NHWC",
        views=options.views,
    )
