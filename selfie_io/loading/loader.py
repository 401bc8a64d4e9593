"""The Loader: checks the options, keeps epoch and position, hands each epoch to one backend."""

import hashlib
import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import cached_property
from importlib import import_module
from types import TracebackType
from typing import Any, Protocol
from weakref import ref

import numpy as np
import numpy.typing as npt
import torch

from selfie_io.loading.augment import Augment, crop_size
from selfie_io.loading.batch import Batch
from selfie_io.loading.options import (
    BackendName,
    Dtype,
    IoMode,
    Layout,
    LoaderOptions,
    Order,
    PerChannel,
    PerImage,
    check_epoch,
    check_view,
    default_threads,
)
from selfie_io.loading.reader import Draws, Reader
from selfie_io.loading.selection import check_labels, check_weights, digest, select_members
from selfie_io.records.split import RecordSplit

STATE_VERSION = 2  # 2 also tells data, labels and options
BACKENDS = {  # module and class; only the chosen one is imported
    "native": ("selfie_io.loading.native", "NativeBackend"),
    "dali": ("selfie_io.loading.dali", "DaliBackend"),
    "resident": ("selfie_io.loading.resident", "ResidentBackend"),
}


class Backend(Protocol):
    """Turns an epoch into batches; knows neither the Loader nor another backend."""

    def batches(self, epoch: int, from_batch: int) -> Generator[Batch, None, None]:
        """The batches from_batch, from_batch + 1, ... of an epoch."""


