"""The precision and memory order that runs beside each other share."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfie_io.records.atomic import atomic_path
from selfie_io.records.lock import target_lock
from selfie_io.records.plain_files import read_json

CACHE = ".evidence"  # beside the runs' folders: what later runs need not find again
_NAME = "ways.json"
_WAIT_SECONDS = 60.0  # for a run that is measuring

# By what was measured: {"precision": ..., "channels_last": ...}.
KeptWays = dict[str, dict[str, Any]]


@contextlib.contextmanager
def kept_ways(runs: Path) -> Iterator[KeptWays]:
    """What earlier runs in the folder `runs` took; what is added is kept. Who comes meanwhile waits.

    Where nothing can be kept, each run chooses for itself.
    """
    path = runs / CACHE / _NAME
    with contextlib.ExitStack() as stack:
        known: KeptWays = {}
        with contextlib.suppress(OSError, ValueError):
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(target_lock(path, wait_seconds=_WAIT_SECONDS))
            if path.exists():
                known = _checked(read_json(path))
        before = dict(known)
        yield known
        if known != before:
            with contextlib.suppress(OSError), atomic_path(path) as temporary:
                temporary.write_text(json.dumps(known, indent=1))


def _checked(known: Any) -> KeptWays:
    """Only what has the form of an entry: another program, or a fault, may have written the file."""
    if not isinstance(known, dict):
        return {}
    return {
        key: {"precision": way["precision"], "channels_last": way["channels_last"]}
        for key, way in known.items()
        if isinstance(way, dict)
        and way.get("precision") in ("float32", "bfloat16")
        and isinstance(way.get("channels_last"), bool)
    }
