"""Opens a folder of record files: shape, classes and splits, without reading a record."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from selfie_io.records.files import guess_shape, record_files
from selfie_io.records.layout import MAX_CLASSES, RecordLayout
from selfie_io.records.manifest import Manifest, SplitEntry, read_manifest
from selfie_io.records.split import RecordSplit, size_text


class RecordDataset:
    """A folder of record files: its layout, classes and splits.

    Without a manifest, classes and statistics are read from the training split on first use. `open_dataset`
    makes data sets.

    path: the folder
    layout: the shape of a record
    splits: "train" and perhaps "test"
    manifest: dataset.json, None where there is none
    """

    def __init__(
        self, path: Path, layout: RecordLayout, splits: dict[str, RecordSplit], manifest: Manifest | None
    ) -> None:
        self.path = path
        self.layout = layout
        self.splits = splits
        self.manifest = manifest

    @property
    def name(self) -> str:
        """The manifest's name of the data set, or the folder's."""
        return self.manifest.name if self.manifest else self.path.resolve().name

    @property
    def train(self) -> RecordSplit:
        """The training split."""
        return self.splits["train"]

    @property
    def test(self) -> RecordSplit:
        """The test split. Raises ValueError if the data set has none."""
        if "test" not in self.splits:
            raise ValueError(f"{self.path}: has no test split (test_batch.bin)")
        return self.splits["test"]

    @cached_property
    def num_classes(self) -> int:
        """The number of classes; without a manifest the largest training label + 1."""
        return self.train.num_classes or int(self.train.labels.max()) + 1

    @cached_property
    def class_names(self) -> list[str]:
        """The name of each class; without a manifest "0", "1", ..."""
        return self.manifest.class_names if self.manifest else [str(i) for i in range(self.num_classes)]

    @property
    def labels_known_clean(self) -> bool:
        """Whether the stored labels are known to be right; if not, no figure that needs the truth exists."""
        return self.manifest is not None and self.manifest.labels == "clean"

    @property
    def channel_mean(self) -> list[float]:
        """The mean of each channel over the training split, for pixels in 0..1."""
        return self._channel_statistics[0]

    @property
    def channel_std(self) -> list[float]:
        """The standard deviation of each channel over the training split, for pixels in 0..1."""
        return self._channel_statistics[1]

    @cached_property
    def _channel_statistics(self) -> tuple[list[float], list[float]]:
        if self.manifest:
            return self.manifest.channel_mean, self.manifest.channel_std
        sums = np.zeros(self.layout.channels, np.uint64)
        squares = np.zeros(self.layout.channels, np.uint64)
        for begin in range(0, len(self.train), 1024):
            pixels = self.train.images(np.arange(begin, min(begin + 1024, len(self.train)))).astype(np.uint64)
            sums += pixels.sum(axis=(0, 2, 3))
            squares += (pixels * pixels).sum(axis=(0, 2, 3))
        count = len(self.train) * self.layout.height * self.layout.width
        mean = sums / count
        std = np.sqrt(np.maximum(squares / count - mean**2, 0))
        return (mean / 255).tolist(), (std / 255).tolist()

    def __repr__(self) -> str:
        splits = " + ".join(f"{len(split):,} {name}" for name, split in self.splits.items())
        classes = self.manifest.num_classes if self.manifest else self.train.num_classes
        size = size_text(sum(map(len, self.splits.values())) * self.layout.record_bytes)
        return (
            f"RecordDataset({str(self.path)!r}: {splits} records of uint8 {self.layout.shape}, "
            f"{'unknown' if classes is None else classes} classes, {size})"
        )


def open_dataset(
    path: str | Path, *, shape: tuple[int, int, int] | None = None, num_classes: int | None = None
) -> RecordDataset:
    """Open a folder of record files; no record is read, so the time does not grow with their
    number.

    path: the folder, as `selfie-convert pack` or the authors of SELFIE wrote it
    shape: (channels, height, width) of the images, for a folder without manifest; None guesses among the
        shapes known from published data sets
    num_classes: for a folder without manifest: a larger label is refused when it is read

    Raises ValueError if the folder contradicts itself, its manifest or what was given, OSError if
    it cannot be read.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of record files; `selfie-convert pack` makes one")
    if num_classes is not None:
        if not _is_integer(num_classes) or not 1 <= num_classes <= MAX_CLASSES:
            raise ValueError(f"num_classes must be in 1..{MAX_CLASSES}, got {num_classes!r}")
        num_classes = int(num_classes)
    if shape is not None:
        shape = _checked_shape(shape)
    manifest = read_manifest(folder)
    if manifest is None:
        layout = RecordLayout(*(guess_shape(folder) if shape is None else shape))
        files = record_files(folder)
    else:
        layout = manifest.layout
        _check_agrees("shape", shape, layout.shape, folder)
        _check_agrees("num_classes", num_classes, manifest.num_classes, folder)
        num_classes = manifest.num_classes
        files = {name: _listed_files(folder, entry) for name, entry in manifest.splits.items()}
    listed = list(manifest.splits.items()) if manifest else []
    named: dict[str, list[tuple[int, bool]]] = {
        name: [(file.records, file.names is not None) for file in entry.files] for name, entry in listed
    }
    digests: dict[str, list[str]] = {name: [file.sha256 for file in entry.files] for name, entry in listed}
    splits = {
        name: RecordSplit(folder, name, paths, layout, num_classes, named.get(name), digests.get(name))
        for name, paths in files.items()
    }
    return RecordDataset(folder, layout, splits, manifest)


def _is_integer(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _checked_shape(shape: object) -> tuple[int, int, int]:
    if isinstance(shape, str) or not isinstance(shape, Sequence | np.ndarray) or len(shape) != 3:
        raise ValueError(f"shape must be (channels, height, width), got {shape!r}")
    if not all(map(_is_integer, shape)):
        raise ValueError(f"shape must be three integers, got {shape!r}")
    return RecordLayout(*map(int, shape)).shape


def _check_agrees(what: str, given: object, stored: object, folder: Path) -> None:
    if given is not None and given != stored:
        raise ValueError(f"{folder}: the manifest's {what} must be {stored}, got {given}")


def _listed_files(folder: Path, entry: SplitEntry) -> list[Path]:
    for file in entry.files:
        path = folder / file.name
        bytes_there = path.stat().st_size
        if bytes_there != file.bytes:
            raise ValueError(
                f"{path}: the manifest says {file.bytes} bytes ({file.records} records), got {bytes_there}"
            )
    return [folder / file.name for file in entry.files]
