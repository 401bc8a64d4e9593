"""How many processors this process may use: asked here and nowhere else."""

import os


def available_processors() -> int:
    """Count the processors this process may use; where the system cannot tell (macOS), all it has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
