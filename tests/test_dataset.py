"""Opening a folder of record files: what is found out, what is refused, and that no record is read for it."""

import os
import pickle
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import make_folder, write_records

import selfie_io as sio
from selfie_io.records.writer import DatasetWriter


def test_the_authors_format_with_twelve_files(tmp_path):
    """No manifest, shuffled ids, 12 files: read in numeric order (10 after 9)."""
    record_ids, labels, images = make_folder(tmp_path / "set", train_files=range(3, 15))
    dataset = sio.open_dataset(tmp_path / "set", shape=(3, 32, 32))
    assert [path.name for path in dataset.train.files[8:]] == [f"data_batch_{i}.bin" for i in (9, 10, 11, 12)]
    np.testing.assert_array_equal(dataset.train.record_ids, record_ids)
    np.testing.assert_array_equal(dataset.train.labels, labels)
    np.testing.assert_array_equal(dataset.train.images(np.arange(102)), images)
    assert dataset.train.record_ids.dtype == np.uint32
    assert dataset.train.labels.dtype == np.int64
    assert (len(dataset.train), len(dataset.test)) == (102, 20)
    assert dataset.layout == sio.RecordLayout(channels=3, height=32, width=32)
    assert dataset.layout.record_bytes == 3080
    assert dataset.num_classes == 10
    assert dataset.class_names == [str(i) for i in range(10)]
    np.testing.assert_allclose(dataset.channel_mean, images.mean(axis=(0, 2, 3)) / 255)
    np.testing.assert_allclose(dataset.channel_std, images.std(axis=(0, 2, 3)) / 255)


def test_opening_reads_no_record(tmp_path):
    """A file of a terabyte, all hole, opens at once; its first batch comes at once."""
    path = tmp_path / "data_batch_1.bin"
    with path.open("wb") as file:
        try:
            os.truncate(file.fileno(), 3080 * 300_000_000)
        except OSError as error:
            pytest.skip(f"this file system refuses a sparse file of 0.9 TB: {error}")
    begin = time.perf_counter()
    split = sio.open_dataset(tmp_path, shape=(3, 32, 32)).train
    batch = next(iter(sio.Loader(split, batch_size=4, shuffle=True)))
    assert time.perf_counter() - begin < 5
    assert len(split) == 300_000_000
    assert batch.indices.max() > 2**20


@pytest.mark.parametrize("extra", [1, 3079, -1])
def test_a_truncated_file_is_refused_by_open(authors_folder, extra):
    path = authors_folder / "data_batch_2.bin"
    os.truncate(path, 33 * 3080 + extra)
    last = 33 if extra > 0 else 32
    with pytest.raises(
        ValueError, match=rf"data_batch_2.bin: .* 3080 bytes, got .*record {last} \(byte {last * 3080}\)"
    ):
        sio.open_dataset(authors_folder, shape=(3, 32, 32))


