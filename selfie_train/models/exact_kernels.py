"""Kernels of a GPU that give the same bits each time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch


@contextlib.contextmanager
def exact_kernels(device: torch.device) -> Iterator[None]:
    """Let a GPU compute the same bits each time, as a CPU does anyway.

    An operation that has no such kernel warns, once. What the caller had set holds again afterwards.
    """
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it is first used
    before = torch.are_deterministic_algorithms_enabled()
    lenient = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic  # its attribute is a property
    fills = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    memory.fill_uninitialized_memory = False  # that is for debugging, and costs a pass over memory
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=lenient)
        memory.fill_uninitialized_memory = fills
