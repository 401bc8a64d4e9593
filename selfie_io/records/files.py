"""Lists the record files of a folder and finds the known image shape that they fit."""

import re
from pathlib import Path

import numpy as np

from selfie_io.records.layout import HEADER_BYTES, MAX_CLASSES, RecordLayout
from selfie_io.records.plain_files import open_plain

# CIFAR; Tiny-ImageNet and ANIMAL-10N; MNIST and its kin.
KNOWN_SHAPES = ((3, 32, 32), (3, 64, 64), (1, 28, 28))

_TRAIN_NAME = re.compile(r"data_batch_([1-9][0-9]{0,8})\.bin", re.ASCII)
_TEST_NAME = "test_batch.bin"
_PROBED_RECORDS = 256


def record_files(folder: str | Path) -> dict[str, list[Path]]:
    """List the record files of `folder` by split, in reading order: data_batch_10.bin after
    data_batch_9.bin.

    "train" is always there, "test" only where there is a test_batch.bin. Raises ValueError if a
    training file is missing from the row or has a name that gives no place in it, OSError if
    `folder` cannot be listed.
    """
    folder = Path(folder)
    numbered: dict[int, Path] = {}
    for path in folder.iterdir():
        if not (path.name.startswith("data_batch_") and path.suffix == ".bin"):
            continue
        match = _TRAIN_NAME.fullmatch(path.name)
        if match is None:
            raise ValueError(f"{path}: training files must be named data_batch_1.bin, data_batch_2.bin, ...")
        numbered[int(match[1])] = path
    for number in range(1, len(numbered) + 1):
        if number not in numbered:
            raise ValueError(
                f"{folder}: data_batch_{number}.bin is missing before data_batch_{max(numbered)}.bin"
            )
    if not numbered:
        raise ValueError(f"{folder}: holds no record files (data_batch_1.bin, ..., test_batch.bin)")
    splits = {"train": [numbered[number] for number in sorted(numbered)]}
    if (folder / _TEST_NAME).exists():
        splits["test"] = [folder / _TEST_NAME]
    for path in (path for paths in splits.values() for path in paths):
        if not path.is_file():
            raise ValueError(f"{path}: a record file must be a plain file")
    return splits


def file_name(split: str, position: int) -> str:
    """The name of the record file at a position (from 0) of a split."""
    return f"data_batch_{position + 1}.bin" if split == "train" else _TEST_NAME


def record_dtype(layout: RecordLayout) -> np.dtype[np.void]:
    """The record as a packed NumPy structure: record_id and label big-endian, pixels (C, H, W)."""
    return np.dtype([("record_id", ">u4"), ("label", ">u4"), ("pixels", "u1", layout.shape)])


def guess_shape(folder: str | Path) -> tuple[int, int, int]:
    """The one known shape that the sizes and some headers of the record files of `folder` fit.

    Raises ValueError if none fits or more than one, naming them.
    """
    splits = record_files(folder)
    fitting = [
        shape
        for shape in KNOWN_SHAPES
        if all(_fits(paths, RecordLayout(*shape)) for paths in splits.values())
    ]
    if len(fitting) == 1:
        return fitting[0]
    known = ", ".join("x".join(map(str, shape)) for shape in fitting or KNOWN_SHAPES)
    raise ValueError(
        f"{folder}: the image shape must be given: "
        + (f"the files fit each of {known}" if fitting else f"the files fit none of {known}")
    )


def _fits(paths: list[Path], layout: RecordLayout) -> bool:
    """Whether whole records fill the files of a split, with small labels and distinct ids where
    probed.
    """
    record_ids: list[int] = []
    for path in paths:
        count, rest = divmod(path.stat().st_size, layout.record_bytes)
        if rest:
            return False
        with open_plain(path) as file:
            probed = np.linspace(0, count - 1, min(count, _PROBED_RECORDS)).astype(np.int64)
            for record in np.unique(probed):
                file.seek(int(record) * layout.record_bytes)
                record_id, label = np.frombuffer(file.read(HEADER_BYTES), ">u4").tolist()
                if label >= MAX_CLASSES:
                    return False
                record_ids.append(record_id)
    return 0 < len(record_ids) == len(set(record_ids))
