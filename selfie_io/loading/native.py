"""The native backend: worker threads of the C++ core decode into a recycled ring of batches."""

import errno
import os
from collections.abc import Generator

import numpy as np
import numpy.typing as npt
import torch

from selfie_io import _core
from selfie_io.loading.batch import Batch, batch_of
from selfie_io.loading.reader import Reader


class NativeBackend:
    """Yields the batches of an epoch from the CPU, copied to another device if the options name one."""

    def __init__(self, reader: Reader) -> None:
        options = reader.options
        self._reader = reader
        self._device = torch.device(options.device)
        # Each worker takes a batch: with fewer in flight than workers, some would idle; of more batches than
        # an epoch has, none would be used.
        slices = reader.slices
        self._ring_batches = max(
            1, min(max(options.prefetch_batches, options.num_threads), slices.num_batches)
        )
        reader.check_memory(self._ring_batches + 1)
        self._pool: _core.BufferPool | None = None
        self._pool_owner = -1

    def batches(self, epoch: int, from_batch: int) -> Generator[Batch, None, None]:
        """The batches from_batch, from_batch + 1, ... of an epoch, as views of memory that they own."""
        reader = self._reader
        order = reader.epoch_order(epoch)
        decoder = self._decoder()
        if reader.reading.populates:
            reader.files.populate()
        # Nothing is closed in a `finally`: what garbage collection runs there would swallow a Ctrl-C. The
        # decoder closes itself when it dies.
        try:
            last = reader.slices.num_batches
            for batch in range(from_batch, min(from_batch + self._ring_batches, last)):
                decoder.submit(order, *reader.slices[batch])
            for batch in range(from_batch, last):
                arrays = decoder.next()
                if batch + self._ring_batches < last:
                    decoder.submit(order, *reader.slices[batch + self._ring_batches])
                yield self._finish(*arrays)
        except Exception as error:
            decoder.close()
            if isinstance(error, MemoryError):
                raise self._no_memory() from error
            raise

    def _decoder(self) -> _core.BatchDecoder:
        """The threads that decode an epoch; raises OSError if the system has not enough threads or memory."""
        reader, options = self._reader, self._reader.options
        threads = min(options.num_threads, self._ring_batches)
        try:
            return _core.BatchDecoder(
                files=reader.files,
                plan=reader.plan,
                pool=self._buffers(),
                labels=options.labels,
                num_threads=threads,
                read_depth=reader.reading.depth,
                read_blocks=reader.reading.blocks,
            )
        except MemoryError as error:
            raise self._no_memory() from error
        except RuntimeError as error:
            if str(error) != os.strerror(errno.EAGAIN):
                raise
            advice = f"this system gives no {threads} threads: lower num_threads"
            raise OSError(errno.EAGAIN, advice) from error

    def _no_memory(self) -> OSError:
        return OSError(errno.ENOMEM, self._reader.memory_advice(self._ring_batches + 1))

    def _buffers(self) -> _core.BufferPool:
        """The ring's memory, kept from epoch to epoch; a forked child makes its own."""
        if self._pool is None or self._pool_owner != os.getpid():
            # One more than in flight: the batch that the user holds.
            self._pool = _core.BufferPool(
                plan=self._reader.plan,
                batch_size=self._reader.slices.largest,
                spare_buffers=self._ring_batches + 1,
            )
            self._pool_owner = os.getpid()
        return self._pool

    def _finish(
        self,
        images: npt.NDArray[np.generic],
        labels: npt.NDArray[np.int64],
        record_ids: npt.NDArray[np.int64],
        indices: npt.NDArray[np.int64],
    ) -> Batch:
        options = self._reader.options
        batch = batch_of(images, labels, record_ids, indices, options.dtype)
        if options.pin_memory:
            batch = batch.pin_memory()
        if self._device.type != "cpu":
            batch = batch.to(self._device, non_blocking=True)
        return batch