def test_an_empty_or_missing_or_strange_file_is_refused(authors_folder):
    (authors_folder / "data_batch_2.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"data_batch_2.bin: .* positive multiple of 3080 bytes, got 0"):
        sio.open_dataset(authors_folder, shape=(3, 32, 32))
    (authors_folder / "data_batch_2.bin").unlink()
    (authors_folder / "data_batch_3.bin").write_bytes(bytes(3080))
    with pytest.raises(ValueError, match=r"data_batch_2\.bin is missing"):
        sio.open_dataset(authors_folder, shape=(3, 32, 32))
    with pytest.raises(FileNotFoundError, match="no such folder"):
        sio.open_dataset(authors_folder / "nowhere")


def test_a_wrong_shape_is_refused(authors_folder):
    with pytest.raises(ValueError, match="3x64x64 images must have a positive multiple of 12296 bytes"):
        sio.open_dataset(authors_folder, shape=(3, 64, 64))
    for wrong in ((0, 32, 32), (3, -1, 32), (65, 32, 32), (3, 2**40, 2**40)):
        with pytest.raises(ValueError, match="got"):
            sio.open_dataset(authors_folder, shape=wrong)


def test_the_shape_is_guessed_where_one_fits(authors_folder):
    assert sio.open_dataset(authors_folder).layout.shape == (3, 32, 32)


def test_wrong_indices_are_refused(authors_folder):
    split = sio.open_dataset(authors_folder, shape=(3, 32, 32)).train
    for wrong in ([73], [-1], [2**62]):
        with pytest.raises(IndexError, match=r"an index must be in 0\.\.72"):
            split.images(wrong)
    for wrong in ([0.5], [[0]], 3):
        with pytest.raises(ValueError, match="a row of integers"):
            split.images(wrong)
    assert split.images([]).shape == (0, 3, 32, 32)


def test_a_split_is_a_torch_dataset(authors_folder):
    split = sio.open_dataset(authors_folder, shape=(3, 32, 32)).train
    image, label = split[-1]
    assert torch.equal(image, torch.from_numpy(split.images([72])[0]))
    assert label == split.labels[72]
    with pytest.raises(IndexError, match="got 73"):
        split[73]
    images, labels = next(iter(torch.utils.data.DataLoader(split, batch_size=8)))
    np.testing.assert_array_equal(images.numpy(), split.images(np.arange(8)))
    np.testing.assert_array_equal(labels.numpy(), split.labels[:8])


def test_labels_and_ids_are_read_only(authors_folder):
    split = sio.open_dataset(authors_folder, shape=(3, 32, 32)).train
    for shared in (split.labels, split.record_ids):
        with pytest.raises(ValueError, match="read-only"):
            shared[0] = 1


def test_a_split_is_picklable_and_small(authors_folder):
    split = sio.open_dataset(authors_folder, shape=(3, 32, 32)).train
    wanted = split.labels.copy()
    copy = pickle.loads(pickle.dumps(split))
    np.testing.assert_array_equal(copy.labels, wanted)
    assert len(pickle.dumps(split)) < 2000


def test_a_missing_test_split_says_so(tmp_path):
    write_records(tmp_path / "data_batch_1.bin", [0], [0], np.zeros((1, 1, 4, 4)))
    dataset = sio.open_dataset(tmp_path, shape=(1, 4, 4))
    with pytest.raises(ValueError, match="has no test split"):
        dataset.test  # noqa: B018


def test_a_dataset_prints_its_shape_classes_and_sizes(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    images = np.zeros((3, 1, 2, 2), np.uint8)
    with DatasetWriter(folder, sio.RecordLayout(1, 2, 2), 2) as writer:
        writer.append("train", images, [0, 1, 0])
        writer.append("test", images[:1], [1])
        writer.finish(name="set", class_names=["a", "b"], provenance={})
    dataset = sio.open_dataset(folder)
    assert repr(dataset) == (
        f"RecordDataset('{folder}': 3 train + 1 test records of uint8 (1, 2, 2), 2 classes, 48 B)"
    )
    assert repr(dataset.train) == (
        f"RecordSplit('{folder}', 'train': 3 records of uint8 (1, 2, 2), 2 classes, 1 files, 36 B)"
    )
    (folder / "dataset.json").unlink()
    assert "unknown classes" in repr(sio.open_dataset(folder, shape=(1, 2, 2)))


def test_mapped_files_need_no_descriptor_and_too_few_for_others_are_advised(tmp_path):
    """In a process of its own, whose limit is lowered: 600 files under 1,024, then under 100."""
    folder = tmp_path / "set"
    folder.mkdir()
    with DatasetWriter(folder, sio.RecordLayout(1, 2, 2), 2, records_per_file=1) as writer:
        writer.append("train", np.zeros((600, 1, 2, 2), np.uint8), [0, 1] * 300)
        writer.finish(name="set", class_names=["a", "b"], provenance={})
    program = """
import resource, sys
import selfie_io as sio
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
def read(split, io):
    with sio.Loader(split, batch_size=64, io=io) as loader:
        assert sum(len(batch.labels) for batch in loader) == 600
split = sio.open_dataset(sys.argv[1]).train
read(split, "pread")
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
split = sio.open_dataset(sys.argv[1]).train
for io in ("auto", "mmap"):
    read(split, io)
assert split.labels.sum() == 300 and split.images([599]).shape == (1, 1, 2, 2)
try:
    read(split, "pread")
except OSError as error:
    print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", program, folder], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "ulimit -n" in result.stdout
    assert "--records-per-file" in result.stdout
