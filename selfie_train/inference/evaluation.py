"""How good a trained run is on a data set: error, loss, error of each class, confusion, calibration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray

from selfie_io.records.dataset import RecordDataset, open_dataset
from selfie_io.records.split import RecordSplit
from selfie_train.inference.inputs import check_shape
from selfie_train.inference.prediction import check_batch_size, probabilities
from selfie_train.inference.trained_run import TrainedRun

CALIBRATION_BINS = 15  # of equal width, as in Guo et al., ICML 2017


@dataclass(frozen=True, repr=False)
class Evaluation:
    """The figures of a run on the n labelled records of a split; errors in percent, k classes."""

    split: str  # "test" or "train"
    records: int  # n: those with a label
    left_out: int  # records whose label is -1
    error: float  # of the class with the largest probability
    loss: float  # mean cross entropy
    class_errors: NDArray[np.float64]  # (k,) of the records of each class; NaN where there is none
    confusion: NDArray[np.int64]  # (k, k) records by label (row) and predicted class (column)
    calibration_error: float  # 0..1: expected calibration error, 15 bins
    confidence: float  # 0..1: mean largest probability
    network_errors: list[float]  # of each network alone; their mean is what a run logs as its test error
    network_losses: list[float]  # of each network alone
    labels_known_clean: bool  # whether the labels are known to be right
    class_names: list[str]  # of the k classes
    indices: NDArray[np.int64]  # (n,) of the records in the split
    labels: NDArray[np.int64]  # (n,) what they were compared with
    probabilities: NDArray[np.float32]  # (n, k) predicted

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The class with the largest probability, int64 (n,)."""
        predicted: NDArray[np.int64] = self.probabilities.argmax(1)
        return predicted

    def to_json(self) -> dict[str, Any]:
        """The figures as JSON values, without those of single records; None where there is none."""
        return {
            "split": self.split,
            "records": self.records,
            "left_out": self.left_out,
            "error": self.error,
            "loss": self.loss,
            "calibration_error": self.calibration_error,
            "confidence": self.confidence,
            "labels_known_clean": self.labels_known_clean,
            "network_errors": self.network_errors,
            "network_losses": self.network_losses,
            "class_names": self.class_names,
            "class_errors": [None if np.isnan(error) else error for error in self.class_errors.tolist()],
            "confusion": self.confusion.tolist(),
        }

    def __repr__(self) -> str:
        return (
            f"Evaluation({self.split}: {self.records:,} records, error {self.error:.2f} %, loss "
            f"{self.loss:.4f}, calibration error {self.calibration_error:.4f})"
        )


