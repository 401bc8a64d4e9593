"""Why a run ended before its time: RUN/failure.json, until the run is tried again."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfie_io.records.atomic import atomic_path
from selfie_io.records.plain_files import read_json

_NAME = "failure.json"


@dataclass(frozen=True)
class Failure:
    """Why and when (seconds since 1970) a run ended, and its settings as JSON values."""

    reason: str
    time: float
    config: dict[str, Any] | None


def write_failure(folder: Path, reason: str, config: dict[str, Any], details: str = "") -> None:
    """Keep the reason in the run's folder, as far as that can be written; `details` are for developers."""
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / _NAME) as temporary:
            content = {
                "reason": reason,
                "time": time.time(),
                "config": config,
                "details": details.splitlines(),
            }
            temporary.write_text(json.dumps(content, indent=1))


def clear_failure(folder: Path) -> None:
    """Forget the failure: the run is tried again."""
    with contextlib.suppress(OSError):
        (folder / _NAME).unlink(missing_ok=True)


def read_failure(folder: Path) -> Failure | None:
    """The failure of the run in `folder`; None where there is none."""
    try:
        content = read_json(folder / _NAME)
        return Failure(str(content["reason"]), float(content["time"]), content.get("config"))
    except OSError:
        return None
    except (ValueError, KeyError, TypeError):
        return Failure(f"unknown: {folder / _NAME} is damaged", 0.0, None)
