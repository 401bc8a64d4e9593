"""Writes results: JSON with the machine, and a bar chart of the ratios."""

import importlib.metadata
import json
import os
import platform
import re
import time
from pathlib import Path
from typing import Any

from bar_chart import Panel, draw

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """The machine: processor, cores of this process, load and versions."""
    model = platform.processor()
    if (info := Path("/proc/cpuinfo")).exists() and (
        found := re.search(r"model name\s*: (.*)", info.read_text())
    ):
        model = found[1]
    versions = {"python": platform.python_version()}
    for package in ("selfie-io", "numpy", "numba", "torch"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": model,
        "cores": cores,
        "system": platform.platform(),
        "load": os.getloadavg(),
        "versions": versions,
        "date": time.strftime("%Y-%m-%d"),
    }


def read(name: str) -> dict[str, Any]:
    """The content of results/<name>.json; empty if there is none."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def write(name: str, content: dict[str, Any], panels: list[Panel]) -> Path:
    """Write results/<name>.json and results/<name>.svg, each in one step."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n")
    partial.replace(path)
    try:
        draw(partial, panels)
    except ImportError as error:
        print(f"no chart: {error}")
    else:
        partial.replace(path.with_suffix(".svg"))
    return path
