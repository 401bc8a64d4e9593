"""The processes of a run and what they exchange. A single process is a group of one."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from selfie_io.loading.batch import Batch
from selfie_train.config import DEFAULT_TIMEOUT
from selfie_train.runs.run_lock import RunBusy, run_lock
from selfie_train.training.life_signs import LifeSigns

_START_SECONDS = 300.0  # for processes that start on many machines
_life_signs: list[LifeSigns] = []  # of this process, once it has met the others


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train one network together, and this one's place and device."""

    rank: int
    world_size: int
    device: torch.device
    life: LifeSigns | None = field(default=None, repr=False, compare=False)

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def wrap(self, network: nn.Module) -> nn.Module:
        """A network whose gradients are averaged over the processes."""
        if self.world_size == 1:
            return network
        return DistributedDataParallel(network)

    def gather(self, columns: Tensor, slots: int) -> tuple[NDArray[np.float64], int]:
        """Join the columns float64[rows, b] of all processes in rank order.

        Returns float64[rows, global b] and where this process's own columns begin. `slots` is the largest b.
        """
        if self.world_size == 1:
            return columns.cpu().numpy(), 0
        mine = columns.new_full((columns.shape[0] + 1, slots), torch.nan)
        mine[0] = columns.shape[1]
        mine[1:, : columns.shape[1]] = columns
        everyone = [torch.empty_like(mine) for _ in range(self.world_size)]
        dist.all_gather(everyone, mine)
        blocks = torch.stack(everyone).cpu().numpy()
        sizes = blocks[:, 0, 0].astype(np.int64)
        joined = np.concatenate([block[1:, :size] for block, size in zip(blocks, sizes, strict=True)], axis=1)
        return joined, int(sizes[: self.rank].sum())

    def join(self, batch: Batch, slots: int) -> Batch:
        """The whole batch of which each process has at most `slots` samples, in every process."""
        if self.world_size == 1:
            return batch
        labels = torch.stack([batch.labels, batch.record_ids, batch.indices])
        pixels = batch.images.flatten(1).T
        rows, _ = self.gather(torch.cat([labels, pixels]).double().to(self.device), slots)
        joined = torch.from_numpy(rows)
        images = joined[3:].T.reshape(-1, *batch.images.shape[1:]).to(batch.images.dtype)
        return Batch(images.contiguous(), *joined[:3].long())

    def explain(self, error: RuntimeError) -> Exception:
        """What to raise for an error of torch: one that names the lost processes, if it was an exchange."""
        return error if self.life is None else self.life.explain(error)

    def alone(self) -> ProcessGroup:
        """This process as a group of its own."""
        return ProcessGroup(0, 1, self.device)

    def sum(self, values: Tensor) -> Tensor:
        """The sum of each value over the processes."""
        if self.world_size > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether it is true in any process."""
        if self.world_size == 1:
            return flag
        return bool(self.sum(torch.tensor([float(flag)], device=self.device)).item())

    def broadcast_buffers(self, network: nn.Module) -> None:
        """Copy the first process's buffers (the running statistics of batch norm) to every process."""
        if self.world_size > 1:
            for buffer in network.buffers():
                dist.broadcast(buffer, 0)

    def barrier(self) -> None:
        """Wait until all processes are here."""
        if self.world_size > 1:
            dist.barrier()


@contextlib.contextmanager
def hold_run(folder: Path, group: ProcessGroup) -> Iterator[None]:
    """Hold the lock of a run's folder in the first process; all raise RunBusy if somebody else does.

    An exchange that fails meanwhile is an OSError that names the lost processes.
    """
    try:
        with _locked(folder, group):
            yield
    except RuntimeError as error:
        explained = group.explain(error)
        if explained is error:
            raise
        raise explained from error


@contextlib.contextmanager
def _locked(folder: Path, group: ProcessGroup) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        busy: RunBusy | None = None
        if group.is_first:
            try:
                stack.enter_context(run_lock(folder))
            except RunBusy as error:
                busy = error
        if group.any(busy is not None):
            raise busy or RunBusy(folder, "another process")
        yield


