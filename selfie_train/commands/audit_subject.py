"""What `audit` is given: a run, a data set, or a source of images, which is packed first."""

from __future__ import annotations

import contextlib
import io
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfie_io.records.dataset import RecordDataset, open_dataset
from selfie_io.records.manifest import MANIFEST_NAME
from selfie_io.records.plain_files import read_text
from selfie_train.config import TrainConfig, parse_noise

PACKED = "dataset"  # the folder below OUT
LARGEST_SIDE = 160  # pixels: the networks see no more, so larger images are packed in this size


@dataclass(frozen=True)
class Subject:
    """The data set, the labels under audit (int64 (N,)) and, where they are known, the clean ones."""

    dataset: RecordDataset
    given: NDArray[np.int64]
    clean: NDArray[np.int64] | None
    name: str
    notes: list[str]
    run: tuple[TrainConfig, Path] | None = None  # the run that trained on these labels, and its folder


def open_subject(what: str, out: Path, noise: str | None, moved: Path | None = None) -> Subject:
    """Open WHAT; `noise` is "overlay:NAME" to audit an overlay's labels instead of the stored ones;
    `moved` is where a run's data set lies now.

    Raises ValueError or OSError for what is none of the three, with the way out.
    """
    path = Path(what)
    if moved is not None and not (path / "config.json").is_file():
        raise ValueError(f"--dataset says where a run's data set lies now, but {what} is no run")
    if (path / "config.json").is_file():
        return _of_run(path, noise, moved)
    if (path / MANIFEST_NAME).is_file() or any(path.glob("data_batch_*.bin")):
        return _of_dataset(open_dataset(path), noise, path.resolve().name, [])
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(
            f"under torchrun an audit needs a packed data set or a run, and {what} is neither: "
            f"selfie-convert pack {what} DATASET, then audit DATASET"
        )
    if not path.exists() and "://" not in what and what != "digits":
        raise FileNotFoundError(f"{what}: no such run, data set or source of images")
    packed, notes = _packed(what, out / PACKED)
    return _of_dataset(packed, noise, path.resolve().name, notes)


def _of_run(path: Path, noise: str | None, moved: Path | None) -> Subject:
    from selfie_train.runs.data_identity import check_identity, open_run_dataset
    from selfie_train.runs.training_labels import training_labels

    config = TrainConfig.read(path)
    if moved is not None:
        config = replace(config, dataset=str(moved.absolute()))
    dataset = open_run_dataset(config)
    notes: list[str] = []
    labels = training_labels(dataset, config, say=notes.append)
    check_identity(path, dataset, labels, config.noise)
    if noise is not None:
        return _of_dataset(dataset, noise, path.resolve().name, [])
    audited = _audited(dataset, labels.given, labels.clean, path.resolve().name, notes)
    return replace(audited, run=(config, path))


def _of_dataset(dataset: RecordDataset, noise: str | None, name: str, notes: list[str]) -> Subject:
    if noise is None:
        return _audited(dataset, np.asarray(dataset.train.labels), None, name, notes)
    kind, overlay = parse_noise(noise)
    if kind != "overlay":
        raise ValueError(f"--noise must be overlay:NAME for an audit, got {noise!r}")
    given = dataset.train.labels_from(str(overlay))
    clean = np.asarray(dataset.train.labels) if dataset.labels_known_clean else None
    return _audited(dataset, given, clean, f"{name}-{overlay}", notes)


def _audited(
    dataset: RecordDataset,
    given: NDArray[np.int64],
    clean: NDArray[np.int64] | None,
    name: str,
    notes: list[str],
) -> Subject:
    """A record that was left out has no given label: its stored one is looked at."""
    left_out = given < 0
    if left_out.any():
        notes = [*notes, f"{int(left_out.sum())} records without a label are audited with their stored one"]
        given = np.where(left_out, dataset.train.labels, given)
    return Subject(dataset, np.ascontiguousarray(given, np.int64), clean, name, notes)


def _packed(what: str, folder: Path) -> tuple[RecordDataset, list[str]]:
    """Pack a source into `folder`, or take what is there; without a test split all of it is for training."""
    source_digest = folder.parent / f"{PACKED}.source"
    listing = _listing(what)
    if (folder / MANIFEST_NAME).is_file():
        if not source_digest.is_file() or read_text(source_digest) != listing:
            raise ValueError(
                f"{folder}: was packed from something else, or {what} has changed since; remove it, or "
                "choose another --out"
            )
        return open_dataset(folder), [f"{what} is packed already: {folder}"]
    folder.parent.mkdir(parents=True, exist_ok=True)
    errors = []
    for size in (None, f"{LARGEST_SIDE}x{LARGEST_SIDE}"):
        for test_fraction in (None, 0.0):
            try:
                _pack(what, folder, size, test_fraction)
            except ValueError as error:
                errors.append(error)
                continue
            dataset = open_dataset(folder)
            if size is None and max(dataset.layout.shape[1:]) > LARGEST_SIDE:
                continue
            source_digest.write_text(listing)
            scaled = f", images scaled to {size}" if size else ""
            return dataset, [f"{what} is packed into {folder}{scaled}"]
    raise ValueError(f"{what}: is neither a run nor a data set, and cannot be packed: {errors[0]}")


def _pack(what: str, folder: Path, size: str | None, test_fraction: float | None) -> None:
    from selfie_io.convert.commands.pack import Pack

    with contextlib.redirect_stdout(io.StringIO()):
        Pack(what, str(folder), size=size, test_fraction=test_fraction, force=folder.exists()).run()


def _listing(what: str) -> str:
    """A digest of the names, sizes and times below `what`: whether it is still what was packed."""
    import hashlib

    path = Path(what)
    digest = hashlib.sha256(str(path.resolve()).encode() if path.exists() else what.encode())
    for file in sorted(path.rglob("*")) if path.is_dir() else [path] if path.is_file() else []:
        if file.is_file():
            status = file.stat()
            digest.update(
                f"{file}\0{status.st_size}\0{status.st_mtime_ns}\n".encode("utf-8", "surrogateescape")
            )
    return digest.hexdigest()
