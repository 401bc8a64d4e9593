"""The memory that this process may use: the machine's, or less where a control group limits it."""

import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
PROCESS_CGROUPS = Path("/proc/self/cgroup")
FITTING_PART = 0.75  # of the memory: the rest is for batches, the network and the system


def memory_limit() -> int:
    """The bytes that this process may use, page cache included: cgroup v1 and v2 limits count."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([physical, *_cgroup_limits()])


def fits_in_memory(needed: int) -> bool:
    """Whether so many bytes of files can stay in the page cache beside the process's own memory."""
    return needed <= FITTING_PART * memory_limit()


def _cgroup_limits() -> list[int]:
    """The limits of the process's groups and of all groups above them."""
    try:
        lines = PROCESS_CGROUPS.read_text().splitlines()
    except OSError:
        return []
    limits = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root, name = CGROUPS, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = CGROUPS / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            limits += _limit(folder / name)
            if folder == root:
                break
    return limits


def _limit(path: Path) -> list[int]:
    try:
        text = path.read_text().strip()
    except OSError:  # inside a container the path may be that of the host
        return []
    return [int(text)] if text.isdigit() else []  # "max": no limit
