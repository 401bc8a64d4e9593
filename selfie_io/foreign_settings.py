"""Settings that libraries read from the current folder: in a folder of a stranger they are not read."""

import contextlib
import importlib
import os
import sys
from pathlib import Path

# numba's can name a cache, whose files are pickles: to read them is to run code.
_SETTINGS = {".numba_config.yaml": "numba", "matplotlibrc": "matplotlib"}


def ignore_foreign_settings() -> list[str]:
    """Keep numba and matplotlib from reading settings in the current folder; returns the files found there.

    They read them when they are imported, and numba whenever it compiles. So it is for processes of our
    own, before they start threads: for a moment the current folder is another one.
    """
    found = [name for name in _SETTINGS if os.path.lexists(name)]
    if not found:
        return []
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(Path(__file__).parent)
        for name in found:
            with contextlib.suppress(ImportError):
                importlib.import_module(_SETTINGS[name])
    finally:
        os.fchdir(here)
        os.close(here)
    if "numba.core.config" in sys.modules:
        sys.modules["numba.core.config"]._config_fname = os.devnull  # type: ignore[attr-defined]
    return found


def say_ignored(names: list[str]) -> None:
    """Say which settings are not read."""
    for name in names:
        print(f"note: {name} of this folder is not read", file=sys.stderr)
