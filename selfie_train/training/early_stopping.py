"""Label Wave in a run: it watches the predictions, keeps the weights of the best epoch, and says when to stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.numpy import load_file, save_file

from selfie_io.records.atomic import atomic_path
from selfie_train.methods.label_wave import LabelWave
from selfie_train.methods.method import Scores
from selfie_train.training.learner import Learner


class EarlyStopping:
    """Label Wave with the weights of its best epoch in `folder`/selected-EPOCH.safetensors."""

    def __init__(self, folder: Path, num_samples: int, num_classes: int, *, patience: int) -> None:
        self.folder = folder
        self.wave = LabelWave(num_samples, num_classes, patience=patience)

    def record(self, scores: Scores) -> None:
        """Count the changed predictions of a batch, those of the first network."""
        self.wave.record(scores.indices, scores.predicted[0])

    def end_epoch(self, learner: Learner) -> bool:
        """Close an epoch; True if it is the best so far, whose weights are kept then."""
        self.wave.end_epoch()
        best = self.wave.best_epoch
        if best is None or best != len(self.wave.prediction_changes) - 1:
            return False
        if learner.group.is_first:
            self.folder.mkdir(parents=True, exist_ok=True)
            arrays = {name: array for name, array in learner.state().items() if name.startswith("network")}
            with atomic_path(self._path(best)) as temporary:
                save_file({name: array.copy(order="C") for name, array in arrays.items()}, temporary)
        return True

    def forget_older(self) -> None:
        """Delete the weights of other epochs; call it once a checkpoint knows the best one."""
        best = self.wave.best_epoch
        for path in self.folder.glob("selected-*.safetensors"):
            if best is not None and path != self._path(best):
                path.unlink()

    def select(self, learner: Learner) -> int | None:
        """Go back to the weights of the best epoch and return it, from 0; None where there is none yet."""
        best = self.wave.best_epoch
        if best is not None:
            learner.load_state(load_file(self._path(best)))
        return best

    def state_dict(self) -> dict[str, Any]:
        """What Label Wave remembers."""
        return self.wave.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to `state`."""
        self.wave.load_state_dict(state)

    def _path(self, epoch: int) -> Path:
        return self.folder / f"selected-{epoch:05d}.safetensors"
