"""Streams records into files and computes their digests and channel statistics while writing."""

import contextlib
import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from selfie_io.records.files import file_name, record_dtype
from selfie_io.records.layout import MAX_CLASSES, RecordLayout
from selfie_io.records.manifest import (
    BLOCK_BYTES,
    FileEntry,
    Manifest,
    NamesEntry,
    SplitEntry,
    labels_by_provenance,
    write_manifest,
)
from selfie_io.records.names import NameFileWriter, names_path

MAX_RECORDS = 1 << 32  # a record id has 32 bits


class FileDigest:
    """The SHA-256 of a stream of bytes and of each of its 1 MiB blocks."""

    def __init__(self) -> None:
        self._whole = hashlib.sha256()
        self._block = hashlib.sha256()
        self._blocks: list[str] = []
        self.bytes = 0

    def update(self, content: memoryview) -> None:
        """Take the next bytes."""
        self._whole.update(content)
        while content:
            part = content[: BLOCK_BYTES - self.bytes % BLOCK_BYTES]
            self._block.update(part)
            self.bytes += len(part)
            content = content[len(part) :]
            if self.bytes % BLOCK_BYTES == 0:
                self._blocks.append(self._block.hexdigest())
                self._block = hashlib.sha256()

    def entry(self, name: str, records: int) -> FileEntry:
        """What the manifest says about a file of these bytes."""
        blocks = list(self._blocks)
        if self.bytes % BLOCK_BYTES:
            blocks.append(self._block.hexdigest())
        return FileEntry(name, records, self.bytes, self._whole.hexdigest(), blocks)


@dataclass
class ChannelSums:
    """Exact sums of pixels and of their squares per channel: parts add up to the same whole in any
    order.
    """

    pixels: int
    sums: list[int]
    squares: list[int]

    @classmethod
    def zero(cls, channels: int) -> "ChannelSums":
        """The sums of no image."""
        return cls(0, [0] * channels, [0] * channels)

    def add_images(self, images: npt.NDArray[np.uint8]) -> None:
        """Take uint8 (n, C, H, W) images."""
        self.pixels += images.shape[0] * images.shape[2] * images.shape[3]
        for channel in range(images.shape[1]):
            plane = images[:, channel].astype(np.uint16)
            self.sums[channel] += int(plane.sum(dtype=np.uint64))
            self.squares[channel] += int(np.square(plane).sum(dtype=np.uint64))  # 255**2 fits 16 bits

    def __add__(self, other: "ChannelSums") -> "ChannelSums":
        return ChannelSums(
            self.pixels + other.pixels,
            [a + b for a, b in zip(self.sums, other.sums, strict=True)],
            [a + b for a, b in zip(self.squares, other.squares, strict=True)],
        )

    def mean_std(self) -> tuple[list[float], list[float]]:
        """Mean and (population) standard deviation per channel, with bytes 0..255 taken as 0..1."""
        n = self.pixels
        mean = [total / (255 * n) for total in self.sums]
        std = [math.sqrt(n * q - s * s) / (255 * n) for s, q in zip(self.sums, self.squares, strict=True)]
        return mean, std


class RecordFileWriter:
    """Writes one new record file; the caller makes it atomic (`path` is best inside an
    `atomic_folder`).
    """

    def __init__(self, path: Path, layout: RecordLayout, num_classes: int) -> None:
        self._path = path
        self._layout = layout
        self._num_classes = num_classes
        self._file = path.open("xb")
        self._digest = FileDigest()
        self._names: NameFileWriter | None = None
        self.records = 0
        self.channel_sums = ChannelSums.zero(layout.channels)

    def append(
        self,
        images: npt.NDArray[np.uint8],
        labels: npt.ArrayLike,
        record_ids: npt.ArrayLike,
        names: Sequence[str | None] | None = None,
    ) -> None:
        """Write uint8 (n, C, H, W) images with labels and record ids (n,).

        Raises ValueError for a wrong shape or dtype, a label outside 0..num_classes-1, an id beyond
        32 bits.
        """
        check_images(images, self._layout)
        records = np.empty(len(images), record_dtype(self._layout))
        for field, values, limit in (
            ("record_id", np.asarray(record_ids), MAX_RECORDS),
            ("label", np.asarray(labels), self._num_classes),
        ):
            if values.shape != (len(images),) or values.dtype.kind not in "iu":
                raise ValueError(
                    f"{field}: must be {len(images)} integers, got {values.dtype} {values.shape}"
                )
            bad = np.flatnonzero((values < 0) | (values >= limit))
            if bad.size:
                raise ValueError(
                    f"{self._path.name}: record {self.records + bad[0]}: {field} must be in "
                    f"0..{limit - 1}, got {values[bad[0]]}"
                )
            records[field] = values
        records["pixels"] = images
        content = records.view(np.uint8).data
        with self._named_errors():
            self._file.write(content)
        self._digest.update(content)
        self.channel_sums.add_images(images)
        self._append_names(names, len(images))
        self.records += len(images)

    def close(self) -> FileEntry:
        """Close the file; returns its manifest entry. Raises OSError if the last bytes cannot be
        written.
        """
        with self._named_errors():
            self._file.close()
        entry = self._digest.entry(self._path.name, self.records)
        return entry if self._names is None else replace(entry, names=NamesEntry(*self._names.close()))

    def abandon(self) -> None:
        """Close the files as they are, after an error."""
        with contextlib.suppress(OSError):
            self._file.close()
        if self._names is not None:
            self._names.abandon()

    def _append_names(self, names: Sequence[str | None] | None, count: int) -> None:
        """Keep the names of `count` records; there is no file of names before the first name."""
        if names is None and self._names is None:
            return
        if names is not None and len(names) != count:
            raise ValueError(f"each image must have one name, got {count} images, {len(names)} names")
        if self._names is None:
            self._names = NameFileWriter(names_path(self._path))
            for _ in range(self.records):
                self._names.append([None])
        self._names.append([None] * count if names is None else names)

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        """A full disk says so without a name: tell which file it was."""
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error


