"""The DALI backend: the native core gathers bytes, an NVIDIA DALI pipeline moves, crops and flips them.

Order, ranks, draws and resume are the Reader's; DALI draws nothing. The native core or torch then applies
brightness, contrast and normalisation on the same device: DALI's crop_mirror_normalize rounds in between and
cannot give the core's bits.
"""

import ctypes
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import nullcontext
from importlib import import_module
from typing import Any
from weakref import WeakSet

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.dlpack import from_dlpack

from selfie_io.loading.augment import crop_size
from selfie_io.loading.batch import Batch
from selfie_io.loading.core_pixels import CorePixels
from selfie_io.loading.reader import Reader, Records
from selfie_io.loading.torch_pixels import TorchPixels, check_not_forked

try:
    dali: Any = import_module("nvidia.dali")  # its types do not pass a strict check
except ImportError as error:
    raise ImportError(
        'backend="dali" needs NVIDIA DALI: pip install nvidia-dali-cuda130, or nvidia-dali-cuda120 for CUDA '
        '12 (the package named nvidia-dali is a placeholder); backend="native" needs nothing more'
    ) from error


class DaliBackend:
    """Yields the batches of an epoch through a DALI pipeline, on the CPU or a GPU.

    Raises ValueError for a device that is neither, RuntimeError in a forked child.
    """

    def __init__(self, reader: Reader) -> None:
        check_not_forked()
        self._reader = reader
        self._device = torch.device(reader.options.device)
        if self._device.type not in ("cpu", "cuda"):
            raise ValueError(f'backend="dali" works on "cpu" and "cuda:N", got {reader.options.device!r}')
        augment = reader.options.augment
        # DALI cannot reflect. Four flips and four joins instead take four times as long.
        # Several windows of one image, and resizing to these bits, are left to what finishes the batch.
        reflects = augment.pad > 0 and augment.pad_mode == "reflect"
        self._cuts = not reflects and not augment.resizes and reader.options.views == 1
        self._by_core = _core_can_finish(self._device)
        self._finish = (_by_core if self._by_core else _by_torch)(reader, self._device, self._cuts)
        self._idle: list[_Line] = []

    def batches(self, epoch: int, from_batch: int) -> Generator[Batch, None, None]:
        """The batches from_batch, from_batch + 1, ... of an epoch.

        Raises RuntimeError in a forked child.
        """
        check_not_forked()
        line = self._idle.pop() if self._idle else self._make_line()
        line.begin(epoch, from_batch)
        for batch in range(from_batch, self._reader.slices.num_batches):
            check_not_forked()
            has_records = self._reader.slices[batch][1] > 0
            pixels, records = line.next() if has_records else self._nothing(epoch)
            yield self._finish(pixels, epoch, records)
        line.end()
        self._idle.append(line)  # a line whose iteration ended early still holds work and is dropped

    def _make_line(self) -> "_Line":
        # torch's result may share DALI's memory, which only the dynamic executor never overwrites. Where
        # nothing is kept, the static executor is up to a fifth faster.
        return _Line(self._reader, self._device, cuts=self._cuts, keeps_outputs=not self._by_core)

    def _nothing(self, epoch: int) -> tuple[torch.Tensor, Records]:
        """The output of a line for a batch without records, which DALI does not support."""
        layout, none = self._reader.split.layout, np.empty(0, np.int64)
        sides = crop_size(self._reader.options.augment, layout) if self._cuts else layout.shape[1:]
        pixels = torch.empty((0, layout.channels, *sides), dtype=torch.uint8, device=self._device)
        return pixels, Records(none, none, none, self._reader.draws_of_views(epoch, none))


# Makes the batch of a line's output: uint8 pixels (n, C, h, w), cut if the line cuts, and their records.
_Finish = Callable[[torch.Tensor, int, Records], Batch]


def _core_can_finish(device: torch.device) -> bool:
    return device.type == "cpu"


def _by_core(reader: Reader, _: torch.device, cuts: bool) -> _Finish:
    return CorePixels(reader, are_windows=cuts).batch


def _by_torch(reader: Reader, device: torch.device, cuts: bool) -> _Finish:
    work = TorchPixels(reader, device)

    return lambda pixels, _, records: work.batch(pixels, records, are_windows=cuts)


