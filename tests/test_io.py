"""Ways to read the files: the same batches, the right way for the memory, and errors in place of signals."""

import itertools
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from backend_checks import EVERYTHING, expect_same, open_train
from conftest import write_records

import selfie_io as sio
from selfie_io.loading import memory, reader

OPTIONS = {"batch_size": 7, "shuffle": True, "augment": EVERYTHING, "seed": 9}


def reads_ahead(monkeypatch):
    monkeypatch.setattr(reader, "fits_in_memory", lambda _: False)


@pytest.mark.parametrize("order", ["permutation", "independent", "quasi"])
def test_reading_ahead_gives_the_same_batches(tmp_path, order, monkeypatch):
    split = open_train(tmp_path / "set")
    wanted = list(sio.Loader(split, io="mmap", order=order, **OPTIONS))
    expect_same(sio.Loader(split, order=order, **OPTIONS), wanted)  # mapped and populated
    reads_ahead(monkeypatch)
    for threads, prefetch in itertools.product((1, 5), (1, 4)):
        loader = sio.Loader(split, order=order, num_threads=threads, prefetch_batches=prefetch, **OPTIONS)
        expect_same(loader, wanted)
    loader.set_epoch(0)
    iterator = iter(loader)
    next(iterator)
    other = sio.Loader(split, order=order, **OPTIONS)
    other.load_state_dict(loader.state_dict())
    expect_same(other, wanted[1:])
    chosen = {**OPTIONS, "indices": np.arange(0, 73, 3), "views": 2}
    expect_same(sio.Loader(split, order=order, **chosen), sio.Loader(split, io="mmap", order=order, **chosen))


def test_leaving_early_and_often(tmp_path, monkeypatch):
    split = open_train(tmp_path / "set")
    reads_ahead(monkeypatch)
    loader = sio.Loader(split, **OPTIONS)
    for _ in range(30):
        next(iter(loader))
    loader.close()


def test_the_way_of_reading_is_told(tmp_path, monkeypatch):
    split = open_train(tmp_path / "set")
    assert "io='auto' (mapped, populated ahead)" in repr(sio.Loader(split))
    assert "io='pread'," in repr(sio.Loader(split, io="pread"))
    reads_ahead(monkeypatch)
    assert "io='auto' (larger than memory: 32 reads ahead)" in repr(sio.Loader(split))


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        ("0::/a/b\n", {"a/memory.max": "700", "a/b/memory.max": "max"}, 700),
        ("0::/a/b\n", {"memory.max": "600", "a/memory.max": "700"}, 600),
        ("4:memory:/a\n1:cpu:/\n0::/\n", {"memory/a/memory.limit_in_bytes": "500"}, 500),
        ("2:cpu,memory:/gone/x\n", {"memory/memory.limit_in_bytes": "400"}, 400),
        ("0::/\n", {}, None),
    ],
)
def test_limits_of_control_groups_count(tmp_path, monkeypatch, groups, files, limit):
    (tmp_path / "groups").write_text(groups)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "PROCESS_CGROUPS", tmp_path / "groups")
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert memory.memory_limit() == (limit or physical)
    monkeypatch.setattr(memory, "FITTING_PART", 0.5)
    assert memory.fits_in_memory(memory.memory_limit() // 2)
    assert not memory.fits_in_memory(memory.memory_limit() // 2 + 1)


@pytest.mark.parametrize("lost", ["everything", "half", "part of a page", "the last record"])
@pytest.mark.parametrize("order", ["sequential", "permutation", "quasi"])
@pytest.mark.parametrize("io", ["auto", "ahead", "mmap", "pread"])
def test_a_file_cut_while_it_is_read_ends_in_an_error(tmp_path, io, order, lost, monkeypatch):
    """Every batch before the error holds what was written: no signal, no zeros."""
    records = 600
    write_records(tmp_path / "data_batch_1.bin", range(10), [7] * 10, np.full((10, 3, 32, 32), 7))
    pixels = np.full((records, 3, 32, 32), 7)
    write_records(tmp_path / "data_batch_2.bin", range(records), [7] * records, pixels)
    if io == "ahead":
        reads_ahead(monkeypatch)
        io = "auto"
    split = sio.open_dataset(tmp_path, shape=(3, 32, 32)).train
    shuffle = {"shuffle": order != "sequential", "order": order if order == "quasi" else "permutation"}
    loader = sio.Loader(
        split, batch_size=8, io=io, normalize=None, num_threads=2, prefetch_batches=1, **shuffle
    )
    size = 3080 * records
    left = {
        "everything": 0,
        "half": size // 2,
        "part of a page": size - 1500,
        "the last record": size - 3080,
    }[lost]
    message = rf"record {left // 3080} \(byte {left // 3080 * 3080}\) can no longer be read.*data_batch_2"

    def read():
        for number, batch in enumerate(loader):
            assert (batch.images == 7).all()
            assert (batch.labels == 7).all()
            if number == 3:
                os.truncate(tmp_path / "data_batch_2.bin", left)

    with pytest.raises(OSError, match=r"record \d+ \(byte \d+\) can no longer be read.*data_batch_2"):
        read()
    with pytest.raises(OSError, match=message):
        split.labels  # noqa: B018
    with pytest.raises(OSError, match=message):
        split.images([0])


def test_a_page_that_fails_while_its_bytes_are_used_is_an_error(tmp_path):
    """Also if the file has its old size again when somebody looks."""
    write_records(tmp_path / "data_batch_1.bin", range(600), [7] * 600, np.full((600, 3, 32, 32), 7))
    code = f"""
        import os
        from selfie_io import open_dataset, _core
        path = {str(tmp_path / "data_batch_1.bin")!r}
        split = open_dataset({str(tmp_path)!r}, shape=(3, 32, 32)).train
        size = os.path.getsize(path)
        os.truncate(path, 0)
        import ctypes, re
        line = next(line for line in open("/proc/self/maps") if path in line)
        begin = int(line.split("-")[0], 16)
        assert ctypes.string_at(begin + 5000, 10) == bytes(10)
        os.truncate(path, size)
        try:
            split.images([0])
        except OSError as error:
            print(error)
        ctypes.string_at(8)  # a fault of somebody else's still ends the process
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert "can no longer be read" in result.stdout
    assert result.returncode < 0


def test_a_file_that_was_replaced_is_noticed(tmp_path):
    split = open_train(tmp_path / "set")
    loader = sio.Loader(split, batch_size=73)
    (before,) = loader
    path = split.files[0]
    path.with_suffix(".new").write_bytes(path.read_bytes())
    path.with_suffix(".new").replace(path)
    (after,) = loader  # what is open stays as it was
    assert (before.images == after.images).all()
    with pytest.raises(
        OSError, match=r"was replaced since the data set was opened; open the data set again.*batch_1"
    ):
        sio.Loader(split)
