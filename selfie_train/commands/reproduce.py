"""selfie-train reproduce: a grid of settings becomes runs; each is trained, resumed or left if done."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from selfie_train.commands.compare import compare
from selfie_train.commands.subcommand import DONE, FAILED, TrainCommand
from selfie_train.config import TrainConfig
from selfie_train.runs.result import Divergence


@dataclass(frozen=True)
class Reproduce(TrainCommand):
    """Train every run of a grid and compare them; finished runs are skipped, begun ones continue."""

    grid: tyro.conf.Positional[Path]
    """A JSON file: {"base": {setting: value}, "axes": {setting: [values]}}."""
    out: Path
    """Where the runs, the table and the report go."""

    def run(self) -> int:
        """Train and compare; FAILED if a run diverged."""
        return DONE if reproduce(self.grid, self.out) else FAILED


def complete(config: TrainConfig, *, quiet: bool = False) -> bool:
    """Make sure that `config.run_folder` holds the whole run; False if it did already.

    Raises ValueError if the folder holds another run, and as `train` does.
    """
    from selfie_train.training.loop import resume, train

    folder = config.run_folder
    if not (folder / "config.json").exists():
        train(config, quiet=quiet)
        return True
    stored = TrainConfig.read(folder)
    different = {
        name
        for name, value in config.to_json().items()
        if name != "out" and stored.to_json()[name] != value and name not in ("device", "checkpoint_batches")
    }
    if different:
        raise ValueError(
            f"{folder} holds a run with another {', '.join(sorted(different))}: choose another folder"
        )
    if (folder / "summary.json").exists():
        return False
    resume(folder, quiet=quiet)
    return True


def expand_grid(grid: dict[str, Any], out: Path) -> list[TrainConfig]:
    """One config for each combination of the grid's "axes" (name -> values), over its "base" settings.

    The runs' folders lie in `out`, named by their values. Raises ValueError for a malformed grid.
    """
    base, axes = (grid.get(name, {}) if isinstance(grid, dict) else None for name in ("base", "axes"))
    if not (isinstance(base, dict) and isinstance(axes, dict) and set(grid) <= {"base", "axes"}) or not all(
        isinstance(values, list) for values in axes.values()
    ):
        raise ValueError(
            f'a grid must be {{"base": {{setting: value}}, "axes": {{setting: [values]}}}}, got {grid}'
        )
    configs = []
    for values in itertools.product(*axes.values()):
        setting = dict(zip(axes, values, strict=True))
        name = "_".join(_name(key, value) for key, value in setting.items()) or "run"
        configs.append(TrainConfig.from_json({**base, **setting, "out": str(out / name)}))
    return configs


def reproduce(grid_path: Path, out: Path, *, quiet: bool = False, say: Callable[[str], None] = print) -> bool:
    """Run the grid in a JSON file, skip what is done, compare; True if every run came to its end.

    A run that diverges is reported and skipped. The comparison is rewritten after every run.
    """
    try:
        configs = expand_grid(json.loads(grid_path.read_text()), out)
    except (ValueError, TypeError) as error:  # TypeError: a setting without default is missing
        raise ValueError(f"{grid_path}: {error}") from None
    whole = True
    for number, config in enumerate(configs, start=1):
        say(f"[{number}/{len(configs)}] {config.run_folder}")
        try:
            trained = complete(config, quiet=quiet)
        except Divergence as error:
            whole = False
            trained = True
            say(f"diverged: {error}")
        if trained or number == len(configs):
            begun = [one.run_folder for one in configs if (one.run_folder / "config.json").exists()]
            compare(begun, out, say=say)
    return whole


def _name(key: str, value: Any) -> str:
    text = Path(value).name if key == "dataset" else str(value).replace(":", "-").replace("/", "-")
    return f"s{text}" if key == "seed" else text
