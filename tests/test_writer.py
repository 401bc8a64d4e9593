"""The record writer: the bytes of the format, digests and channel statistics, whatever the batch sizes."""

import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfie_io.records.files import guess_shape, record_files
from selfie_io.records.layout import RecordLayout
from selfie_io.records.manifest import BLOCK_BYTES, read_manifest
from selfie_io.records.writer import DatasetWriter, FileDigest, RecordFileWriter


def make_images(count, shape=(3, 4, 5), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def by_hand(images, labels, record_ids):
    """The record file as the format tells it, field by field."""
    content = b""
    for image, label, record_id in zip(images, labels, record_ids, strict=True):
        content += struct.pack(">I", record_id) + struct.pack(">I", label)
        for channel in image:
            for row in channel:
                content += bytes(row.tolist())
    return content


@settings(max_examples=50, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    records_per_file=st.integers(1, 40),
)
def test_files_do_not_depend_on_how_the_records_came(tmp_path_factory, cuts, records_per_file):
    folder = tmp_path_factory.mktemp("set")
    count = sum(cuts)
    images, labels = make_images(count), np.arange(count) % 7
    with DatasetWriter(folder, RecordLayout(3, 4, 5), 7, records_per_file=records_per_file) as writer:
        start = 0
        for cut in cuts:
            writer.append("train", images[start : start + cut], labels[start : start + cut])
            start += cut
        writer.append("test", images[:2], labels[:2])
        writer.finish(name="made", class_names=list("abcdefg"), provenance={})
    files = record_files(folder)
    stored = [path.read_bytes() for path in files["train"]]
    assert b"".join(stored) == by_hand(images, labels, range(count))
    assert {len(content) // 68 for content in stored[:-1]} <= {records_per_file}
    assert files["test"][0].read_bytes() == by_hand(images[:2], labels[:2], range(min(2, count)))
    manifest = read_manifest(folder)
    for entry, content in zip(manifest.splits["train"].files, stored, strict=True):
        assert entry.sha256 == hashlib.sha256(content).hexdigest()
        assert (entry.bytes, entry.records) == (len(content), len(content) // 68)
    np.testing.assert_allclose(manifest.channel_mean, (images / 255).mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(manifest.channel_std, (images / 255).std((0, 2, 3)), rtol=1e-9)


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, 2 * BLOCK_BYTES + 1])
@pytest.mark.parametrize("step", [1000, BLOCK_BYTES, 3 * BLOCK_BYTES + 5])
def test_block_digests(size, step):
    content = np.random.default_rng(size).bytes(size)
    digest = FileDigest()
    for start in range(0, size, step):
        digest.update(memoryview(content)[start : start + step])
    blocks = [content[start : start + BLOCK_BYTES] for start in range(0, size, BLOCK_BYTES)]
    assert digest.entry("x", 0).blocks == [hashlib.sha256(block).hexdigest() for block in blocks]
    assert digest.entry("x", 0).sha256 == hashlib.sha256(content).hexdigest()


def test_wrong_records_are_refused_by_number(tmp_path):
    writer = RecordFileWriter(tmp_path / "data_batch_1.bin", RecordLayout(3, 4, 5), 10)
    writer.append(make_images(3), [0, 1, 9], [7, 5, 0xFFFFFFFF])
    with pytest.raises(ValueError, match=r"data_batch_1.bin: record 4: label must be in 0\.\.9, got 10"):
        writer.append(make_images(3), [0, 10, 9], [0, 1, 2])
    with pytest.raises(ValueError, match=r"record 3: label must be in 0\.\.9, got -1"):
        writer.append(make_images(1), [-1], [0])
    with pytest.raises(ValueError, match=r"record 3: record_id must be in 0\.\.4294967295, got 4294967296"):
        writer.append(make_images(1), [0], [1 << 32])
    with pytest.raises(ValueError, match=r"uint8 of shape \(n, 3, 4, 5\), got uint8 of shape \(1, 3, 5, 4\)"):
        writer.append(make_images(1, (3, 5, 4)), [0], [0])
    with pytest.raises(ValueError, match="got float64"):
        writer.append(make_images(1).astype(float), [0], [0])
    with pytest.raises(ValueError, match="label: must be 1 integers, got float64"):
        writer.append(make_images(1), [0.5], [0])
    assert writer.close().records == 3
    assert (tmp_path / "data_batch_1.bin").read_bytes() == by_hand(
        make_images(3), [0, 1, 9], [7, 5, 0xFFFFFFFF]
    )


def test_a_set_has_training_records(tmp_path):
    with DatasetWriter(tmp_path, RecordLayout(1, 2, 2), 2) as writer:
        writer.append("test", make_images(1, (1, 2, 2)), [0])
        with pytest.raises(ValueError, match="at least one training record"):
            writer.finish(name="made", class_names=["a", "b"], provenance={})


def write_bare(folder, shape, counts, *, labels=10):
    """The authors' format: no manifest, ids shuffled over all training files."""
    rng = np.random.default_rng(1)
    record_ids = rng.permutation(sum(counts))
    for number, count in enumerate(counts, start=1):
        writer = RecordFileWriter(folder / f"data_batch_{number}.bin", RecordLayout(*shape), labels)
        writer.append(make_images(count, shape), rng.integers(0, labels, count), record_ids[:count])
        record_ids = record_ids[count:]
        writer.close()


def test_files_come_in_numeric_order(tmp_path):
    write_bare(tmp_path, (1, 2, 2), [1] * 12)
    (tmp_path / "notes.txt").touch()
    names = [path.name for path in record_files(tmp_path)["train"]]
    assert names == [f"data_batch_{number}.bin" for number in range(1, 13)]
    assert list(record_files(tmp_path)) == ["train"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("data_batch_4.bin", "data_batch_3.bin is missing before data_batch_4.bin"),
        ("data_batch_02.bin", "data_batch_02.bin: training files must be named"),
        ("data_batch_x.bin", "data_batch_x.bin: training files must be named"),
    ],
)
def test_names_out_of_the_row_are_refused(tmp_path, name, message):
    write_bare(tmp_path, (1, 2, 2), [1, 1])
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match=message):
        record_files(tmp_path)


def test_no_files_and_strange_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no record files"):
        record_files(tmp_path)
    with pytest.raises(FileNotFoundError):
        record_files(tmp_path / "absent")
    (tmp_path / "data_batch_1.bin").mkdir()
    with pytest.raises(ValueError, match="a record file must be a plain file"):
        record_files(tmp_path)


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 64, 64), (1, 28, 28)])
def test_the_shape_is_guessed_where_one_fits(tmp_path, shape):
    write_bare(tmp_path, shape, [60, 45])
    assert guess_shape(tmp_path) == shape


def test_the_shape_is_not_guessed_where_none_or_two_fit(tmp_path):
    write_bare(tmp_path, (3, 5, 5), [3])
    with pytest.raises(ValueError, match="fit none of 3x32x32, 3x64x64, 1x28x28"):
        guess_shape(tmp_path)
    # 35 records of 792 bytes are 9 of 3,080; these headers, all zero but the ids, make sense as either.
    content = bytearray(35 * 792)
    for size in (792, 3080):
        for record, start in enumerate(range(0, len(content), size)):
            content[start : start + 4] = struct.pack(">I", 1000 + record)
    (tmp_path / "data_batch_1.bin").write_bytes(content)
    with pytest.raises(ValueError, match="fit each of 3x32x32, 1x28x28"):
        guess_shape(tmp_path)