def join_processes(device: str, timeout: float = DEFAULT_TIMEOUT) -> ProcessGroup:
    """Join the processes that torchrun started; `device` is cpu, cuda, cuda:N or auto.

    timeout: seconds without a sign of life after which a process counts as gone, and the others end
    Raises ValueError for a device that this machine does not have or variables of torchrun that make no
    sense, OSError if the others do not come.
    """
    rank, world_size = _place_in_environment()
    place = choose_device(device)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    if world_size == 1:
        return ProcessGroup(0, 1, place)
    if not dist.is_initialized():
        _meet(rank, world_size, place, timeout)
    return ProcessGroup(dist.get_rank(), world_size, place, _life_signs[0] if _life_signs else None)


def choose_device(device: str) -> torch.device:
    """The device called cpu, cuda, cuda:N or auto (CUDA where there is one); cuda is this process's own.

    Raises ValueError for a device that this machine does not have.
    """
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        place = torch.device(kind)
    except RuntimeError as error:
        raise ValueError(f"device must be auto, cpu, cuda or cuda:N; got {device!r}") from error
    if place.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(
                f"device {device!r} needs CUDA, which torch does not find on this machine: use cpu or auto"
            )
        if place.index is None:
            place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        gpus = torch.cuda.device_count()
        if place.index >= gpus:
            raise ValueError(
                f"device {device!r} is {place} here, but this machine has {gpus} GPU(s), and each process "
                "needs one of its own: start no more processes than GPUs, or use cpu"
            )
    elif place.type != "cpu":
        raise ValueError(f"device must be auto, cpu, cuda or cuda:N; got {device!r}")
    return place


def _place_in_environment() -> tuple[int, int]:
    """RANK and WORLD_SIZE, as torchrun sets them. Raises ValueError for others."""
    told = {name: os.environ.get(name) for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT")}
    size = told["WORLD_SIZE"] or "1"
    if not (size.isascii() and size.isdecimal() and 1 <= int(size) <= 1 << 20):
        raise ValueError(f"WORLD_SIZE must be a positive integer, as torchrun sets it, got {size!r}")
    if int(size) == 1:
        return 0, 1
    missing = [name for name, value in told.items() if not value]
    if missing:
        raise ValueError(
            f"{', '.join(missing)} must be set for {size} processes (WORLD_SIZE), as torchrun does; "
            "start them by torchrun, or unset WORLD_SIZE"
        )
    for name, most in (("RANK", int(size) - 1), ("MASTER_PORT", 65535)):
        value = told[name] or ""
        if not (value.isascii() and value.isdecimal() and int(value) <= most):
            raise ValueError(f"{name} must be in 0..{most}, got {value!r}")
    return int(told["RANK"] or 0), int(size)


def _meet(rank: int, world_size: int, place: torch.device, timeout: float) -> None:
    """Find the other processes, in a thread, so that Ctrl-C ends the wait."""
    seconds = max(timeout, _START_SECONDS)
    where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    failure: list[BaseException] = []

    def meet() -> None:
        try:
            limit = timedelta(seconds=seconds)
            store, _, _ = next(rendezvous("env://", timeout=limit))
            store.set_timeout(limit)
            life = LifeSigns(PrefixStore("life", store), rank, world_size, timeout)
            dist.init_process_group(
                "nccl" if place.type == "cuda" else "gloo",
                store=PrefixStore("group", store),
                rank=rank,
                world_size=world_size,
                # The life signs end a wait for a lost process. Waiting for one that works is no fault.
                timeout=None if place.type == "cuda" else timedelta(days=1),
            )
            life.start()
            _life_signs.append(life)
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=meet, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.2)
    if failure:
        text = " ".join(str(failure[0]).split())[:200]
        raise OSError(
            f"{world_size} processes must meet at {where} within {seconds:g} s, rank {rank} gave up: {text}"
        ) from failure[0]
