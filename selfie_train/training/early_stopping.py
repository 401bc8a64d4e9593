"""Label Wave in a run: counts prediction changes, keeps the weights of the best epoch, says when to stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from selfie_train.methods.label_wave import LabelWave
from selfie_train.methods.method import Scores
from selfie_train.runs.log import Row
from selfie_train.training.checkpoint import read_arrays, write_arrays
from selfie_train.training.learner import Learner
from selfie_train.training.run_log import RunLog


class EarlyStopping:
    """Label Wave, with the weights of its best epoch in selected-EPOCH.safetensors of a run's checkpoints."""

    def __init__(self, num_samples: int, num_classes: int, *, patience: int) -> None:
        self.wave = LabelWave(num_samples, num_classes, patience=patience)

    def record(self, scores: Scores) -> None:
        """Count the changed predictions of a batch, those of the first network."""
        self.wave.record(scores.indices, scores.predicted[0])

    def end_epoch(self, learner: Learner, folder: Path) -> bool:
        """Close an epoch; True if it is the best so far, whose weights are then kept in `folder`."""
        self.wave.end_epoch()
        best = self.wave.best_epoch
        if best is None or best != len(self.wave.prediction_changes) - 1:
            return False
        if learner.group.is_first:
            folder.mkdir(parents=True, exist_ok=True)
            arrays = {
                name: array for name, array in learner.state().items() if not name.startswith("momentum")
            }
            write_arrays(_path(folder, best), arrays)
        return True

    def forget_older(self, folder: Path) -> None:
        """Delete the weights of other epochs; call it once a checkpoint knows the best one."""
        best = self.wave.best_epoch
        for path in folder.glob("selected-*.safetensors"):
            if best is not None and path != _path(folder, best):
                path.unlink()

    def select(self, learner: Learner, folder: Path) -> int | None:
        """Go back to the weights of the best epoch and return it, from 0; None where there is none yet.

        Raises ValueError if their file is damaged or not of this run.
        """
        best = self.wave.best_epoch
        if best is not None:
            path = _path(folder, best)
            arrays = read_arrays(path)
            try:
                learner.load_state(arrays)
            except (ValueError, RuntimeError) as error:
                told = " ".join(str(error).split())[:300]
                raise ValueError(f"{path} does not fit the run: {told}") from error
        return best

    def tell(self, best: int | None, rows: list[Row], log: RunLog) -> None:
        """Say which epoch, from 0, was selected."""
        if best is None:
            log.say("early stopping: too few epochs to compare, the last weights are kept")
            return
        log.event("epoch_selected", epoch=best + 1, prediction_changes=self.wave.prediction_changes)
        error = rows[best]["test_error"]
        known = "" if error is None else f" (test error {error:.2f} %)"
        log.say(
            f"early stopping: predictions changed least around epoch {best + 1}; its weights are kept{known}"
        )

    def state_dict(self) -> dict[str, Any]:
        """What Label Wave remembers."""
        return self.wave.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to `state`."""
        self.wave.load_state_dict(state)


def _path(folder: Path, epoch: int) -> Path:
    return folder / f"selected-{epoch:05d}.safetensors"
