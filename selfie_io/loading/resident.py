"""The resident backend: the split's bytes stay on the device; a batch takes a few operations there."""

import os
from collections.abc import Generator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from selfie_io.loading.batch import Batch
from selfie_io.loading.reader import Reader, Records
from selfie_io.loading.torch_pixels import TorchPixels, check_not_forked

STAGING_BYTES = 64 << 20


class ResidentBackend:
    """Keeps the split's pixels on the device, uint8 (N, C, H, W), and makes batches of them there.

    Raises MemoryError, with the bytes needed and free, if the split does not fit the device.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._device = torch.device(reader.options.device)
        self._pixel_work = TorchPixels(reader, self._device)
        self._pixels, self._labels, self._record_ids = _upload(reader, self._device)

    def batches(self, epoch: int, from_batch: int) -> Generator[Batch, None, None]:
        """The batches from_batch, from_batch + 1, ... of an epoch."""
        reader, work = self._reader, self._pixel_work
        for batch in range(from_batch, reader.slices.num_batches):
            check_not_forked()  # before torch's first operation
            indices = reader.indices(epoch, batch)
            places = indices
            if reader.options.indices is not None:
                places = np.searchsorted(reader.options.indices, indices)
            stored = self._labels[places], self._record_ids[places]
            records = Records(indices, *stored, reader.draws_of_views(epoch, indices))
            pixels = self._pixels[torch.from_numpy(places).to(self._device)]
            yield work.batch(pixels, records, are_windows=False)


def _upload(
    reader: Reader, device: torch.device
) -> tuple[torch.Tensor, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The pixels of the loader's records, by ascending index, on the device; the labels and ids."""
    layout, records = reader.split.layout, reader.num_members
    members = np.arange(records) if reader.options.indices is None else reader.options.indices
    _check_room(records * layout.pixel_bytes, device)
    pixels = torch.empty((records, *layout.shape), dtype=torch.uint8, device=device)
    labels, record_ids = np.empty(records, np.int64), np.empty(records, np.int64)
    step = max(1, STAGING_BYTES // layout.pixel_bytes)
    for begin in range(0, records, step):
        part = slice(begin, min(begin + step, records))
        staging = np.empty((part.stop - begin, *layout.shape), np.uint8)
        labels[part], record_ids[part] = reader.gather(members[part], staging)
        pixels[part] = torch.from_numpy(staging)
    return pixels, labels, record_ids


def _check_room(needed: int, device: torch.device) -> None:
    free = _free_bytes(device)
    if free is not None and needed > free:
        raise MemoryError(
            f'backend="resident" keeps the split on {device}: it needs {needed} bytes, {free} are free; '
            'use backend="native" or "dali"'
        )


def _free_bytes(device: torch.device) -> int | None:
    """The free bytes of a device; None if unknown."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    if device.type != "cpu":
        return None
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        available = next(line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable"))
        return int(available.split()[1]) * 1024
    if "SC_AVPHYS_PAGES" not in os.sysconf_names:  # macOS
        return None
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