class DatasetWriter:
    """Writes the record files of a data set and, last, its manifest, into an empty folder.

    Record ids count up from 0 in each split. Use as a context manager, so that an exception closes
    the files.
    """

    def __init__(
        self, folder: Path, layout: RecordLayout, num_classes: int, *, records_per_file: int = 10_000
    ) -> None:
        if records_per_file < 1:
            raise ValueError(f"records_per_file must be positive, got {records_per_file}")
        if not 1 <= num_classes <= MAX_CLASSES:
            raise ValueError(f"num_classes must be in 1..{MAX_CLASSES}, got {num_classes}")
        self._folder = folder
        self._layout = layout
        self._num_classes = num_classes
        self._capacity = {"train": records_per_file, "test": MAX_RECORDS}
        self._open: dict[str, RecordFileWriter] = {}
        self._entries: dict[str, list[FileEntry]] = {"train": [], "test": []}
        self._records = {"train": 0, "test": 0}
        self._channel_sums = ChannelSums.zero(layout.channels)

    def append(
        self,
        split: str,
        images: npt.NDArray[np.uint8],
        labels: npt.ArrayLike,
        names: Sequence[str | None] | None = None,
    ) -> None:
        """Write uint8 (n, C, H, W) images with labels (n,), and source names if known, to "train"
        or "test".

        Raises ValueError for a wrong shape or dtype, or a label outside 0..num_classes-1.
        """
        check_images(images, self._layout)
        labels = np.asarray(labels)
        if len(labels) != len(images):
            raise ValueError(
                f"each image must have one label, got {len(images)} images, {len(labels)} labels"
            )
        start = 0
        while start < len(images):
            if split not in self._open:
                name = file_name(split, len(self._entries[split]))
                self._open[split] = RecordFileWriter(self._folder / name, self._layout, self._num_classes)
            file = self._open[split]
            stop = min(len(images), start + self._capacity[split] - file.records)
            first_id = self._records[split]
            file.append(
                images[start:stop],
                labels[start:stop],
                np.arange(first_id, first_id + stop - start),
                None if names is None else names[start:stop],
            )
            self._records[split] += stop - start
            start = stop
            if file.records == self._capacity[split]:
                self._close_file(split)

    def finish(
        self,
        *,
        name: str,
        class_names: list[str],
        provenance: dict[str, Any],
        labels: Literal["clean", "unknown"] | None = None,
    ) -> Manifest:
        """Close the files and write the manifest; raises ValueError if nothing was written to
        train.

        `labels` tells whether the labels are known to be right; None: `provenance` decides.
        """
        for split in list(self._open):
            self._close_file(split)
        manifest = make_manifest(
            self._layout, self._entries, self._channel_sums, name, class_names, provenance, labels
        )
        write_manifest(self._folder, manifest)
        return manifest

    def _close_file(self, split: str) -> None:
        file = self._open.pop(split)
        self._entries[split].append(file.close())
        if split == "train":
            self._channel_sums += file.channel_sums

    def __enter__(self) -> "DatasetWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._open:
            self._open.popitem()[1].abandon()


def make_manifest(
    layout: RecordLayout,
    entries: dict[str, list[FileEntry]],
    train_sums: ChannelSums,
    name: str,
    class_names: list[str],
    provenance: dict[str, Any],
    labels: Literal["clean", "unknown"] | None = None,
) -> Manifest:
    """The manifest of files that are written; raises ValueError if there is no training record."""
    if not train_sums.pixels:
        raise ValueError("a data set must have at least one training record, got none")
    mean, std = train_sums.mean_std()
    return Manifest(
        name=name,
        channels=layout.channels,
        height=layout.height,
        width=layout.width,
        num_classes=len(class_names),
        class_names=class_names,
        splits={
            split: SplitEntry(sum(file.records for file in entries[split]), entries[split])
            for split in ("train", "test")
            if entries.get(split)
        },
        channel_mean=mean,
        channel_std=std,
        provenance=provenance,
        labels=labels_by_provenance(provenance) if labels is None else labels,
    )


def check_images(images: npt.NDArray[np.uint8], layout: RecordLayout) -> None:
    """Raise ValueError unless `images` is uint8 (n, C, H, W) of `layout`."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != layout.shape:
        raise ValueError(
            f"images are uint8 of shape (n, {layout.channels}, {layout.height}, {layout.width}), "
            f"got {images.dtype} of shape {images.shape}"
        )
