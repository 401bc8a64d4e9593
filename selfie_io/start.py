"""Starts a command: Ctrl-C before it runs, while its modules are imported, is a line as it is later."""

import sys
from importlib import import_module

_INTERRUPTED = 130


def start(name: str, module: str) -> int:
    """Call `main` of the module of the command `name`; returns its exit status."""
    try:
        status: int = import_module(module).main()
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return _INTERRUPTED
    return status


def main() -> int:
    """The command selfie-convert."""
    return start("selfie-convert", "selfie_io.convert.cli")