def evaluate(
    run: TrainedRun,
    dataset: str | Path | RecordDataset,
    *,
    labels: str | ArrayLike | None = None,
    split: str = "test",
    batch_size: int | None = None,
) -> Evaluation:
    """Compare what a run predicts for a split of a data set with its labels.

    run: what `load_run` gives
    dataset: a folder of record files, or what `open_dataset` gives
    labels: None for the stored labels, the name of an overlay (of the training split), or integers (N,), one
        for each record of the split; -1 leaves a record out
    split: "test" or "train"
    batch_size: images that go through the networks at once; None: as the run was tested

    Raises ValueError if the data has another shape or other classes than the run learnt, no such split, or no
    labelled record; OSError if it cannot be read.
    """
    if not isinstance(dataset, RecordDataset):
        dataset = open_dataset(dataset, shape=None if _has_manifest(dataset) else run.shape)
    if split not in dataset.splits:
        raise ValueError(f"split must be one of {', '.join(dataset.splits)} of {dataset.path}, got {split!r}")
    records = dataset.splits[split]
    check_shape(records, run.shape)
    _check_classes(run, dataset)
    wanted = _labels(records, labels, run.num_classes)
    indices = np.flatnonzero(wanted >= 0)
    if not indices.size:
        raise ValueError(f"an evaluation needs a labelled record, and every label of {split} is -1")
    wanted = np.ascontiguousarray(wanted[indices])
    size = check_batch_size(run, batch_size)
    shares = np.empty((len(indices), run.num_classes), np.float32)
    sums = np.zeros((len(run.networks), 2))  # loss and errors of each network
    loss = 0.0
    for begin in range(0, len(indices), size):
        part = slice(begin, begin + size)
        logits = run.logits(records.images(indices[part]))
        target = torch.from_numpy(wanted[part])
        for number, output in enumerate(logits):
            sums[number, 0] += F.cross_entropy(output, target, reduction="sum").double().item()
            sums[number, 1] += (output.argmax(1) != target).sum().item()
        # The logarithm of the mean probability, also where it would underflow.
        mean = torch.stack([output.double().log_softmax(1) for output in logits]).logsumexp(0)
        loss += F.nll_loss(mean - np.log(len(logits)), target, reduction="sum").item()
        shares[part] = probabilities(logits).numpy()
    count = len(indices)
    predicted = shares.argmax(1)
    confusion = np.zeros((run.num_classes, run.num_classes), np.int64)
    np.add.at(confusion, (wanted, predicted), 1)
    of_class = confusion.sum(1)
    with np.errstate(invalid="ignore"):
        class_errors = 100 * (1 - np.diag(confusion) / of_class)
    network_losses = (sums[:, 0] / count).tolist()
    return Evaluation(
        split=split,
        records=count,
        left_out=len(records) - count,
        error=100 * float((predicted != wanted).sum()) / count,
        loss=network_losses[0] if len(run.networks) == 1 else loss / count,
        class_errors=class_errors,
        confusion=confusion,
        calibration_error=calibration_error(shares, wanted),
        confidence=float(shares.max(1).mean(dtype=np.float64)),
        network_errors=(100 * sums[:, 1] / count).tolist(),
        network_losses=network_losses,
        labels_known_clean=labels is None and dataset.labels_known_clean,
        class_names=run.class_names,
        indices=indices,
        labels=wanted,
        probabilities=shares,
    )


def calibration_error(
    shares: NDArray[np.float32], labels: NDArray[np.int64], bins: int = CALIBRATION_BINS
) -> float:
    """The expected calibration error, 0..1, of probabilities (n, k) against labels (n,).

    The mean over bins of equal width, by the records in them, of |share of right predictions - mean largest
    probability| (Guo, Pleiss, Sun, Weinberger: On calibration of modern neural networks, ICML 2017).
    """
    confidence = shares.max(1).astype(np.float64)
    correct = shares.argmax(1) == labels
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)  # bins are (low, high]
    gap = np.bincount(place, correct - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(labels))


def _has_manifest(folder: str | Path) -> bool:
    from selfie_io.records.manifest import MANIFEST_NAME

    return (Path(folder) / MANIFEST_NAME).exists()


def _check_classes(run: TrainedRun, dataset: RecordDataset) -> None:
    """Raise ValueError unless a label means the same to the run and in the data set."""
    if dataset.manifest is None:  # its classes have no names, and not each of them need be there
        if dataset.num_classes <= run.num_classes:
            return
    elif dataset.class_names == run.class_names:
        return
    theirs = _some(dataset.class_names)
    raise ValueError(
        f"the data must have the classes that the run learnt, {run.num_classes} ({_some(run.class_names)}), "
        f"but {dataset.path} has {dataset.num_classes} ({theirs})"
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")


def _labels(records: RecordSplit, labels: str | ArrayLike | None, num_classes: int) -> NDArray[np.int64]:
    if labels is None:
        return records.labels
    if isinstance(labels, str):
        if records.name != "train":
            raise ValueError(
                f"labels {labels!r} must be an overlay of the training split, got split {records.name!r}: "
                'evaluate with split="train" (--split train)'
            )
        return records.labels_from(labels)
    found = np.asarray(labels)
    if found.shape != (len(records),) or not np.issubdtype(found.dtype, np.integer):
        raise ValueError(
            f"labels must be integers ({len(records)},), one for each record, got {found.dtype} {found.shape}"
        )
    if found.min() < -1 or found.max() >= num_classes:
        raise ValueError(f"labels must be in -1..{num_classes - 1}, got {found.min()}..{found.max()}")
    return found.astype(np.int64)
