"""selfie-train methods: every method with its paper, what it does, its options and their defaults."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields
from typing import Annotated, Any

import tyro
from rich.box import SIMPLE_HEAD
from rich.table import Table

from selfie_io.rich_console import RichConsole
from selfie_train.commands.subcommand import DONE, TrainCommand
from selfie_train.config import TrainConfig
from selfie_train.registry import known_names, look_up


@dataclass(frozen=True)
class Methods(TrainCommand):
    """List the methods of `run --method`: paper, idea, options with defaults."""

    EXAMPLES = (
        "selfie-train methods",
        "selfie-train methods --import my_method.py",
    )

    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print JSON instead of a table."""

    def run(self) -> int:
        """Print the table."""
        methods = [describe(name) for name in known_names("method")]
        console = RichConsole()
        if self.json:
            console.print_json(data=methods)
            return DONE
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("method", no_wrap=True)
        table.add_column("what it does, and where it is from", ratio=2)
        table.add_column("options and their defaults", ratio=1)
        for method in methods:
            options = [f"{name}={value}" for name, value in method["options"].items()]
            options += [
                f"--{name.replace('_', '-')} {_shown(value)}" for name, value in method["settings"].items()
            ]
            what = method["summary"] + (f"\n{method['paper']}" if method["paper"] else "")
            table.add_row(method["method"], what, "\n".join(options) or "none")
        console.print(table)
        console.print(
            "NAME=VALUE is given as --method-options NAME=VALUE, several after each other. "
            "docs/methods.md has the formulas and the original settings."
        )
        return DONE


def describe(name: str) -> dict[str, Any]:
    """A method's paper, summary, own options, and the settings of `run` that it looks at, with defaults."""
    method = look_up("method", name)
    options = method.parse_options(TrainConfig("unused", method=name))
    defaults = {field.name: field.default for field in fields(TrainConfig)}
    return {
        "method": name,
        "paper": method.paper,
        "summary": (inspect.getdoc(method) or "").split("\n")[0],
        "networks": method.num_networks,
        "needs_noise_rate": method.needs_noise_rate,
        "options": {field.name.rstrip("_"): getattr(options, field.name) for field in fields(options)},
        "settings": {setting: defaults[setting] for setting in method.settings},
    }


def _shown(value: object) -> str:
    if value is None:
        return "auto"
    return ("off", "on")[value] if isinstance(value, bool) else str(value)