class _Line:
    """A pipeline with its source; it serves one iteration at a time."""

    def __init__(self, reader: Reader, device: torch.device, *, cuts: bool, keeps_outputs: bool) -> None:
        self._device = device
        # The source has no reference to the pipeline: a cycle would keep both until garbage collection.
        self._source = _Source(reader, on_gpu=device.type == "cuda", gives_cuts=cuts)
        self.pipeline = _make_pipeline(reader, device, self._source, keeps_outputs)
        _lines.add(self)

    def begin(self, epoch: int, from_batch: int) -> None:
        self._source.begin(epoch, from_batch)

    def next(self) -> tuple[torch.Tensor, Records]:
        """The pixels, uint8 (n, C, h, w) on the device, and the records of the next batch that has any.

        The pixels stay valid until the next call, or for ever if the line keeps outputs.
        """
        stream = torch.cuda.current_stream(self._device) if self._device.type == "cuda" else None
        with torch.cuda.device(self._device) if stream else nullcontext():
            (output,) = self.pipeline.run(stream)  # on a GPU the stream waits, not the caller
            pixels = from_dlpack(output.as_tensor())
        return pixels, self._source.taken(stream)

    def end(self) -> None:
        """Prepare for another iteration, after this one has given all its batches."""
        self.pipeline.reset()


_lines: WeakSet[_Line] = WeakSet()


def _abandon_lines() -> None:
    """Keep a forked child from shutting down its parent's pipelines.

    Their threads do not exist there: a shutdown, even at exit, would wait for ever.
    """
    for line in _lines:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(line.pipeline._pipe))  # or it would end with its owner
        line.pipeline._pipe = None


os.register_at_fork(after_in_child=_abandon_lines)


class _Slot:
    """A buffer for one batch of pixels given to the pipeline, page-locked if a GPU fetches them."""

    def __init__(self, shape: tuple[int, ...], on_gpu: bool) -> None:
        self.pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=on_gpu)
        self.fetched = torch.cuda.Event() if on_gpu else None  # type: ignore[no-untyped-call]
        self.records: Records
        self.lent: tuple[Any, ...]  # DALI reads these without a copy, so they must stay alive


class _Source:
    """DALI's input: gathers the next batch that has records, as far ahead as DALI asks."""

    def __init__(self, reader: Reader, *, on_gpu: bool, gives_cuts: bool) -> None:
        self._reader = reader
        self._on_gpu = on_gpu
        self.gives_cuts = gives_cuts
        shape = (reader.options.batch_size, *reader.split.layout.shape)
        # The current batch and those ahead of it.
        self.slots = [_Slot(shape, on_gpu) for _ in range(1 + reader.options.prefetch_batches)]
        self._inside: deque[_Slot] = deque()  # given to DALI, output not yet received
        self._coming: Iterator[npt.NDArray[np.int64]] = iter(())
        self._epoch = 0

    def begin(self, epoch: int, from_batch: int) -> None:
        self._epoch = epoch
        batches = range(from_batch, self._reader.slices.num_batches)
        everything = (self._reader.indices(epoch, batch) for batch in batches)
        self._coming = (indices for indices in everything if indices.size)

    def __call__(self, info: Any) -> tuple[Any, ...]:
        indices = next(self._coming)  # StopIteration tells DALI that the epoch is over
        slot = self.slots[info.iteration % len(self.slots)]
        if slot.fetched is not None:
            slot.fetched.synchronize()
        pixels = slot.pixels[: indices.size].numpy()
        stored = self._reader.gather(indices, pixels)
        draws = self._reader.draws_of_views(self._epoch, indices)
        slot.records = Records(indices, *stored, draws)
        lent: tuple[Any, ...] = (dali.tensors.TensorListCPU(pixels, layout="CHW", is_pinned=self._on_gpu),)
        if self.gives_cuts:
            lent += (np.stack((draws[0].top, draws[0].left), axis=1), draws[0].flip.astype(np.int32))
        slot.lent = lent
        self._inside.append(slot)
        return lent

    def taken(self, stream: torch.cuda.Stream | None) -> Records:
        """The records of the batch that came out; its slot is free once the stream reaches this point."""
        slot = self._inside.popleft()
        if slot.fetched is not None:
            slot.fetched.record(stream)
        return slot.records


def _make_pipeline(reader: Reader, device: torch.device, source: _Source, keeps_outputs: bool) -> Any:
    options = reader.options
    device_id = None
    if device.type == "cuda":
        device_id = torch.cuda.current_device() if device.index is None else device.index
    pipeline = dali.Pipeline(
        batch_size=options.batch_size,
        num_threads=options.num_threads,
        device_id=device_id,
        prefetch_queue_depth=len(source.slots),
        exec_dynamic=keeps_outputs,
    )
    with pipeline:
        pixels, *cuts = dali.fn.external_source(
            source, num_outputs=3 if source.gives_cuts else 1, batch=True, batch_info=True, no_copy=True
        )
        if device_id is not None:
            pixels = pixels.gpu()
        if cuts:
            start, mirror = cuts
            shape = crop_size(options.augment, reader.split.layout)
            pixels = dali.fn.slice(
                pixels, start=start, shape=shape, axis_names="HW", out_of_bounds_policy="pad"
            )
            pixels = dali.fn.flip(pixels, horizontal=mirror)
        pipeline.set_outputs(pixels)
    return pipeline
