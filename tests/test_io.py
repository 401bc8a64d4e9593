"""Ways to read the files: the same batches, the right way for the memory, and errors in place of signals."""

import itertools
import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from backend_checks import EVERYTHING, expect_same, open_train
from conftest import write_records

import selfie_io as sio
from selfie_io.loading import memory, reader, reading

OPTIONS = {"batch_size": 7, "shuffle": True, "augment": EVERYTHING, "seed": 9}


def reads_ahead(monkeypatch):
    monkeypatch.setattr(reading, "fits_in_memory", lambda _: False)


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


def test_mapped_files_are_not_read_ahead(tmp_path, monkeypatch):
    loader = sio.Loader(open_train(tmp_path / "set"), io="mmap", **OPTIONS)
    monkeypatch.setattr(loader._reader, "reading", replace(loader._reader.reading, depth=2))
    with pytest.raises(ValueError, match="got mapped files; give a depth of 0"):
        next(iter(loader))


def small_blocks(monkeypatch):
    for module in (reading, reader):
        monkeypatch.setattr(module, "quasi_sizes", lambda _: (3, 12))


@pytest.mark.parametrize("order", ["sequential", "quasi"])
def test_blocks_read_ahead_give_the_same_batches(tmp_path, order, monkeypatch):
    """From every batch on, for parts of the split, and for ranks, which read every block each."""
    split = open_train(tmp_path / "set")
    small_blocks(monkeypatch)
    options = {**OPTIONS, "shuffle": order == "quasi", "order": "quasi"}
    wanted = list(sio.Loader(split, io="mmap", **options))
    reads_ahead(monkeypatch)
    loader = sio.Loader(split, num_threads=3, **options)
    assert "8 blocks read ahead at once" in repr(loader)
    expect_same(loader, wanted)
    state = loader.state_dict()
    for batch in range(len(loader)):
        loader.load_state_dict({**state, "epoch": 0, "position": 7 * batch})
        expect_same(loader, wanted[batch:])
    for more in ({"indices": np.arange(0, 60)}, {"rank": 1, "world_size": 2}):
        other = sio.Loader(split, **options, **more)
        assert "blocks" in repr(other)
        expect_same(other, sio.Loader(split, io="mmap", **options, **more))


def test_blocks_only_where_they_pay(tmp_path, monkeypatch):
    split = open_train(tmp_path / "set")
    small_blocks(monkeypatch)
    reads_ahead(monkeypatch)
    few, quasi = np.arange(30), {"shuffle": True, "order": "quasi"}
    ranks = {"rank": 1, "world_size": 3}
    for options in (
        {"shuffle": True},
        {**quasi, "indices": few},
        {**quasi, **ranks},
        {"weights": np.ones(73)},
    ):
        assert "32 records read ahead" in repr(sio.Loader(split, **options))
    monkeypatch.setattr(reading, "memory_limit", lambda: 2 * 12 * 3080 * 4 - 1)
    assert "32 records read ahead" in repr(sio.Loader(split, **quasi))
    monkeypatch.setattr(reading, "memory_limit", lambda: 2 * 12 * 3080 * 4)
    assert "8 blocks read ahead" in repr(sio.Loader(split, **quasi))
    assert "read when needed" in repr(sio.Loader(split, backend="resident"))


def test_a_file_system_without_direct_reads_is_told():
    told = reading.ReadPlan("direct", depth=32).told("auto", SimpleNamespace(is_direct=False))
    assert told == "'auto' (larger than memory: 32 records read ahead at once, through the page cache)"


def descriptors(folder):
    """How many of this process's descriptors are of files in a folder."""
    links = [path.resolve() for path in Path("/proc/self/fd").iterdir()]
    return sum(folder in link.parents for link in links)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux lists descriptors there")
def test_descriptors_end_with_the_loaders_that_need_them(tmp_path, monkeypatch):
    split = open_train(tmp_path / "set")
    for io in ("mmap", "auto"):
        with sio.Loader(split, batch_size=7, io=io) as loader:
            next(iter(loader))
            assert descriptors(tmp_path) == 0
    with sio.Loader(split, io="pread") as loader, sio.Loader(split, io="pread") as other:
        next(iter(loader))
        next(iter(other))
        loader.close()
        next(iter(other))
        assert descriptors(tmp_path) == 2
    assert descriptors(tmp_path) == 0
    reads_ahead(monkeypatch)
    loader = sio.Loader(split, batch_size=7)
    iterator = iter(loader)
    next(iterator)
    assert descriptors(tmp_path) == 2
    loader.close()
    assert descriptors(tmp_path) == 0
    assert "closed" in repr(loader)
    with pytest.raises(RuntimeError, match="the loader is closed"):
        next(iterator)


@pytest.mark.parametrize("backend", ["native", "resident"])
def test_closing_ends_an_iteration(tmp_path, backend):
    split = open_train(tmp_path / "set")
    with sio.Loader(split, batch_size=7, backend=backend) as loader:
        begun, fresh = iter(loader), iter(loader)
        (kept, *_) = itertools.islice(begun, 3)
    assert (kept.indices == torch.arange(7)).all()
    for iterator in (begun, fresh):
        with pytest.raises(RuntimeError, match="the loader is closed"):
            next(iterator)
    with sio.Loader(split, batch_size=73, backend=backend) as loader:
        for _ in loader:
            loader.close()  # after the last batch: nothing is missing


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
    assert "io='auto' (larger than memory: 32 records read ahead at once, past the page cache)" in repr(
        sio.Loader(split, shuffle=True)
    )


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


@pytest.mark.parametrize("left", [0, 4096, 5000, 12 * 3080 - 1])
@pytest.mark.parametrize("moved", [False, True])
def test_a_mapped_file_that_is_cut_is_told_without_its_descriptor(tmp_path, left, moved):
    """Also where its path leads to another file by then: the mapping itself tells."""
    path = tmp_path / "data_batch_1.bin"
    write_records(path, range(12), [7] * 12, np.full((12, 3, 32, 32), 7))
    split = sio.open_dataset(tmp_path, shape=(3, 32, 32)).train
    loader = sio.Loader(split, batch_size=4)
    os.link(path, tmp_path / "other")
    if moved:
        write_records(tmp_path / "new", range(12), [1] * 12, np.full((12, 3, 32, 32), 1))
        (tmp_path / "new").replace(path)
    os.truncate(tmp_path / "other", left)
    record = r"\d+" if moved else left // 3080
    with pytest.raises(OSError, match=rf"record {record} \(byte \d+\) can no longer be read.*batch_1"):
        list(loader)


def test_a_mapped_file_that_is_written_over_is_not_called_cut(tmp_path):
    """Its last bytes tell a mapping whether it is whole."""
    path = tmp_path / "data_batch_1.bin"
    write_records(path, range(12), [7] * 12, np.full((12, 3, 32, 32), 7))
    loader = sio.Loader(sio.open_dataset(tmp_path, shape=(3, 32, 32)).train, batch_size=4, io="mmap")
    with path.open("r+b") as file:
        file.write(bytes([1] * path.stat().st_size))
    with pytest.raises(OSError, match=r"was changed since the data set was opened; open the data set again"):
        list(loader)


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
