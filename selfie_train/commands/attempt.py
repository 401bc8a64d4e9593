"""One run of a grid: train it, resume it, or leave it if finished; a failure becomes its reason."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from selfie_train.config import TrainConfig
from selfie_train.runs.failure import clear_failure, write_failure
from selfie_train.runs.result import Divergence, Stopped
from selfie_train.runs.run_lock import RunBusy

# Settings that may differ between a stored run and what is asked for: they change no result.
_FREE = ("out", "device", "checkpoint_batches", "timeout")


@dataclass(frozen=True)
class Outcome:
    """How an attempt at a run ended."""

    kind: Literal["finished", "skipped", "busy", "failed", "stopped"]
    reason: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether the run is complete."""
        return self.kind in ("finished", "skipped")


def is_finished(config: TrainConfig) -> bool:
    """Whether `config.run_folder` holds the whole run.

    Raises ValueError if it holds another run, or one of other data.
    """
    folder = config.run_folder
    if not (folder / "config.json").exists():
        return False
    chosen = config.auto_settings()  # when the run began
    stored, asked = _comparable(TrainConfig.read(folder), chosen), _comparable(config, chosen)
    different = sorted(name for name, value in asked.items() if stored[name] != value)
    if different:
        raise ValueError(
            f"{folder} must be free or hold this run, but it holds one with another "
            f"{', '.join(different)}: choose another folder"
        )
    if not (folder / "summary.json").exists():
        return False
    from selfie_train.runs.data_identity import check_identity, open_run_dataset
    from selfie_train.runs.training_labels import training_labels

    dataset = open_run_dataset(config)
    check_identity(folder, dataset, training_labels(dataset, config), config.noise)
    return True


def complete(config: TrainConfig, *, quiet: bool = False) -> bool:
    """Make sure that `config.run_folder` holds the whole run; False if it did already.

    Raises ValueError if the folder holds another run, and as `train` does.
    """
    if is_finished(config):
        return False
    from selfie_train.training.loop import resume, train

    if (config.run_folder / "config.json").exists():
        resume(config.run_folder, quiet=quiet)
    else:
        train(config, quiet=quiet)
    return True


def attempt(config: TrainConfig, *, quiet: bool = False) -> Outcome:
    """Complete the run; whatever goes wrong is the outcome, and stands in the run's failure.json."""
    folder = config.run_folder
    try:
        trained = complete(config, quiet=quiet)
    except RunBusy as busy:
        return Outcome("busy", busy.holder)
    except (Stopped, KeyboardInterrupt) as stopped:
        return Outcome("stopped", str(stopped) or "interrupted")
    except Exception as error:  # the fault of one run must not end the others
        plain = isinstance(error, ValueError | OSError | Divergence | ModuleNotFoundError) and str(error)
        reason = str(error) if plain else f"{type(error).__name__}: {error}"
        write_failure(folder, reason, config.to_json(), traceback.format_exc())
        return Outcome("failed", reason)
    clear_failure(folder)
    return Outcome("finished" if trained else "skipped")


def _comparable(config: TrainConfig, chosen: list[str]) -> dict[str, Any]:
    """The settings that must be the same, without those that were `chosen`."""
    values = {name: value for name, value in config.to_json().items() if name not in (*_FREE, *chosen)}
    return {**values, "dataset": str(Path(config.dataset).absolute())}
