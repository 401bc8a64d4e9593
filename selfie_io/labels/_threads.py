"""Cuts a range over plain threads, for kernels that release the GIL."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from selfie_io.processors import available_processors

_WORTH_A_THREAD = 1 << 17  # below about 0.2 ms of work a thread costs more than it brings


def run_range(kernel: Callable[[int, int], int], count: int, num_threads: int | None = None) -> int:
    """Call `kernel(start, stop)` on parts of 0..count-1; returns the lowest result that is not -1,
    else -1.

    By default as many threads as processors where the range is long enough.
    """
    threads = (
        min(available_processors(), 1 + count // _WORTH_A_THREAD) if num_threads is None else num_threads
    )
    if threads == 1:
        return kernel(0, count)
    # Four parts a thread: one that the system holds up does not hold up a whole half of the range.
    parts = 4 * threads
    bounds = [count * part // parts for part in range(parts + 1)]
    with ThreadPoolExecutor(threads) as pool:
        results = list(pool.map(kernel, bounds[:-1], bounds[1:]))
    return min((result for result in results if result != -1), default=-1)
