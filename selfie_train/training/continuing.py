"""What a run may be continued from: settings that may have changed, checkpoints that may be missing."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from selfie_io.records.atomic import atomic_path
from selfie_io.records.plain_files import open_plain, read_json
from selfie_train.config import DATA_KEY, TrainConfig
from selfie_train.runs.result import Divergence
from selfie_train.training.checkpoint import Checkpoint, forget_checkpoints, latest_checkpoint
from selfie_train.training.position import Position

# Settings that change no result, up to rounding. docs/determinism.md lists them.
MAY_CHANGE = ("dataset", "out", "device", "imports", "checkpoint_batches", "tensorboard")
MISFITS = (ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError)  # see `misfit`
_EXTENDED = "extended_from"  # in config.json, beside the digests of the data: the epochs before --epochs


def settings(config: TrainConfig) -> dict[str, Any]:
    """The settings of a run that a checkpoint belongs to, as JSON values."""
    values = {name: value for name, value in config.to_json().items() if name not in MAY_CHANGE}
    decoded: dict[str, Any] = json.loads(json.dumps(values))
    return decoded


def config_to_continue(
    folder: Path, dataset: str | Path | None, epochs: int | None
) -> tuple[TrainConfig, list[int]]:
    """The config of a run to go on with, and the numbers of epochs that it had before it was extended.

    Raises OSError if there is no run, ValueError if `epochs` is below the run's.
    """
    config = TrainConfig.read(folder)
    earlier = _earlier_epochs(folder)
    if dataset is not None:
        config = dataclasses.replace(config, dataset=str(Path(dataset).absolute()))
    if epochs is not None:
        if epochs < config.epochs:
            raise ValueError(f"--epochs must be at least the run's {config.epochs}, got {epochs}")
        if epochs > config.epochs:
            earlier = [*earlier, config.epochs]
        config = dataclasses.replace(config, epochs=epochs)
    return config, earlier


def write_config(
    folder: Path, config: TrainConfig, data: dict[str, Any], earlier_epochs: Sequence[int]
) -> None:
    """Write config.json: the settings, which data they were used on, the epochs before it was extended."""
    if earlier_epochs:
        data = data | {_EXTENDED: list(earlier_epochs)}
    with atomic_path(folder / "config.json") as temporary:
        temporary.write_text(json.dumps(config.to_json() | {DATA_KEY: data}, indent=1))


def _check_settings(
    checkpoint: Checkpoint, config: TrainConfig, folder: Path, earlier_epochs: list[int]
) -> None:
    """Raise ValueError, naming each, if settings are not those that the checkpoint was trained with.

    A checkpoint of version 0.1 does not tell them: what does not fit is found when it is loaded.
    """
    stored = checkpoint.values.get("settings")
    if not isinstance(stored, dict):
        return
    changed = {
        name: (stored[name], value)
        for name, value in settings(config).items()
        if name in stored and stored[name] != value
    }
    if "epochs" in changed and changed["epochs"][0] in earlier_epochs:
        del changed["epochs"]
    if changed:
        told = ", ".join(f"{name} {old!r} -> {new!r}" for name, (old, new) in changed.items())
        raise ValueError(
            f"a run goes on with its own settings, but {folder / 'config.json'} is not what "
            f"{checkpoint.path.name} was trained with: {told}. Restore it (--epochs N extends a run), or "
            "train into another folder"
        )


def begin_again(folder: Path, *, forget: bool) -> None:
    """Remove the summary, with which a run is done, and with `forget` its checkpoints."""
    (folder / "summary.json").unlink(missing_ok=True)
    if forget:
        forget_checkpoints(folder / "checkpoints")


def find_checkpoint(
    folder: Path, config: TrainConfig, earlier_epochs: list[int], say: Callable[[str], None]
) -> Checkpoint | None:
    """The last whole checkpoint of a run; None if nothing was trained yet. `say` is told what is wrong.

    Raises ValueError if its settings are not those of `config`, or if there is none and starting over would
    lose what was trained: then it names the damaged files.
    """
    checkpoint, defects = latest_checkpoint(folder / "checkpoints")
    if checkpoint is not None:
        for defect in defects:
            say(f"checkpoint skipped: {defect}")
        _check_settings(checkpoint, config, folder, earlier_epochs)
        return checkpoint
    epochs = _logged_epochs(folder / "log.csv")
    finished = (folder / "summary.json").exists()
    if not (defects or epochs or finished):
        say("nothing was trained yet: training starts from the beginning")
        return None
    state = "is finished, and without a whole checkpoint" if finished else "has no whole checkpoint, so"
    lost = f"its log of {epochs} epochs is kept" if epochs else "it is kept as it is"
    found = "; ".join(defects) or f"{folder / 'checkpoints'} holds none"
    raise ValueError(
        f"{folder} {state} nothing can continue: {found}. {lost[0].upper()}{lost[1:]}; to train it again "
        f"from the beginning: selfie-train resume {shlex.quote(str(folder))} --from-start"
    )


def misfit(checkpoint: Checkpoint, folder: Path, error: Exception) -> ValueError:
    """What to say of a checkpoint that cannot be loaded into what the settings describe."""
    told = " ".join(str(error).split())[:300]
    if isinstance(error, KeyError):
        told = f"it lacks {told}"
    elif not isinstance(error, ValueError):
        told = f"{type(error).__name__}: {told}"
    return ValueError(
        f"{checkpoint.path} does not fit the settings in {folder / 'config.json'}: {told}. To train the run "
        f"again from the beginning: selfie-train resume {shlex.quote(str(folder))} --from-start"
    )


def stopped_by(error: OSError, last_checkpoint: Path | None, folder: Path) -> OSError:
    """What to say of a run that could not read or write."""
    what = f"{error.strerror}: {error.filename}" if error.filename else error.strerror or str(error)
    return OSError(
        f"{what}. The run stopped; last good checkpoint: {last_checkpoint or 'none yet'}. "
        f"When this is repaired, continue with: selfie-train resume {folder}"
    )


def divergence(what: str, position: Position, last_checkpoint: Path | None) -> Divergence:
    """What to say of a loss or weight that is no longer finite."""
    return Divergence(
        f"{what} in run {position.run}, epoch {position.epoch + 1}, batch {position.batch}; "
        f"last good checkpoint: {last_checkpoint or 'none was written yet'}. A lower learning rate may help"
    )


def _earlier_epochs(folder: Path) -> list[int]:
    data = read_json(folder / "config.json").get(DATA_KEY)
    found = data.get(_EXTENDED) if isinstance(data, dict) else None
    return [one for one in found if isinstance(one, int)] if isinstance(found, list) else []


def _logged_epochs(path: Path) -> int:
    try:
        with open_plain(path) as file:
            return max(0, sum(1 for _ in file) - 1)
    except FileNotFoundError:
        return 0
