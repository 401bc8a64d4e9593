"""selfie-train resume: continue a run after its last checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from selfie_train.commands.subcommand import DONE, TrainCommand


@dataclass(frozen=True)
class Resume(TrainCommand):
    """Continue a run at the batch after its last checkpoint."""

    EXAMPLES = (
        "selfie-train resume runs/selfie",
        "selfie-train resume runs/selfie --dataset /data/moved/digits",
    )

    folder: tyro.conf.Positional[Path]
    """The run's folder."""
    dataset: Path | None = None
    """Where the run's data set lies now, if it moved; by default where it was."""

    def run(self) -> int:
        """Train what is left."""
        from selfie_train.training.loop import resume

        resume(self.folder, dataset=self.dataset)
        return DONE
