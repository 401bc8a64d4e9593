"""The positions of an epoch that form a batch, for every rank: pure functions of the options."""

from dataclasses import dataclass

from selfie_io.loading.options import LoaderOptions

QUASI_BLOCK_BYTES = 1 << 20
QUASI_WINDOW_BLOCKS = 64


@dataclass(frozen=True)
class EpochSlices:
    """Cuts the positions of an epoch into global batches, and each of those into the ranks' slices.

    A global batch has batch_size * world_size positions; the last one may be shorter. Each rank takes a
    contiguous part of every global batch, as even as possible, so that all ranks make the same number of
    steps. A rank's part of a short last batch may be empty.
    """

    num_records: int
    batch_size: int
    rank: int
    world_size: int
    drop_last: bool
    whole_draws: bool  # independent draws: the last one is as large as the others

    @classmethod
    def of(cls, options: LoaderOptions, num_records: int) -> "EpochSlices":
        """The slices that the options ask for."""
        return cls(
            num_records,
            options.batch_size,
            options.rank,
            options.world_size,
            options.drop_last,
            options.shuffle and options.order == "independent",
        )

    @property
    def global_batch_size(self) -> int:
        """Positions that all ranks together take in one step."""
        size = self.batch_size * self.world_size
        return min(size, self.num_records) if self.whole_draws else size

    @property
    def num_batches(self) -> int:
        """Steps of an epoch."""
        whole, rest = divmod(self.num_records, self.global_batch_size)
        return whole if self.drop_last or not rest else whole + 1

    @property
    def largest(self) -> int:
        """The most positions that this rank has in a batch."""
        return -(-min(self.global_batch_size, self.num_records) // self.world_size)

    def __getitem__(self, batch: int) -> tuple[int, int]:
        """The (start, count) of this rank's slice of a global batch."""
        begin = batch * self.global_batch_size
        size = self.global_batch_size
        if not self.whole_draws:
            size = min(size, self.num_records - begin)
        start = begin + size * self.rank // self.world_size
        end = begin + size * (self.rank + 1) // self.world_size
        return start, end - start


def quasi_sizes(record_bytes: int) -> tuple[int, int]:
    """(records of a block, records of a window) for order="quasi": about 1 MiB, and 64 blocks."""
    block = max(1, QUASI_BLOCK_BYTES // record_bytes)
    return block, block * QUASI_WINDOW_BLOCKS
