"""Checks a folder of record files against the format and its manifest."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from selfie_io.records.files import record_files
from selfie_io.records.layout import RecordLayout
from selfie_io.records.manifest import BLOCK_BYTES, MANIFEST_NAME, FileEntry, Manifest, read_manifest
from selfie_io.records.names import NAMES_SUFFIX, all_names, names_path, sha256_of
from selfie_io.records.plain_files import check_plain
from selfie_io.records.scan import LISTED_DEFECTS, Defect, SplitScan, scan_split
from selfie_io.records.writer import make_manifest


@dataclass
class Report:
    """All defects of a folder and what was read of it; `files` have digests only after a deep
    check.
    """

    folder: Path
    layout: RecordLayout
    num_classes: int
    defects: list[Defect]
    splits: dict[str, SplitScan]
    deep: bool

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.defects

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "ok": self.ok,
            "folder": str(self.folder),
            "shape": list(self.layout.shape),
            "num_classes": self.num_classes,
            "deep": self.deep,
            "splits": {
                name: {"records": split.records, "contiguous_ids": split.contiguous_ids}
                for name, split in self.splits.items()
            },
            "defects": [asdict(defect) for defect in self.defects],
        }


def verify_folder(
    folder: str | Path,
    *,
    shape: tuple[int, int, int] | None = None,
    num_classes: int | None = None,
    deep: bool = False,
    advance: Callable[[int], None] | None = None,
) -> Report:
    """Check sizes, labels and ids of every record and the manifest, if any; with `deep` digests as
    well.

    `advance` is told the bytes read. Without a manifest `shape` is needed, and without
    `num_classes` the largest label sets it. All that is wrong is in the report, but: raises
    ValueError if the manifest or the file names make no sense or contradict what is given, OSError
    if a file cannot be read.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    if manifest is None:
        if shape is None:
            raise ValueError(f"{folder}: without {MANIFEST_NAME} the image shape must be given")
        return verify_files(folder, shape, num_classes=num_classes, deep=deep, advance=advance)
    if shape not in (None, manifest.layout.shape):
        raise ValueError(f"{folder / MANIFEST_NAME}: the shape must be {manifest.layout.shape}, got {shape}")
    if num_classes not in (None, manifest.num_classes):
        raise ValueError(
            f"{folder / MANIFEST_NAME}: num_classes must be {manifest.num_classes}, got {num_classes}"
        )
    paths: dict[str, list[Path]] = {
        split: [folder / file.name for file in entry.files] for split, entry in manifest.splits.items()
    }
    listed = {path for of_split in paths.values() for path in of_split}
    present = {split: [path for path in of_split if path.is_file()] for split, of_split in paths.items()}
    report = _scan(folder, present, manifest.layout, manifest.num_classes, deep, advance)
    for path in sorted(listed):
        if not path.is_file():
            report.defects.append(Defect(path.name, _absent(path)))
    listed |= {names_path(folder / file.name) for file in _named(manifest)}
    for path in sorted([*folder.glob("*_batch*.bin"), *folder.glob(f"*_batch*{NAMES_SUFFIX}")]):
        if path not in listed:
            report.defects.append(Defect(path.name, f"is not in {MANIFEST_NAME}"))
    for file in _named(manifest):
        report.defects += _check_names(names_path(folder / file.name), file, deep=deep)
    for split, entry in manifest.splits.items():
        found = {file.name: file for file in report.splits[split].files}
        for stored in entry.files:
            if stored.name in found:
                report.defects += _compare_file(stored, found[stored.name], manifest.layout, deep=deep)
    if deep and not report.defects:
        mean, std = report.splits["train"].channel_sums.mean_std()
        if not np.allclose([manifest.channel_mean, manifest.channel_std], [mean, std], rtol=0, atol=1e-6):
            report.defects.append(
                Defect(MANIFEST_NAME, f"the training pixels have channel_mean {mean} and channel_std {std}")
            )
    return report


