"""Grids: many runs described in one JSON file, and the ones that ship with the package."""

from __future__ import annotations

import itertools
import json
from importlib import resources
from pathlib import Path
from typing import Any

from selfie_io.records.plain_files import read_text
from selfie_train.config import TrainConfig

_FORM = '{"base": {setting: value}, "axes": {setting: [values]}, "parts": {name: {"base": ..., "axes": ...}}}'
_KEYS = {"about", "base", "axes", "parts"}


def shipped_grids() -> list[str]:
    """The names of the grids that ship with the package."""
    folder = resources.files("selfie_train") / "grids"
    return sorted(
        entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json")
    )


def read_grid(grid: str | Path) -> dict[str, Any]:
    """The grid in a JSON file, or the shipped one of this name.

    Raises ValueError for a name that is neither (the shipped ones are listed) or a file that is not
    JSON, OSError for a file that cannot be read.
    """
    path = Path(grid)
    if not path.exists() and str(grid) in shipped_grids():
        text = (resources.files("selfie_train") / "grids" / f"{grid}.json").read_text(encoding="utf-8")
    elif not path.exists() and path.suffix != ".json":
        raise ValueError(
            f"a grid must be a JSON file or one of {', '.join(shipped_grids())}; got {str(grid)!r}"
        )
    else:
        text = read_text(path)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{grid}: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{grid}: a grid must be {_FORM}, got {content!r}")
    return content


def expand_grid(grid: dict[str, Any], out: Path) -> list[TrainConfig]:
    """One config for each combination of the "axes" (name -> values) over the "base" settings.

    With "parts" each part is a grid of its own, over the base and axes of the whole. The runs' folders
    lie in `out`, named by part and values. Raises ValueError for a malformed grid, and for two runs
    of one name.
    """
    base, axes, parts = _checked(grid)
    configs = []
    for part, content in parts.items() if parts else [("", {})]:
        part_base, part_axes, none = _checked(content)
        if none:
            raise ValueError(f"a part of a grid must have no parts of its own, got {part}")
        merged = {**axes, **part_axes}
        if "imports" in {**base, **part_base, **merged}:
            raise ValueError(
                "a grid brings no code along: give modules by --import, not as the setting imports"
            )
        for values in itertools.product(*merged.values()):
            setting = dict(zip(merged, values, strict=True))
            words = [part, *(_name(key, value) for key, value in setting.items())]
            name = "_".join(filter(None, words)) or "run"
            folder = str(out / name)
            configs.append(TrainConfig.from_json({**base, **part_base, **setting, "out": folder}))
    folders = [config.run_folder for config in configs]
    twice = sorted({folder.name for folder in folders if folders.count(folder) > 1})
    if twice:
        raise ValueError(f"the runs of a grid must have different names, got twice: {', '.join(twice)}")
    return configs


def _checked(grid: Any) -> tuple[dict[str, Any], dict[str, list[Any]], dict[str, Any]]:
    known = isinstance(grid, dict) and set(grid) <= _KEYS
    base, axes, parts = (
        ({}, {}, {}) if not known else (grid.get(key, {}) for key in ("base", "axes", "parts"))
    )
    fits = known and all(isinstance(value, dict) for value in (base, axes, parts))
    if not fits or not all(isinstance(values, list) for values in axes.values()):
        raise ValueError(f"a grid must be {_FORM}, got {grid}")
    return base, axes, parts


def _name(key: str, value: Any) -> str:
    words = value if isinstance(value, list) else [value]
    text = "+".join(Path(word).name if key == "dataset" else str(word) for word in words)
    text = text.replace(":", "-").replace("/", "-")
    return f"s{text}" if key == "seed" else text
