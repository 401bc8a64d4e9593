"""Writes a data set in other formats; packed again, each gives the same record files."""

import csv
import io
import json
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from selfie_io.convert.sources.image_folder import CLASSES_NAME, RECORDS_HEADER, RECORDS_NAME
from selfie_io.convert.sources.source import missing_extra
from selfie_io.records.csv_cells import harmless_row

if TYPE_CHECKING:
    from selfie_io.records.dataset import RecordDataset

_CHUNK_RECORDS = 256
_RECORDS_PER_FILE = 10_000
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same bytes at any time
_NOT_IN_NAMES = re.compile(r'[/\\:*?"<>|\x00-\x1f]')


@dataclass(frozen=True)
class ExportedRecords:
    """The data set to export, and its labels by split, int64 (N,); -1 leaves a record out."""

    dataset: "RecordDataset"
    labels: dict[str, npt.NDArray[np.int64]]
    advance: Callable[[int], None]

    def kept(self, split: str) -> npt.NDArray[np.int64]:
        """The indices of the records of a split that are exported, int64 (n,)."""
        return np.flatnonzero(self.labels[split] >= 0)

    def chunks(self, split: str, start: int = 0, stop: int | None = None) -> "Iterator[Chunk]":
        """The kept records `start` up to `stop` of a split, some at a time."""
        records, kept = self.dataset.splits[split], self.kept(split)[start:stop]
        for first in range(0, len(kept), _CHUNK_RECORDS):
            indices = kept[first : first + _CHUNK_RECORDS]
            yield Chunk(indices.tolist(), records.images(indices), self.labels[split][indices].tolist())
            self.advance(len(indices))


class Chunk(NamedTuple):
    """Records in order: their indices, uint8 (n, C, H, W), the labels."""

    indices: list[int]
    images: npt.NDArray[np.uint8]
    labels: list[int]


def to_folder(export: ExportedRecords, out: Path) -> None:
    """`train/<class>/<index>.png`, records.csv (every file in order, with its record id),
    classes.txt.
    """
    names = export.dataset.class_names
    _write_lines(out / CLASSES_NAME, names)
    folders = _folder_names(names)
    with (out / RECORDS_NAME).open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(RECORDS_HEADER)
        for split, records in export.dataset.splits.items():
            width = len(str(len(records) - 1))
            for label in np.unique(export.labels[split][export.kept(split)]).tolist():
                (out / split / folders[label]).mkdir(parents=True, exist_ok=True)
            record_ids = records.record_ids
            for chunk in export.chunks(split):
                for index, image, label in zip(*chunk, strict=True):
                    name = f"{split}/{folders[label]}/{index:0{width}d}.png"
                    (out / name).write_bytes(_png(image))
                    rows.writerow(harmless_row([name, split, record_ids[index], label]))


def to_npz(export: ExportedRecords, out: Path) -> None:
    """x_train (N, H, W) or (N, H, W, 3), y_train, record_ids_train, the same of test, and
    class_names.
    """
    channels, height, width = export.dataset.layout.shape
    with zipfile.ZipFile(out, "w") as archive:
        for split, records in export.dataset.splits.items():
            kept = export.kept(split)
            shape = (len(kept), height, width, *([channels] if channels > 1 else []))
            with archive.open(_npy(f"x_{split}"), "w", force_zip64=True) as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                for chunk in export.chunks(split):
                    file.write(np.ascontiguousarray(chunk.images.transpose(0, 2, 3, 1)).data)
            _write_array(archive, f"y_{split}", export.labels[split][kept])
            _write_array(archive, f"record_ids_{split}", records.record_ids[kept])
        _write_array(archive, "class_names", np.array(export.dataset.class_names))


def to_cifar10_bin(export: ExportedRecords, out: Path) -> None:
    """The binary version of CIFAR-10: data_batch_1.bin, ..., test_batch.bin, batches.meta.txt.

    Raises ValueError unless the images are 3x32x32 and the classes at most 256.
    """
    dataset = export.dataset
    if dataset.layout.shape != (3, 32, 32) or dataset.num_classes > 256:
        raise ValueError(
            "cifar10-bin holds 3x32x32 images of at most 256 classes, "
            f"got {dataset.layout.shape} and {dataset.num_classes} classes"
        )
    _write_lines(out / "batches.meta.txt", dataset.class_names)
    for split in dataset.splits:
        count = len(export.kept(split))
        per_file = _RECORDS_PER_FILE if split == "train" else count
        for number, start in enumerate(range(0, count, per_file), 1):
            name = f"data_batch_{number}.bin" if split == "train" else "test_batch.bin"
            with (out / name).open("wb") as file:
                for chunk in export.chunks(split, start, start + per_file):
                    labels = np.array(chunk.labels, np.uint8)[:, np.newaxis]
                    pixels = chunk.images.reshape(len(labels), -1)
                    file.write(np.concatenate([labels, pixels], axis=1).data)


