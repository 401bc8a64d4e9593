"""verify: each defect is found and named by file, record and byte; a good folder has none."""

import os

import numpy as np
import pytest

from selfie_io.records.layout import RecordLayout
from selfie_io.records.manifest import BLOCK_BYTES, MANIFEST_NAME
from selfie_io.records.verify import manifest_of, verify_folder
from selfie_io.records.writer import DatasetWriter

SHAPE = (3, 16, 16)
RECORD = 8 + 3 * 16 * 16


@pytest.fixture
def folder(tmp_path):
    """Two training files of 2,000 and 500 records and 100 test records, of 10 classes."""
    rng = np.random.default_rng(0)
    with DatasetWriter(tmp_path, RecordLayout(*SHAPE), 10, records_per_file=2000) as writer:
        for split, count in (("train", 2500), ("test", 100)):
            images = rng.integers(0, 256, (count, *SHAPE), dtype=np.uint8)
            writer.append(split, images, rng.integers(0, 10, count))
        writer.finish(name="made", class_names=[str(i) for i in range(10)], provenance={})
    return tmp_path


def patch(path, byte, content):
    with path.open("r+b") as file:
        file.seek(byte)
        file.write(content)


def found(folder, **options):
    return [str(defect) for defect in verify_folder(folder, **options).defects]


@pytest.mark.parametrize("deep", [False, True])
def test_a_good_folder_has_no_defect(folder, deep):
    read = []
    report = verify_folder(folder, deep=deep, advance=read.append)
    assert report.ok
    assert report.to_json()["splits"] == {
        "train": {"records": 2500, "contiguous_ids": True},
        "test": {"records": 100, "contiguous_ids": True},
    }
    assert sum(read) == 2600 * RECORD
    assert report.splits["train"].label_counts.sum() == 2500


def test_without_manifest_the_same_checks_make_one(folder):
    from selfie_io.records.manifest import read_manifest

    manifest = read_manifest(folder)
    (folder / MANIFEST_NAME).unlink()
    with pytest.raises(ValueError, match=r"without dataset\.json the image shape must be given"):
        verify_folder(folder)
    report = verify_folder(folder, shape=SHAPE, deep=True)
    assert report.num_classes == 10
    assert manifest_of(report, name="made", class_names=manifest.class_names, provenance={}) == manifest


def test_what_is_given_must_agree_with_the_manifest(folder):
    with pytest.raises(ValueError, match=r"the shape must be \(3, 16, 16\), got \(1, 28, 28\)"):
        verify_folder(folder, shape=(1, 28, 28))
    with pytest.raises(ValueError, match="num_classes must be 10, got 9"):
        verify_folder(folder, num_classes=9)


@pytest.mark.parametrize("with_manifest", [True, False])
def test_labels_out_of_range(folder, with_manifest):
    options = {}
    if not with_manifest:
        (folder / MANIFEST_NAME).unlink()
        options = {"shape": SHAPE, "num_classes": 10}
    patch(folder / "data_batch_2.bin", 7 * RECORD + 4, b"\x00\x00\x00\x0a")
    assert found(folder, **options) == [
        f"data_batch_2.bin: record 7: byte {7 * RECORD + 4}: a label must be in 0..9, got 10"
    ]


def test_without_num_classes_a_label_is_still_below_the_most_classes(folder):
    (folder / MANIFEST_NAME).unlink()
    patch(folder / "test_batch.bin", 4, b"\x00\x01\x00\x00")
    assert found(folder, shape=SHAPE) == [
        "test_batch.bin: record 0: byte 4: a label must be in 0..65535, got 65536"
    ]


def test_duplicate_ids_across_files(folder):
    patch(folder / "data_batch_2.bin", 3 * RECORD, (1234).to_bytes(4, "big"))
    report = verify_folder(folder)
    assert [str(defect) for defect in report.defects] == [
        f"data_batch_2.bin: record 3: byte {3 * RECORD}: "
        "record id 1234 is also that of data_batch_1.bin record 1234"
    ]
    assert not report.splits["train"].contiguous_ids


def test_distinct_ids_with_holes_are_no_defect(folder):
    patch(folder / "data_batch_2.bin", 0, b"\xff\xff\xff\xff")
    report = verify_folder(folder)
    assert report.ok
    assert not report.splits["train"].contiguous_ids


def test_thousands_of_defects_are_counted_not_listed(folder):
    path = folder / "data_batch_1.bin"
    path.write_bytes(b"\xff" * path.stat().st_size)
    defects = found(folder)
    assert len(defects) == 42
    assert "data_batch_1.bin: 1980 more labels are out of range" in defects
    assert defects[-1] == "data_batch_2.bin: 1979 more record ids of the split are not distinct"


def test_truncation_and_trailing_bytes(folder):
    path = folder / "data_batch_2.bin"
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    assert found(folder) == [
        f"data_batch_2.bin: record 499: byte {499 * RECORD}: "
        f"ends after {RECORD - 100} of the {RECORD} bytes of a record",
        f"data_batch_2.bin: byte {500 * RECORD - 100}: has {500 * RECORD - 100} bytes, "
        f"dataset.json says {500 * RECORD}",
    ]
    path.write_bytes(content[: 400 * RECORD])
    assert found(folder) == [
        f"data_batch_2.bin: byte {400 * RECORD}: has {400 * RECORD} bytes, dataset.json says {500 * RECORD}"
    ]
    path.write_bytes(content + b"xyz")
    assert found(folder)[0] == (
        f"data_batch_2.bin: record 500: byte {500 * RECORD}: ends after 3 of the {RECORD} bytes of a record"
    )
    (folder / MANIFEST_NAME).unlink()
    path.write_bytes(b"")
    assert found(folder, shape=SHAPE) == ["data_batch_2.bin: is empty"]


def test_missing_and_surplus_files(folder):
    (folder / "data_batch_2.bin").rename(folder / "data_batch_3.bin")
    assert found(folder) == ["data_batch_2.bin: is missing", "data_batch_3.bin: is not in dataset.json"]


def test_what_is_no_file_is_not_called_missing(folder):
    (folder / "data_batch_2.bin").unlink()
    os.mkfifo(folder / "data_batch_2.bin")
    assert found(folder) == ["data_batch_2.bin: must be a plain file, got a FIFO"]


def test_only_a_deep_check_finds_a_changed_pixel_and_says_where(folder):
    byte = BLOCK_BYTES + 12_345
    path = folder / "data_batch_1.bin"
    patch(path, byte, bytes([path.read_bytes()[byte] ^ 1]))
    assert found(folder) == []
    start, stop = BLOCK_BYTES, 2000 * RECORD - 1
    assert found(folder, deep=True) == [
        f"data_batch_1.bin: record {start // RECORD}: byte {start}: damaged within bytes {start}..{stop}, "
        f"records {start // RECORD}..1999 (SHA-256 of the block differs)"
    ]


def test_a_manifest_with_wrong_statistics_or_digest_is_found_deep(folder):
    path = folder / MANIFEST_NAME
    text = path.read_text()
    path.write_text(text.replace('"channel_mean": [\n  0.', '"channel_mean": [\n  0.0'))
    assert found(folder) == []
    assert found(folder, deep=True)[0].startswith("dataset.json: the training pixels have channel_mean [0.")
    sha256 = text.split('"sha256": "')[1][:64]
    path.write_text(text.replace(sha256, "0" * 64))
    assert found(folder, deep=True) == [
        f"data_batch_1.bin: SHA-256 is {sha256}, dataset.json says {'0' * 64}"
    ]
