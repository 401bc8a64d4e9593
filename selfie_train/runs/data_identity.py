"""Which data a run learns from, in config.json: digests for resume, audit and compare; shape and classes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selfie_io.records.dataset import RecordDataset, open_dataset
from selfie_io.records.plain_files import read_json
from selfie_train.config import DATA_KEY, MOST_CONFIG_BYTES, TrainConfig

if TYPE_CHECKING:
    from selfie_train.runs.training_labels import TrainingLabels

_NAMES = {
    "train_files": "the training record files",
    "train_records": "the training records",
    "train_content": "the content of the training records",
    "train_labels": "the stored training labels",
    "test_files": "the test record files",
    "test_records": "the test records",
    "test_content": "the content of the test records",
    "given_labels": "the labels to learn",
}


def open_run_dataset(config: TrainConfig) -> RecordDataset:
    """The data set that `config` names; raises OSError that says what to do if it is not there."""
    if not Path(config.dataset).is_dir():
        raise FileNotFoundError(
            f"{config.dataset}: no such folder of record files. `selfie-convert pack` makes one; if it "
            "moved, --dataset FOLDER tells run, resume and audit where it lies"
        )
    return open_dataset(config.dataset, shape=config.shape)


def data_identity(dataset: RecordDataset, labels: TrainingLabels) -> dict[str, str | None]:
    """Digests (SHA-256, hex) of a data set's records and labels; None where there is nothing to digest."""
    nothing: dict[str, str | None] = {"files": None, "records": None, "content": None}
    test = dataset.splits["test"].identity if "test" in dataset.splits else nothing
    return {
        "train_files": dataset.train.identity["files"],
        "train_records": dataset.train.identity["records"],
        "train_content": dataset.train.identity["content"],
        "train_labels": _digest(dataset.train.record_ids, dataset.train.labels),
        "test_files": test["files"],
        "test_records": test["records"],
        "test_content": test["content"],
        "given_labels": _digest(labels.given),
    }


def data_description(dataset: RecordDataset) -> dict[str, Any]:
    """What a trained network has to be fed with and what it tells: image shape and class names."""
    return {"shape": list(dataset.layout.shape), "class_names": list(dataset.class_names)}


def differences(stored: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """What differs between two identities, in words.

    The digests of files count only where both data sets have a manifest: `adopt` changes no record.
    """
    different = [key for key in _NAMES if key in stored and stored[key] != found[key]]
    for split in ("train", "test"):
        files, records = f"{split}_files", f"{split}_records"
        if files in different and (records in different or None in (stored[files], found[files])):
            different.remove(files)
        content = f"{split}_content"  # tells more than the others, and only if all of it was read
        if content in different and (
            None in (stored[content], found[content]) or {files, records} & {*different}
        ):
            different.remove(content)
    return [_NAMES[key] for key in different]


def read_identity(folder: Path) -> dict[str, Any] | None:
    """The identity in RUN/config.json; None for a run of a version that kept none."""
    values = read_json(folder / "config.json", MOST_CONFIG_BYTES)
    found = values.get(DATA_KEY) if isinstance(values, dict) else None
    return found if isinstance(found, dict) else None


def check_identity(folder: Path, dataset: RecordDataset, labels: TrainingLabels, noise: str) -> None:
    """Raise ValueError, naming what differs, if the run in `folder` learns from other data."""
    stored = read_identity(folder)
    if stored is None:
        return
    different = differences(stored, data_identity(dataset, labels))
    if not different:
        return
    if noise != "none" and "the labels to learn" in different:
        different[different.index("the labels to learn")] = f"the labels to learn (noise {noise})"
    raise ValueError(
        f"a run needs the data that it learnt from, but {dataset.path} is not what {folder} learnt from: "
        f"{', '.join(different)} differ. Restore the data set or its overlay, say where it lies now "
        "(--dataset FOLDER), or start a new run"
    )


def _digest(*arrays: Any) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array, "<i8").tobytes())
    return digest.hexdigest()
