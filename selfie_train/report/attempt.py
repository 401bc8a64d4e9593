"""A report is drawn last: where that fails, the results are there already, and a line says why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def try_report(path: Path, draw: Callable[[], object], *, say: Callable[[str], None]) -> bool:
    """Call `draw`, which imports what it needs and writes `path`; returns whether it could.

    Whatever goes wrong is told to `say` in a line.
    """
    try:
        draw()
    except ModuleNotFoundError as error:
        say(f"no {path.name}: {error.name} is missing; install it with: pip install 'selfie-io[report]'")
    except Exception as error:  # of any library that draws: the results must not be lost by it
        say(f"no {path.name}: {type(error).__name__}: {error}")
    else:
        return True
    return False