def verify_files(
    folder: str | Path,
    shape: tuple[int, int, int],
    *,
    num_classes: int | None = None,
    deep: bool = False,
    advance: Callable[[int], None] | None = None,
) -> Report:
    """Check the record files of `folder` as `verify_folder` does, whatever a manifest says."""
    return _scan(Path(folder), record_files(folder), RecordLayout(*shape), num_classes, deep, advance)


def manifest_of(
    report: Report,
    *,
    name: str,
    class_names: list[str],
    provenance: dict[str, Any],
    labels: Literal["clean", "unknown"] | None = None,
) -> Manifest:
    """The manifest of a folder that a deep check found without defect."""
    return make_manifest(
        report.layout,
        {split: found.files for split, found in report.splits.items()},
        report.splits["train"].channel_sums,
        name,
        class_names,
        provenance,
        labels,
    )


def _scan(
    folder: Path,
    splits: dict[str, list[Path]],
    layout: RecordLayout,
    num_classes: int | None,
    deep: bool,
    advance: Callable[[int], None] | None,
) -> Report:
    report = Report(folder, layout, num_classes or 0, [], {}, deep)
    for split, paths in splits.items():
        found, defects = scan_split(paths, layout, num_classes=num_classes, deep=deep, advance=advance)
        report.splits[split] = found
        report.defects += defects
        if not num_classes:
            report.num_classes = max(report.num_classes, found.max_label + 1)
    return report


def _named(manifest: Manifest) -> list[FileEntry]:
    """The record files that have a file of names."""
    return [file for entry in manifest.splits.values() for file in entry.files if file.names is not None]


def _absent(path: Path) -> str:
    """What is wrong with a file that is none: it is missing, or something else stands in its place."""
    try:
        check_plain(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        return str(error.strerror)
    return "is missing"


def _check_names(path: Path, file: FileEntry, *, deep: bool) -> list[Defect]:
    """What is wrong with the file of names of a record file; its content only with `deep`."""
    if file.names is None or not path.is_file():
        return [Defect(path.name, _absent(path))]
    size = path.stat().st_size
    if size != file.names.bytes:
        return [Defect(path.name, f"has {size} bytes, {MANIFEST_NAME} says {file.names.bytes}")]
    if not deep:
        return []
    digest = sha256_of(path)
    if digest != file.names.sha256:
        message = f"SHA-256 is {digest}, {MANIFEST_NAME} says {file.names.sha256}"
        return [Defect(path.name, message)]
    try:
        for _ in all_names(path, file.records):
            pass
    except ValueError as error:
        return [Defect(path.name, str(error).removeprefix(f"{path}: "))]
    return []


def _compare_file(stored: FileEntry, found: FileEntry, layout: RecordLayout, *, deep: bool) -> list[Defect]:
    """Where a file and its manifest entry differ."""
    if found.bytes != stored.bytes:
        message = f"has {found.bytes} bytes, {MANIFEST_NAME} says {stored.bytes}"
        return [Defect(stored.name, message, byte=min(found.bytes, stored.bytes))]
    if not deep:
        return []
    damaged = [
        block
        for block, pair in enumerate(zip(stored.blocks, found.blocks, strict=True))
        if pair[0] != pair[1]
    ]
    defects = []
    for block in damaged[:LISTED_DEFECTS]:
        start = block * BLOCK_BYTES
        stop = min(start + BLOCK_BYTES, stored.bytes)
        records = f"{start // layout.record_bytes}..{(stop - 1) // layout.record_bytes}"
        message = (
            f"damaged within bytes {start}..{stop - 1}, records {records} (SHA-256 of the block differs)"
        )
        defects.append(Defect(stored.name, message, start // layout.record_bytes, start))
    if len(damaged) > LISTED_DEFECTS:
        defects.append(Defect(stored.name, f"{len(damaged) - LISTED_DEFECTS} more blocks are damaged"))
    if not damaged and found.sha256 != stored.sha256:
        defects.append(
            Defect(stored.name, f"SHA-256 is {found.sha256}, {MANIFEST_NAME} says {stored.sha256}")
        )
    return defects
