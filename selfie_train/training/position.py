"""Where training stands, as a checkpoint keeps it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any


@dataclass
class Position:
    """Where training stands, between two batches."""

    run: int = 0
    epoch: int = 0  # of the run
    batch: int = 0  # of the epoch
    step: int = 0  # batches over all runs
    images: int = 0  # trained on over all runs
    seconds: float = 0.0  # that took

    @classmethod
    def read(cls, told: dict[str, Any], *, runs: int, epochs: int, batches: int) -> Position:
        """The position that a checkpoint tells; raises ValueError for one outside of the run."""
        known = [field.name for field in fields(cls)]
        if not isinstance(told, dict) or set(told) != set(known):
            raise ValueError(f"a position must have {', '.join(known)} and nothing else, got {told!r}")
        position = cls(**told)
        most = {
            "run": runs,
            "epoch": epochs,
            "batch": batches,
            "step": runs * epochs * batches,
            "images": 2**62,
        }
        for name, limit in most.items():
            value = getattr(position, name)
            if type(value) is not int or not 0 <= value <= limit:
                raise ValueError(f"{name} must be an integer in 0..{limit}, got {value!r}")
        if type(position.seconds) not in (int, float) or not 0 <= position.seconds < 1e12:
            raise ValueError(f"seconds must be a number that is not negative, got {position.seconds!r}")
        return position

    @property
    def images_per_second(self) -> float:
        """Over all runs; 0 before the first batch."""
        return self.images / self.seconds if self.seconds else 0.0


def checked_rate(told: object) -> float:
    """The noise rate that a checkpoint tells; raises ValueError unless it lies in [0, 1]."""
    if isinstance(told, bool) or not isinstance(told, int | float) or not 0 <= told <= 1:
        raise ValueError(f"noise_rate must be in [0, 1], got {told!r}")
    return told