def to_webdataset(export: ExportedRecords, out: Path) -> None:
    """`train-000000.tar`, ... of `<index>.png` and `<index>.cls`, 10,000 records each, and
    classnames.txt.
    """
    _write_lines(out / "classnames.txt", export.dataset.class_names)
    for split in export.dataset.splits:
        for number, start in enumerate(range(0, len(export.kept(split)), _RECORDS_PER_FILE)):
            with tarfile.open(out / f"{split}-{number:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as shard:
                for chunk in export.chunks(split, start, start + _RECORDS_PER_FILE):
                    for index, image, label in zip(*chunk, strict=True):
                        for suffix, content in (("png", _png(image)), ("cls", str(label).encode())):
                            member = tarfile.TarInfo(f"{index:09d}.{suffix}")
                            member.size = len(content)
                            shard.addfile(member, io.BytesIO(content))


def to_parquet(export: ExportedRecords, out: Path) -> None:
    """`data/train-00000-of-0000K.parquet`, ... as Hugging Face stores them: img, label, and
    record_id.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ModuleNotFoundError(missing_extra("pyarrow", "writing parquet")) from error
    names = export.dataset.class_names
    features = {
        "img": {"_type": "Image"},
        "label": {"names": names, "_type": "ClassLabel"},
        "record_id": {"dtype": "int64", "_type": "Value"},
    }
    image_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema(
        [("img", image_type), ("label", pa.int64()), ("record_id", pa.int64())],
        {"huggingface": json.dumps({"info": {"features": features}})},
    )
    (out / "data").mkdir()
    for split, records in export.dataset.splits.items():
        starts = range(0, len(export.kept(split)), _RECORDS_PER_FILE)
        for number, start in enumerate(starts):
            path = out / "data" / f"{split}-{number:05d}-of-{len(starts):05d}.parquet"
            with pq.ParquetWriter(path, schema) as table:
                for chunk in export.chunks(split, start, start + _RECORDS_PER_FILE):
                    columns = {
                        "img": [
                            {"bytes": _png(image), "path": f"{index}.png"}
                            for index, image in zip(chunk.indices, chunk.images, strict=True)
                        ],
                        "label": chunk.labels,
                        "record_id": records.record_ids[chunk.indices].astype(np.int64),
                    }
                    table.write_table(pa.table(columns, schema))


def _png(image: npt.NDArray[np.uint8]) -> bytes:
    """An image, uint8 (1 or 3, H, W), as a PNG file; raises ValueError for another number of
    channels.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ModuleNotFoundError(missing_extra("Pillow", "writing images")) from error
    if len(image) not in (1, 3):
        raise ValueError(f"a PNG must have 1 or 3 channels, got {len(image)}; npz takes any number")
    pixels = image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _write_array(archive: zipfile.ZipFile, name: str, array: npt.NDArray[Any]) -> None:
    with archive.open(_npy(name), "w", force_zip64=True) as file:
        np.lib.format.write_array(file, array, allow_pickle=False)


def _npy(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(f"{name}.npy", _ZIP_EPOCH)


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write a name a line; raises ValueError for a name that is not one."""
    for line in lines:
        if line.splitlines() != [line] or not line.strip():
            raise ValueError(f"{path.name} has a class name a line, {line!r} is not a line")
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _folder_names(class_names: Sequence[str]) -> list[str]:
    """A folder name for each class: its own, with what a file name cannot hold replaced, and
    distinct.
    """
    names: list[str] = []
    for label, name in enumerate(class_names):
        plain = _NOT_IN_NAMES.sub("_", name).lstrip(".").strip()
        usable = plain and plain not in names and len(plain.encode()) <= 200
        names.append(plain if usable else f"class {label}")
        if names.index(names[-1]) != label:
            raise ValueError(
                "classes need folders of their own, but "
                f"{class_names[names.index(names[-1])]!r} and {name!r} "
                f"would both be {names[-1]!r}; export to npz, or rename one in dataset.json"
            )
    return names


TARGETS: dict[str, Callable[[ExportedRecords, Path], None]] = {
    "folder": to_folder,
    "npz": to_npz,
    "cifar10-bin": to_cifar10_bin,
    "webdataset": to_webdataset,
    "parquet": to_parquet,
}
