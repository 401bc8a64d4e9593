"""Checkpoints: arrays in a safetensors file, the rest in a JSON file beside it, checked by digest, two kept.

The JSON file is written last and names the digest of the other: without it, or with
another digest, there is no checkpoint. Reading either file cannot run code.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from selfie_io.records.atomic import atomic_path
from selfie_io.records.full_disk import FullDisk
from selfie_io.records.plain_files import check_plain, open_plain, read_json

KEPT = 2
FORMAT_VERSION = 1
_OWN_NAME = re.compile(r"step-[0-9]{9,}\.(json|safetensors)")


class Checkpoint(NamedTuple):
    """A checkpoint in memory."""

    path: Path  # of the JSON file
    arrays: dict[str, NDArray[Any]]
    values: dict[str, Any]  # JSON values


def write_checkpoint(
    folder: Path, step: int, arrays: dict[str, NDArray[Any]], values: dict[str, Any]
) -> Path:
    """Write the checkpoint of `step` and delete all but it and the one before; returns its JSON file.

    One of a later step is damaged or not of this run: the run went on from an earlier one.
    Raises OSError, with the file's path, if it cannot be written; the older ones are whole then.
    """
    path = folder / f"{_stem(step)}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        digest = write_arrays(path.with_suffix(".safetensors"), arrays)
        content = {"format_version": FORMAT_VERSION, "safetensors_sha256": digest, "values": values}
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps({**content, "sha256": _json_digest(content)}, indent=1))
    except FullDisk:
        raise
    except OSError as error:  # of a temporary file beside it
        raise OSError(error.errno, error.strerror, str(path)) from error
    own = _json_files(folder)
    kept = {file.stem for file in [file for file in own if file.name <= path.name][-KEPT:]}
    for old in own:
        if old.stem not in kept:
            old.unlink()
    for orphan in [*folder.glob("step-*.safetensors"), *folder.glob(".step-*")]:
        known = _OWN_NAME.fullmatch(orphan.name) or orphan.name.startswith(".")
        if (
            known and orphan.stem not in kept
        ):  # arrays without their JSON, or the temporary file of a killed writer
            orphan.unlink()
    return path


def write_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> str:
    """Write arrays as a safetensors file, whole or not at all; returns its SHA-256 in hex.

    Raises OSError, with the path, if it cannot be written.
    """
    needed = sum(array.nbytes for array in arrays.values())
    with atomic_path(path, needed_bytes=needed) as temporary:
        try:
            save_file({name: np.array(array, order="C") for name, array in arrays.items()}, temporary)
        except SafetensorError as error:  # it tells the system's error in words alone
            number = re.search(r"os error ([0-9]+)", str(error))
            if number is None:
                raise
            code = int(number[1])
            raise OSError(code, os.strerror(code), str(path)) from error
        return _file_digest(temporary)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read a safetensors file. Raises ValueError if it is none, OSError if it cannot be read."""
    check_plain(path)
    try:
        return load_file(path)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def forget_checkpoints(folder: Path) -> None:
    """Remove all checkpoints of a run, and the weights that early stopping kept; other files stay."""
    for path in [*folder.glob("step-*.json"), *folder.glob("*-*.safetensors")]:
        if _OWN_NAME.fullmatch(path.name) or re.fullmatch(r"selected-[0-9]{5,}\.safetensors", path.name):
            path.unlink()


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the checkpoint of a JSON file.

    Raises ValueError if a digest or the version does not fit, OSError if a file cannot be read.
    """
    try:
        content = read_json(path)
        if not isinstance(content, dict):
            raise ValueError(f"it must hold an object, got {type(content).__name__}")
        stored = content.pop("sha256")
        version = content["format_version"]
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path} is not a checkpoint: {error}") from None
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{path} must have checkpoint format {FORMAT_VERSION}, got format {version}: "
            "use the version of selfie that wrote it"
        )
    if stored != _json_digest(content):
        raise ValueError(f"{path} is damaged: its content does not match its digest")
    arrays_path = path.with_suffix(".safetensors")
    if _file_digest(arrays_path) != content.get("safetensors_sha256"):
        raise ValueError(f"{arrays_path} is damaged: its digest is not the one in {path.name}")
    values = content.get("values")
    if not isinstance(values, dict):
        raise ValueError(f"{path} is damaged: it must hold an object of values")
    position = values.get("position")
    if isinstance(position, dict) and path.stem != _stem(position.get("step")):
        raise ValueError(f"{path} is the checkpoint of step {position.get('step')!r}: a file was renamed")
    return Checkpoint(path, read_arrays(arrays_path), values)


def latest_checkpoint(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest whole checkpoint of `folder`, None if there is none, and what is wrong with newer ones."""
    defects: list[str] = []
    for path in reversed(_json_files(folder)):
        try:
            return read_checkpoint(path), defects
        except (OSError, ValueError) as error:
            defects.append(str(error))
    return None, defects


def flatten_state(state: dict[str, Any], prefix: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Split nested dicts into arrays and JSON values, both keyed "prefix.key.key"."""
    arrays: dict[str, NDArray[Any]] = {}
    values: dict[str, Any] = {}
    for key, value in state.items():
        name = f"{prefix}.{key}"
        if isinstance(value, dict):
            inner_arrays, inner_values = flatten_state(value, name)
            arrays |= inner_arrays
            values |= inner_values
        elif isinstance(value, np.ndarray):
            arrays[name] = value
        else:
            values[name] = value
    return arrays, values


def unflatten_state(entries: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The nested dicts that `flatten_state` split, from all entries whose key starts with "prefix."."""
    state: dict[str, Any] = {}
    for name, value in entries.items():
        if name.startswith(prefix + "."):
            *parents, leaf = name[len(prefix) + 1 :].split(".")
            place = state
            for parent in parents:
                place = place.setdefault(parent, {})
            place[leaf] = value
    return state


def _stem(step: object) -> str:
    return f"step-{step:09d}" if isinstance(step, int) else ""


def _json_files(folder: Path) -> list[Path]:
    """The JSON files of a folder's checkpoints, by step."""
    return sorted(path for path in folder.glob("step-*.json") if _OWN_NAME.fullmatch(path.name))


def _file_digest(path: Path) -> str:
    with open_plain(path) as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _json_digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
