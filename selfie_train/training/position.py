"""Where training stands, as a checkpoint keeps it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Position:
    """Where training stands, between two batches."""

    run: int = 0
    epoch: int = 0  # of the run
    batch: int = 0  # of the epoch
    step: int = 0  # batches over all runs
    images: int = 0  # trained on over all runs
    seconds: float = 0.0  # that took

    @property
    def images_per_second(self) -> float:
        """Over all runs; 0 before the first batch."""
        return self.images / self.seconds if self.seconds else 0.0