class Loader:
    """Iterates over a split in batches of tensors; each iteration is the next epoch.

    split: the records to load
    batch_size: records of a batch, on this rank
    shuffle: read in a new order each epoch (see order) instead of the order on disk
    drop_last: leave out a last batch that is smaller than the others
    seed: 0..2^64-1; the batches are a pure function of (files, options, seed, epoch)
    labels: integers (N,) to use instead of the stored labels, one per record of `split`; copied
    indices: integers (M,), the only records to load; they keep the order and the draws of the whole split
    views: images made of each record, each with draws of its own; above 1 they come first in `images`
    weights: numbers (N,), not negative; an epoch draws as many records with replacement, each by its weight,
        whatever `shuffle` says
    augment: random changes of the images; None for none
    normalize: PerImage(), PerChannel(mean, std), or None for byte values 0..255
    dtype: of the images; "uint8" rounds to the nearest integer and saturates
    layout: "NCHW" or "NHWC"
    order: "permutation" shuffles all records each epoch; "independent" draws each global batch anew without
        replacement, as the authors' program does; "quasi" shuffles blocks and windows of blocks, for data
        larger than memory
    num_threads: decoding threads; None for the processors that this process may use
    prefetch_batches: batches decoded ahead
    io: "auto" maps files that fit in memory and populates the mapping in the background, and reads others
        ahead in the order of the epoch; "mmap" maps the files, "pread" reads record by record
    pin_memory: page-locked batches, for copies to a GPU that overlap with work
    backend: "native" (C++ threads), "dali" (NVIDIA DALI) or "resident" (the split lives on the device)
    device: where the tensors end up
    rank, world_size: this process's contiguous part of each global batch of batch_size * world_size records

    Raises ValueError for wrong options and for options that do not fit the split, OSError if a file cannot be
    opened.
    """

    def __init__(
        self,
        split: RecordSplit,
        *,
        batch_size: int = 128,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        labels: npt.ArrayLike | None = None,
        indices: npt.ArrayLike | None = None,
        weights: npt.ArrayLike | None = None,
        views: int = 1,
        augment: Augment | None = None,
        normalize: PerImage | PerChannel | None = PerImage(),  # noqa: B008 (frozen)
        dtype: Dtype | torch.dtype = "float32",
        layout: Layout = "NCHW",
        order: Order = "permutation",
        num_threads: int | None = None,
        prefetch_batches: int = 4,
        io: IoMode = "auto",
        pin_memory: bool = False,
        backend: BackendName = "native",
        device: str | torch.device = "cpu",
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if not isinstance(split, RecordSplit):
            raise ValueError(f"split must be a RecordSplit, such as open_dataset(...).train, got {split!r}")
        members = select_members(split, indices)
        self.options = LoaderOptions(
            batch_size=batch_size,
            shuffle=shuffle,
            drop_last=drop_last,
            seed=seed,
            labels=None if labels is None else check_labels(labels, split, members),
            indices=members,
            weights=None if weights is None else check_weights(weights, split, members),
            views=views,
            augment=Augment() if augment is None else augment,
            normalize=normalize,
            dtype=str(dtype).removeprefix("torch."),  # type: ignore[arg-type]  # checked there
            layout=layout,
            order=order,
            num_threads=default_threads() if num_threads is None else num_threads,
            prefetch_batches=prefetch_batches,
            io=io,
            pin_memory=pin_memory,
            backend=backend,
            device=str(device),
            rank=rank,
            world_size=world_size,
        )
        self.split = split
        self._position = self._next = (0, 0)  # (epoch, batch): where to resume, and where iter() begins
        self._open()

    def _open(self) -> None:
        _check_device(self.options)
        self._reader = Reader(self.split, self.options)
        # The iterations that are not at their end, and more. No callback removes one that died: a Ctrl-C that
        # arrives while Python runs such a callback would be swallowed.
        self._live: set[ref[Generator[Batch, None, None]]] = set()
        module, name = BACKENDS[self.options.backend]
        self._backend: Backend | None = getattr(import_module(module), name)(self._reader)

    def __len__(self) -> int:
        """Batches of an epoch, the same on every rank."""
        return self._reader.slices.num_batches

    def __iter__(self) -> Iterator[Batch]:
        if self._backend is None:
            raise RuntimeError("the loader is closed")
        epoch, batch = self._position = self._next
        check_epoch(epoch)
        self._next = (epoch + 1, 0)
        return self._epoch(self._backend, epoch, batch)

    def _epoch(self, backend: Backend, epoch: int, from_batch: int) -> Iterator[Batch]:
        if self._backend is None:  # closed since iter()
            raise RuntimeError("the loader is closed")
        batches, done = backend.batches(epoch, from_batch), from_batch
        for one in list(self._live):  # other threads may begin iterations too
            if one() is None:
                self._live.discard(one)
        self._live.add(ref(batches))
        for batch in batches:
            done += 1
            self._position = (epoch, done)
            yield batch
        if done < len(self):
            raise RuntimeError("the loader is closed")

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration be this epoch, from its beginning; ValueError unless it is below 2^32."""
        check_epoch(epoch)
        self._position = self._next = (int(epoch), 0)

    @property
    def batch_size(self) -> int:
        """Records of a batch, on this rank."""
        return self.options.batch_size

    @property
    def dataset(self) -> RecordSplit:
        """The split, by the name that torch's DataLoader uses."""
        return self.split

    def draws(self, epoch: int, indices: npt.ArrayLike, view: int = 0) -> Draws:
        """The augmentation of some records in an epoch, as arrays; see Draws.

        Raises ValueError for an epoch or view that does not exist, IndexError for an index outside the split.
        """
        check_epoch(epoch)
        check_view(view, self.options.views)
        return self._reader.draws(epoch, self.split.check_indices(indices), view)

    def state_dict(self) -> dict[str, Any]:
        """The position of the iteration: small, plain JSON, independent of threads and ranks."""
        epoch, batch = self._place()
        return {
            "version": STATE_VERSION,
            "epoch": epoch,
            "position": batch * self._reader.slices.global_batch_size,
            **self._identity(),
            **self._content,
        }

    def _place(self) -> tuple[int, int]:
        """Epoch and number of the batch after the last one that was given."""
        epoch, batch = self._position
        return (epoch + 1, 0) if 0 < batch >= len(self) else (epoch, batch)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at `state`: the next iteration gives the batches that remained then.

        Raises ValueError, with the difference, if the state is of another loader: seed, order, data, labels
        and what is made of them must agree; batch_size * world_size may differ if the position is a
        multiple of it. A state of version 1 does not tell its data: that is not checked.
        """
        if not isinstance(state, Mapping):
            raise ValueError(f"a state must be what state_dict() gave, got {state!r}")
        expected = {"version": STATE_VERSION, **self._identity(), **self._content}
        if type(state.get("version")) is int and state.get("version") == 1:
            expected = {"version": 1, **self._identity()}
        for key in ("files", "content"):  # one was without a manifest, large, or of an earlier version
            if state.get(key) is None or expected.get(key) is None:
                expected.pop(key, None)
        for key, value in expected.items():
            told = state.get(key)
            if type(told) is not type(value) or told != value:  # also True for 1, and arrays
                raise ValueError(
                    f"the state must have {key} {value!r} as this loader, got {state.get(key)!r}"
                )
        epoch, position = state.get("epoch"), state.get("position")
        if type(epoch) is not int or type(position) is not int or position < 0:
            raise ValueError(
                f"the state must have an integer epoch and position, got {epoch!r} and {position!r}"
            )
        check_epoch(epoch)
        size = self._reader.slices.global_batch_size
        if position % size != 0 or position // size > len(self):
            raise ValueError(
                f"the position must be a multiple of the global batch size {size}, "
                f"at most {size * len(self)}, got {position}"
            )
        self._position = self._next = (epoch, position // size)

    def _identity(self) -> dict[str, Any]:
        """What must be equal for a position to have the same meaning."""
        options = self.options
        order: str = options.order if options.shuffle else "sequential"
        if options.weights is not None:
            order = "weighted"
        identity: dict[str, int | str] = {
            "seed": int(options.seed),
            "order": order,
            "num_records": self._reader.num_members,
        }
        if options.indices is not None:
            identity["indices"] = digest(options.indices)
        if options.weights is not None:
            identity["weights"] = digest(options.weights)
        if order == "independent":  # each draw belongs to one batch
            identity["global_batch_size"] = self._reader.slices.global_batch_size
        return identity

    @cached_property
    def _content(self) -> dict[str, Any]:
        """What the batches are made of and how: digests of data and labels, options as JSON text."""
        options = self.options
        labels = "stored"
        if options.labels is not None:
            labels = hashlib.sha256(np.ascontiguousarray(options.labels, "<i8").tobytes()).hexdigest()
        normalize = options.normalize
        return {
            **self.split.whole.identity,
            "labels": labels,
            "augment": json.dumps(asdict(options.augment), default=float),
            "normalize": normalize and f"{type(normalize).__name__} {asdict(normalize)}",
            "dtype": options.dtype,
            "layout": options.layout,
            "views": options.views,
            "drop_last": options.drop_last,
        }

    def close(self) -> None:
        """Release buffers, threads and files; batches already given stay valid. May be called twice.

        The next batch of an iteration that has not ended is a RuntimeError.
        """
        self._backend = None
        for one in list(self._live):
            batches = one()
            if batches is not None:
                # Another thread waits for its next batch: it ends then.
                with suppress(ValueError):
                    batches.close()
        self._reader.close()

    def __enter__(self) -> "Loader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        # A copy goes on where this loader stands, as one that loads its `state_dict` does.
        return {
            "split": self.split,
            "options": self.options,
            "place": self._place(),
            "closed": self._backend is None,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.split, self.options = state["split"], state["options"]
        self._position = self._next = state["place"]
        self._open()
        if state["closed"]:
            self.close()

    def __repr__(self) -> str:
        options, layout = self.options, self.split.layout
        height, width = crop_size(options.augment, layout)
        shape = (layout.channels, height, width)
        if options.layout == "NHWC":
            shape = (height, width, layout.channels)
        images = (
            (options.batch_size, *shape)
            if options.views == 1
            else (options.views, options.batch_size, *shape)
        )
        order = self._identity()["order"]
        lines = [
            repr(self.split),
            f"{len(self)} batches of {options.batch_size}: images {options.dtype} {options.layout} "
            f"{images}, labels int64 ({options.batch_size},)",
            f"order={order!r}, seed={options.seed}, drop_last={options.drop_last}, "
            f"rank={options.rank} of {options.world_size}",
            f"labels={'the stored ones' if options.labels is None else 'given'}, "
            f"indices={'all' if options.indices is None else f'{options.indices.size} given'}, "
            f"weights={'none' if options.weights is None else 'given'}",
            f"augment={options.augment!r}",
            f"normalize={options.normalize!r}",
            f"backend={options.backend!r}, device={options.device!r}, io={self._reader.io_told}, "
            f"num_threads={options.num_threads}, prefetch_batches={options.prefetch_batches}, "
            f"pin_memory={options.pin_memory}",
            "closed" if self._backend is None else "epoch={}, batch={}".format(*self._position),
        ]
        return "Loader(\n  " + ",\n  ".join(lines) + "\n)"


def _check_device(options: LoaderOptions) -> None:
    try:
        device = torch.device(options.device)
    except RuntimeError as error:
        raise ValueError(
            f'device must be "cpu" or a device of torch such as "cuda:0", got {options.device!r}'
        ) from error
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= gpus:
        raise ValueError(
            f"device must be one that torch can use here, got {options.device!r} without such a GPU "
            f'(there are {gpus}); backend="native" with device="cpu" works'
        )
    if device.type not in ("cpu", "cuda"):
        try:
            torch.zeros(1, device=device).cpu()
        except (RuntimeError, NotImplementedError, AssertionError) as error:  # meta has no values
            raise ValueError(
                f"device must hold values on this machine, got {options.device!r}: {error}"
            ) from error
    if options.pin_memory and not torch.cuda.is_available():
        raise ValueError("pin_memory must be False without a GPU that torch can use, got True: leave it out")
