"""The processes of a run and what they exchange. A single process is a group of one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from selfie_io.loading.batch import Batch
from selfie_train.runs.run_lock import RunBusy, run_lock


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train one network together, and this one's place and device."""

    rank: int
    world_size: int
    device: torch.device

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
    """Hold the lock of a run's folder in the first process; all raise RunBusy if somebody else does."""
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


def join_processes(device: str) -> ProcessGroup:
    """Join the processes that torchrun started; `device` is cpu, cuda, cuda:N or auto.

    Raises ValueError for a device that this machine does not have.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    place = choose_device(device)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    if world_size == 1:
        return ProcessGroup(0, 1, place)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
    return ProcessGroup(dist.get_rank(), world_size, place)


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
    elif place.type != "cpu":
        raise ValueError(f"device must be auto, cpu, cuda or cuda:N; got {device!r}")
    return place
