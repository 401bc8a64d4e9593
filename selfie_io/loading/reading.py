"""How a loader reads its files: chosen from its options, the size of the set and the memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from selfie_io.loading.memory import fits_in_memory, memory_limit
from selfie_io.loading.options import LoaderOptions
from selfie_io.loading.order import quasi_sizes
from selfie_io.records.split import FileIo, RecordSplit

if TYPE_CHECKING:
    from selfie_io._core import RecordFiles

RECORD_READS = 32  # at once: enough for a disk's own queue
BLOCK_READS = 8  # at once, of about 1 MiB each: more than a disk needs, for a busy processor
WINDOWS_PART = 0.25  # of the memory: what two windows of blocks may take
USED_PART = 0.5  # of each block: what a rank must use, or single records are less to read


@dataclass(frozen=True)
class ReadPlan:
    """files: how they are open; populates: whether all pages are read in the background;
    depth: reads at once, ahead of the decoding threads, 0 if those read; blocks: whether they are of blocks
    """

    files: FileIo
    populates: bool = False
    depth: int = 0
    blocks: bool = False

    def told(self, asked: str, files: RecordFiles | None) -> str:
        """For a repr. files: None once they are closed."""
        if asked != "auto":
            return repr(asked)
        if self.populates:
            return "'auto' (mapped, populated ahead)"
        if self.depth == 0:
            return "'auto' (larger than memory: read when needed)"
        what = "blocks" if self.blocks else "records"
        how = f"larger than memory: {self.depth} {what} read ahead at once"
        if files is not None and self.files == "direct":
            how += ", past the page cache" if files.is_direct else ", through the page cache"
        return f"'auto' ({how})"


def choose_reading(split: RecordSplit, options: LoaderOptions, num_members: int) -> ReadPlan:
    """The best way for where the bytes are, unless the options name one.

    num_members: the records of the split that are loaded
    """
    if options.io != "auto":
        return ReadPlan(options.io)
    whole, record_bytes = len(split.whole), split.layout.record_bytes
    if fits_in_memory(whole * record_bytes):
        return ReadPlan("mmap", populates=True)
    if options.backend != "native":
        return ReadPlan("pread")
    has_blocks = options.weights is None and (not options.shuffle or options.order == "quasi")
    block_records, window_records = quasi_sizes(record_bytes)
    if (
        has_blocks
        and block_records > 1
        and 2 * window_records * record_bytes <= WINDOWS_PART * memory_limit()
        and num_members >= USED_PART * whole * options.world_size
    ):
        return ReadPlan("direct", depth=BLOCK_READS, blocks=True)
    return ReadPlan("direct", depth=RECORD_READS)
