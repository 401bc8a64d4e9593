"""Memory, descriptors and threads of this process over time, and whether they stay flat."""

import os
import threading
import time
from pathlib import Path

WARM_UP = 0.25  # of the samples: imports, caches and the model's own memory come first
ALLOWED_GROWTH = 0.03  # of the resident memory between the first and the last third of the rest
ALLOWED_MEGABYTES = 16  # what an allocator may keep


class Samples:
    """One row a second: (seconds, resident MB, descriptors, threads)."""

    def __init__(self) -> None:
        self.begin = time.monotonic()
        self.rows: list = []

    def take(self) -> None:
        """Add a row, at most one a second."""
        now = time.monotonic() - self.begin
        if self.rows and now < self.rows[-1][0] + 1:
            return
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        resident = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
        threads = len(list(Path("/proc/self/task").iterdir()))
        self.rows.append((now, resident, len(os.listdir("/proc/self/fd")), threads))  # noqa: PTH208

    def judged(self) -> dict:
        """First and last thirds after the warm-up, as medians, and `flat`."""
        rows = self.rows[int(len(self.rows) * WARM_UP) :]
        third = max(1, len(rows) // 3)
        first, last = (
            [sorted(row[column] for row in part)[len(part) // 2] for column in (1, 2, 3)]
            for part in (rows[:third], rows[-third:])
        )
        allowed = max(ALLOWED_MEGABYTES, ALLOWED_GROWTH * first[0])
        return {
            "samples": len(self.rows),
            "first_megabytes": round(first[0], 1),
            "last_megabytes": round(last[0], 1),
            "peak_megabytes": round(max(row[1] for row in self.rows), 1),
            "first_descriptors": first[1],
            "last_descriptors": last[1],
            "first_threads": first[2],
            "last_threads": last[2],
            "python_threads": threading.active_count(),
            "flat": last[0] <= first[0] + allowed and last[1] <= first[1] + 2 and last[2] <= first[2] + 2,
        }
