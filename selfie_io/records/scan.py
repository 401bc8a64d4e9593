"""Reads the record files of a split once, in bounded memory, and lists what they hold and their
defects.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from selfie_io.records.files import record_dtype
from selfie_io.records.layout import HEADER_BYTES, MAX_CLASSES, RecordLayout
from selfie_io.records.manifest import FileEntry
from selfie_io.records.plain_files import open_plain
from selfie_io.records.writer import ChannelSums, FileDigest

LISTED_DEFECTS = 20  # of one sort in one file; more are only counted
_CHUNK_BYTES = 1 << 22


@dataclass(frozen=True)
class Defect:
    """One thing that is wrong; `record` and `byte` count from 0 in the file, None where they say
    nothing.
    """

    file: str
    message: str
    record: int | None = None
    byte: int | None = None

    def __str__(self) -> str:
        record = "" if self.record is None else f" record {self.record}:"
        byte = "" if self.byte is None else f" byte {self.byte}:"
        return f"{self.file}:{record}{byte} {self.message}"


@dataclass
class SplitScan:
    """What one split holds; the digests of `files` and `channel_sums` are there only after a deep
    scan.

    `contiguous_ids` says whether the ids are exactly 0..N-1, in any order.
    """

    records: int = 0
    contiguous_ids: bool = True
    files: list[FileEntry] = field(default_factory=list)
    max_label: int = -1
    label_counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    channel_sums: ChannelSums = field(default_factory=lambda: ChannelSums.zero(0))


def scan_split(
    paths: list[Path],
    layout: RecordLayout,
    *,
    num_classes: int | None = None,
    deep: bool = False,
    advance: Callable[[int], None] | None = None,
) -> tuple[SplitScan, list[Defect]]:
    """Read each record of `paths`; with `deep` its pixels count as well. `advance` is told the
    bytes read.

    Raises OSError if a file cannot be read.
    """
    found = SplitScan(channel_sums=ChannelSums.zero(layout.channels))
    defects: list[Defect] = []
    record_ids = [
        _scan_file(path, layout, num_classes or MAX_CLASSES, deep, found, defects, advance) for path in paths
    ]
    found.records = sum(file.records for file in found.files)
    return found, defects + _check_ids(paths, record_ids, layout, found)


def _scan_file(
    path: Path,
    layout: RecordLayout,
    num_classes: int,
    deep: bool,
    found: SplitScan,
    defects: list[Defect],
    advance: Callable[[int], None] | None,
) -> npt.NDArray[np.uint32]:
    """Read one file: what it holds goes to `found`, what is wrong to `defects`; returns its record
    ids.
    """
    dtype = record_dtype(layout)
    record_ids = []
    digest = FileDigest()
    first = 0
    bad_labels = 0
    chunk = bytearray(max(1, _CHUNK_BYTES // dtype.itemsize) * dtype.itemsize)
    rest = 0
    size = 0
    with open_plain(path).detach() as file:
        while filled := _read_full(file.readinto, memoryview(chunk)):
            content = memoryview(chunk)[:filled]
            rest = filled % dtype.itemsize
            records = np.frombuffer(content[: filled - rest], dtype)
            labels = records["label"]
            bad = np.flatnonzero(labels >= num_classes)
            for record in bad[: max(0, LISTED_DEFECTS - bad_labels)].tolist():
                byte = (first + record) * dtype.itemsize + HEADER_BYTES // 2
                message = f"a label must be in 0..{num_classes - 1}, got {labels[record]}"
                defects.append(Defect(path.name, message, first + record, byte))
            bad_labels += bad.size
            good = labels[labels < num_classes].astype(np.int64)
            counts = np.bincount(good, minlength=len(found.label_counts))
            counts[: len(found.label_counts)] += found.label_counts
            found.label_counts = counts
            found.max_label = max(found.max_label, int(good.max(initial=-1)))
            record_ids.append(records["record_id"].astype(np.uint32))
            if deep:
                digest.update(content)
                found.channel_sums.add_images(records["pixels"])
            first += len(records)
            size += filled
            if advance is not None:
                advance(filled)
    if bad_labels > LISTED_DEFECTS:
        defects.append(Defect(path.name, f"{bad_labels - LISTED_DEFECTS} more labels are out of range"))
    if rest:
        message = f"ends after {rest} of the {dtype.itemsize} bytes of a record"
        defects.append(Defect(path.name, message, first, first * dtype.itemsize))
    if size == 0:
        defects.append(Defect(path.name, "is empty"))
    found.files.append(digest.entry(path.name, first) if deep else FileEntry(path.name, first, size, "", []))
    return np.concatenate(record_ids) if record_ids else np.zeros(0, np.uint32)


def _read_full(read_into: Callable[[memoryview], int | None], buffer: memoryview) -> int:
    """Fill `buffer` unless the file ends before; returns the bytes read."""
    filled = 0
    while filled < len(buffer):
        count = read_into(buffer[filled:])
        if not count:
            break
        filled += count
    return filled


def _check_ids(
    paths: list[Path], of_file: list[npt.NDArray[np.uint32]], layout: RecordLayout, found: SplitScan
) -> list[Defect]:
    """Name each record whose id an earlier record of the split has; 8 bytes of memory a record."""
    record_ids = np.concatenate(of_file) if of_file else np.zeros(0, np.uint32)
    ordered = np.sort(record_ids)
    repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    found.contiguous_ids = not repeated.size and (not ordered.size or int(ordered[-1]) == ordered.size - 1)
    if not repeated.size:
        return []
    ends = np.cumsum([len(ids) for ids in of_file])
    positions = np.flatnonzero(np.isin(record_ids, repeated[:LISTED_DEFECTS]))
    seen: dict[int, str] = {}
    defects: list[Defect] = []
    for position in positions.tolist():
        file = int(np.searchsorted(ends, position, side="right"))
        record = position - (int(ends[file - 1]) if file else 0)
        record_id = int(record_ids[position])
        if record_id not in seen:
            seen[record_id] = f"{paths[file].name} record {record}"
        elif len(defects) < LISTED_DEFECTS:
            message = f"record id {record_id} is also that of {seen[record_id]}"
            defects.append(Defect(paths[file].name, message, record, record * layout.record_bytes))
    more = int(np.count_nonzero(ordered[1:] == ordered[:-1])) - len(defects)
    if more:
        defects.append(Defect(paths[-1].name, f"{more} more record ids of the split are not distinct"))
    return defects
