"""Decodes images in several processes, in the order they came."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from selfie_io.convert.decoding.images import Decoded, ImageRule, decode_chunk
from selfie_io.convert.decoding.worker_process import WorkerProcess
from selfie_io.convert.sources.source import Item

_CHUNK_ITEMS = 128
_CHUNK_BYTES = 1 << 21  # of encoded images, or of decoded ones
_IN_HAND = 4  # chunks given to a worker in advance, so that it never waits for this process


class Decoder:
    """Decodes streams of items in order, in bounded memory, in `workers` processes including this
    one.

    A context manager. Other processes start with the second chunk, so a small set needs none.
    """

    def __init__(self, rule: ImageRule, workers: int) -> None:
        self._rule = rule
        self._others = workers - 1
        self._workers: list[WorkerProcess] = []
        self._free: deque[WorkerProcess] = (
            deque()
        )  # a worker is in it once for each chunk that it may still be given
        self._threads = ThreadPoolExecutor(_IN_HAND * workers)  # one waits for each such chunk

    def decode(self, items: Iterable[Item]) -> Iterator[Decoded]:
        """Yield the decoded items, in order; raises OSError if a worker dies."""
        waiting: deque[Future[Decoded]] = deque()
        for number, chunk in enumerate(_chunks(items, self._rule)):
            # Arrays cost less to use than to send.
            others_help = number > 0 and isinstance(chunk[0].image, bytes)
            if others_help and len(self._workers) < self._others:
                self._workers = [WorkerProcess() for _ in range(self._others)]
                self._free.extend(self._workers * _IN_HAND)
            waiting.append(self._send(chunk) if others_help and self._free else self._decode_here(chunk))
            while waiting and (waiting[0].done() or len(waiting) > _IN_HAND * (1 + self._others)):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _send(self, chunk: list[Item]) -> Future[Decoded]:
        worker = self._free.popleft()
        future = self._threads.submit(worker.decode, chunk, self._rule)
        future.add_done_callback(lambda _: self._free.append(worker))
        return future

    def _decode_here(self, chunk: list[Item]) -> Future[Decoded]:
        future: Future[Decoded] = Future()
        future.set_result(decode_chunk(chunk, self._rule))
        return future

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:  # first: else the threads wait for the chunks that are in hand
            worker.kill()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.close()


def _chunks(items: Iterable[Item], rule: ImageRule) -> Iterator[list[Item]]:
    most = max(1, min(_CHUNK_ITEMS, _CHUNK_BYTES // (rule.channels * rule.height * rule.width)))
    chunk: list[Item] = []
    size = 0
    for item in items:
        chunk.append(item)
        size += len(item.image) if isinstance(item.image, bytes) else 0
        if len(chunk) == most or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
