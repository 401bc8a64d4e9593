"""Writes a trained run for other programs: safetensors or ONNX, and a JSON file that says how to feed it."""

from __future__ import annotations

import hashlib
import json
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file

from selfie_io.records.atomic import atomic_folder
from selfie_train.inference.trained_run import TrainedRun

Format = Literal["safetensors", "onnx"]
DESCRIPTION = "network.json"
FORMAT_VERSION = 1
NORMALIZATION = {
    "kind": "per-image",
    "formula": "(x - mean) / max(std, 1 / sqrt(C * H * W)); x the bytes 0..255 of an image, mean and std "
    "(divided by n, not n - 1) over all its C * H * W values, in float64; then float32",
}


def export_run(run: TrainedRun, out: str | Path, *, to: Format = "safetensors") -> Path:
    """Write the networks of a run and network.json, which says how to feed them, to the new folder `out`.

    to: "safetensors": the weights, network.safetensors, or network-1 and network-2 of a run with two
        networks; "onnx": network.onnx, whose input is bytes and whose output is class probabilities; the
        normalisation and the mean of two networks are in it

    Returns `out`. Raises FileExistsError if it is there already, ValueError if torch cannot export the
    network, ModuleNotFoundError where ONNX is not installed (extra [onnx]), OSError if it cannot be written.
    """
    out = Path(out)
    if to not in ("safetensors", "onnx"):
        raise ValueError(f'to must be "safetensors" or "onnx", got {to!r}')
    if os.path.lexists(out):
        raise FileExistsError(f"OUT must not exist, got {out}: choose another folder")
    with atomic_folder(out) as folder:
        if to == "onnx":
            from selfie_train.inference.onnx_graph import write_onnx

            files = ["network.onnx"]
            write_onnx(run, folder / files[0])
        else:
            many = len(run.networks) > 1
            files = []
            for number, network in enumerate(run.networks, 1):
                files.append(f"network-{number}.safetensors" if many else "network.safetensors")
                state = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
                save_file(state, folder / files[-1], metadata={"model": run.config.model})
        content = _description(run, to, {name: _digest(folder / name) for name in files})
        (folder / DESCRIPTION).write_text(json.dumps(content, indent=1) + "\n")
    return out


def _description(run: TrainedRun, to: Format, digests: dict[str, str]) -> dict[str, Any]:
    """How to feed the networks, what comes out, and where they come from."""
    channels, height, width = run.shape
    colours = {1: "grey", 3: "red, green, blue"}.get(channels, f"{channels} channels")
    told: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "files": digests,
        "model": run.config.model,
        "input": {
            "name": "images",
            "shape": ["n", channels, height, width],
            "dtype": "uint8" if to == "onnx" else "float32",
            "order": f"channels ({colours}), rows from the top, columns from the left",
            "bytes": "0..255, as the image file has them, scaled to this size (bilinear with antialiasing)",
            "normalization": {**NORMALIZATION, "included": to == "onnx"},
        },
        "output": {
            "name": "probabilities" if to == "onnx" else "logits",
            "shape": ["n", run.num_classes],
            "dtype": "float32",
            "networks": len(run.networks),
            "meaning": "the mean of the networks' softmax"
            if to == "onnx"
            else "softmax gives probabilities; of several networks take the mean of theirs",
        },
        "class_names": run.class_names,
        "run": {
            "name": run.folder.resolve().name,
            "method": run.config.method,
            "noise": run.config.noise,
            "seed": run.config.seed,
            "epoch": run.epoch,
            "finished": run.finished,
        },
        "versions": {name: _version(name) for name in _PACKAGES[to]},
    }
    if to == "safetensors":
        told["build"] = (
            f"selfie_train.models.builder.model_builder({run.config.model!r})({run.shape}, {run.num_classes})"
        )
    return told


_PACKAGES = {
    "safetensors": ("selfie-io", "torch", "safetensors"),
    "onnx": ("selfie-io", "torch", "onnx", "onnxscript"),
}


def _version(name: str) -> str | None:
    if name == "torch":
        return str(torch.__version__)
    if name == "selfie-io":
        from selfie_io import __version__

        return __version__
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return f"sha256:{digest.hexdigest()}"
