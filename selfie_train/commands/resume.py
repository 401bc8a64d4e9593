"""selfie-train resume: continue a run after its last checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from selfie_train.commands.subcommand import DONE, TrainCommand


@dataclass(frozen=True)
class Resume(TrainCommand):
    """Continue a run at the batch after its last checkpoint.

    The data, the labels and the settings must be those of the run; the device, the number of processes and
    the place of the data set may be others.
    """

    EXAMPLES = (
        "selfie-train resume runs/selfie",
        "selfie-train resume runs/selfie --dataset /data/moved/digits",
    )

    folder: tyro.conf.Positional[Path]
    """The run's folder."""
    dataset: Path | None = None
    """Where the run's data set lies now, if it moved; by default where it was."""
    epochs: int | None = None
    """Train on, to this many epochs in all, at least those of the run; by default to the run's."""
    from_start: bool = False
    """Train the run again from the beginning, over its log and checkpoints."""

    def run(self) -> int:
        """Train what is left."""
        from selfie_train.training.loop import resume

        resume(self.folder, dataset=self.dataset, epochs=self.epochs, from_start=self.from_start)
        return DONE
