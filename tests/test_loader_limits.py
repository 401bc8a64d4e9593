"""Odd, huge and hostile options of loaders and splits: each works or is an error that says the rule."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

import selfie_io as sio
from selfie_io.loading import reader as reader_module

DOCUMENTED = (ValueError, TypeError, IndexError, OSError)
NUMBERS = ["batch_size", "prefetch_batches", "num_threads", "world_size", "seed", "views"]
VALUES = [2**31, 2**40, 2**63, 2**64, 10**7, 3000, -1, True, 1.5, "64", None, np.uint8(200), np.int16(300)]


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    from selfie_io.records.layout import RecordLayout
    from selfie_io.records.writer import DatasetWriter

    folder = tmp_path_factory.mktemp("limits")
    random = np.random.default_rng(0)
    with DatasetWriter(folder, RecordLayout(3, 8, 8), 10) as writer:
        writer.append("train", random.integers(0, 256, (300, 3, 8, 8), dtype=np.uint8), np.arange(300) % 10)
        writer.append("test", np.zeros((1, 3, 8, 8), np.uint8), np.zeros(1, int))
        writer.finish(name="limits", class_names=[str(i) for i in range(10)], provenance={})
    return sio.open_dataset(folder).train


def count(split, **options):
    with sio.Loader(split, **options) as loader:
        return sum(len(batch.labels) for batch in loader)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", VALUES)
def test_a_number_works_or_is_refused(split, name, value):
    complaint, records = "", 300
    try:
        records = count(split, **{"batch_size": 64, name: value})
    except DOCUMENTED as error:
        complaint = str(error)
    assert "incompatible" not in complaint  # the border's own words name no rule
    assert name == "world_size" or records == 300


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.int64, np.uint64])
def test_numbers_of_numpy_are_numbers(split, dtype):
    loader = sio.Loader(
        split, batch_size=dtype(100), seed=dtype(3), shuffle=True, rank=dtype(1), world_size=dtype(2)
    )
    plain = sio.Loader(split, batch_size=100, seed=3, shuffle=True, rank=1, world_size=2)
    for batch, same in zip(loader, plain, strict=True):
        assert torch.equal(batch.indices, same.indices)
    loader.set_epoch(dtype(3))
    state = json.loads(json.dumps(loader.state_dict()))
    plain.load_state_dict(state)
    augment = sio.Augment(pad=dtype(4), crop=(dtype(8), dtype(8)), brightness=np.float32(3))
    assert json.dumps(sio.Loader(split, augment=augment).state_dict())


ODD = [
    {"augment": lambda: sio.Augment(crop=(2**64, 1))},
    {"augment": lambda: sio.Augment(pad=2**63)},
    {"augment": lambda: sio.Augment(cutout=2**70)},
    {"augment": lambda: sio.Augment(brightness="x")},
    {"augment": lambda: sio.Augment(brightness=10**400)},
    {"augment": lambda: sio.Augment(brightness=None)},
    {"augment": lambda: sio.Augment(crop=[8, 8.5])},
    {"normalize": lambda: sio.PerChannel(None, None)},
    {"normalize": lambda: sio.PerChannel([[0.5]], [["a"]])},
    {"device": "meta"},
    {"device": "mps"},
    {"device": None},
    {"order": np.array(["quasi"])},
    {"dtype": {}},
    {"labels": torch.ones(300, requires_grad=True)},
    {"labels": [2**70] * 300},
    {"labels": [[1], [1, 2]]},
    {"indices": [[1], [1, 2]]},
    {"weights": torch.ones(300, requires_grad=True)},
    {"augment": lambda: sio.Augment(brightness=True)},
    {"augment": lambda: sio.Augment(brightness=torch.ones(2))},
    {"augment": lambda: sio.Augment(brightness=1e300)},
    {"augment": lambda: sio.Augment(contrast=0)},
    {"augment": lambda: sio.Augment(contrast="15")},
    {"augment": lambda: sio.Augment(contrast={0: 1, 1: 2})},
    {"augment": lambda: sio.Augment(contrast=(1, 10**400))},
    {"augment": lambda: sio.Augment(contrast=torch.ones(2, device="meta"))},
    {"augment": lambda: sio.Augment(contrast=np.ones((2, 1)))},
    {"augment": lambda: sio.Augment(crop=ITSELF)},
    {"normalize": lambda: sio.PerChannel(Stubborn(), 0.5)},
    {"normalize": lambda: sio.PerChannel([0.5] * 3, [1e-300] * 3)},
    {"device": "cuda:99"},
    {"pin_memory": True},
    {"labels": np.ones(300, "timedelta64[s]")},
    {"labels": lambda: Stubborn()},
    {"indices": torch.ones(3, device="meta")},
    {"indices": lambda: Stubborn()},
    {"weights": np.ones(300, "timedelta64[s]")},
    {"weights": lambda: Stubborn()},
]
ITSELF = []
ITSELF.append(ITSELF)


class Stubborn:
    """Raises where it is asked for its numbers."""

    def __array__(self, *_, **__):
        raise OSError("no numbers")


RULES = {"augment": "crop|pad|cutout|bright|contrast", "normalize": "mean|std"}


def test_numbers_come_in_arrays_and_tensors_too():
    assert sio.Augment(contrast=np.array([0.5, 1.5]), crop=torch.tensor([8, 9]), pad=np.array(4)) == (
        sio.Augment(contrast=(0.5, 1.5), crop=(8, 9), pad=4)
    )


@pytest.mark.parametrize("options", ODD, ids=lambda options: next(iter(options)))
def test_odd_options_are_refused_by_their_rule(split, options):
    name, value = next(iter(options.items()))
    if name == "pin_memory" and torch.cuda.is_available():
        pytest.skip("memory can be pinned here")
    with pytest.raises(ValueError, match=f"({RULES.get(name, name)}).*got"):
        sio.Loader(split, **{name: value() if callable(value) else value})


@pytest.mark.parametrize("index", ["0", None, slice(0, 2), [0], 0.5, 2**70, torch.ones(2)])
def test_an_index_that_is_none_is_refused(split, index):
    with pytest.raises((TypeError, IndexError), match="an index must be"):
        split[index]


SHAPES = ["abc", (3, 32), (3.0, 8.0, 8.0), 5, (True, 8, 24)]


@pytest.mark.parametrize(
    "options", [{"num_classes": n} for n in (5.5, "a", True)] + [{"shape": shape} for shape in SHAPES]
)
def test_open_dataset_refuses_odd_arguments(split, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        sio.open_dataset(split.dataset_path, **options)


def test_buffers_are_as_large_as_the_data(split):
    loader = sio.Loader(split, batch_size=10**6, prefetch_batches=50, num_threads=64)
    assert loader._backend._ring_batches == 1
    assert loader._backend._reader.slices.largest == 300
    assert sum(len(batch.labels) for batch in loader) == 300
    ranks = [sio.Loader(split, batch_size=10**6, rank=rank, world_size=7) for rank in range(7)]
    assert sum(len(batch.labels) for rank in ranks for batch in rank) == 300


def test_too_little_memory_is_said_before_and_after(split, monkeypatch):
    monkeypatch.setattr(reader_module, "memory_limit", lambda: 10_000)
    with pytest.raises(ValueError, match=r"in flight must fit in memory.*lower batch_size"):
        sio.Loader(split)
    monkeypatch.undo()
    loader = sio.Loader(split, num_threads=1)

    def refuse():
        raise MemoryError("std::bad_alloc")

    monkeypatch.setattr(loader._backend, "_buffers", refuse)
    with pytest.raises(OSError, match="lower batch_size") as found:
        next(iter(loader))
    assert found.value.errno == errno.ENOMEM


def test_ctrl_c_ends_a_long_read(tmp_path):
    """Within one call of the native core, which takes seconds: 4 million records, read one by one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    np.zeros(9 * 100, np.uint8).tofile(tmp_path / "data_batch_1.bin")
    split = sio.open_dataset(tmp_path, shape=(1, 1, 1), num_classes=10).train
    split._records = split.open_files("pread")
    indices = np.zeros(4_000_000, np.int64)
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    images = None
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            images = split.images(indices)
        timer.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert images is None


def test_ctrl_c_while_an_iterator_dies_is_not_swallowed(split):
    """A `finally` of a generator would swallow it while the generator is collected."""
    augment = sio.Augment(pad=300, crop=(600, 600))

    def interrupt(*_):
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(4):
            iterator = iter(
                sio.Loader(split, batch_size=8, augment=augment, num_threads=2, prefetch_batches=2)
            )
            next(iterator)
            with pytest.raises(KeyboardInterrupt):  # noqa: PT012
                signal.setitimer(signal.ITIMER_REAL, 0.0005)
                del iterator  # its threads finish an image first
                time.sleep(1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def test_too_many_threads_are_an_error_of_the_system(split, monkeypatch):
    from selfie_io.loading import native

    def refuse(**_):
        raise RuntimeError("Resource temporarily unavailable")

    monkeypatch.setattr(native._core, "BatchDecoder", refuse)
    with pytest.raises(OSError, match="lower num_threads"):
        next(iter(sio.Loader(split)))


EXIT = """
import sys, threading, time
import selfie_io as sio
loader = sio.Loader(sio.open_dataset(sys.argv[1]).train, batch_size=4, shuffle=True, num_threads=2)
threading.Thread(target=lambda: [None for _ in range(10**6) for batch in loader], daemon=True).start()
time.sleep(0.2)
sys.exit(5)
"""


def test_a_daemon_thread_at_exit_does_not_abort(split):
    command = [sys.executable, "-c", EXIT, str(split.dataset_path)]
    assert subprocess.run(command, timeout=60, capture_output=True, check=False).returncode == 5


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "uint8"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_pinned_batch_is_the_batch(split, monkeypatch, dtype, layout):
    """Without a GPU no memory can be page-locked, so here the copy goes to usual memory."""
    usual = torch.empty

    def empty(*arguments, pin_memory, **options):
        assert pin_memory
        return usual(*arguments, **options)

    for batch in sio.Loader(split, batch_size=128, dtype=dtype, layout=layout):
        with monkeypatch.context() as patch:
            patch.setattr(torch, "empty", empty)
            pinned = batch.pin_memory()
        for one, other in zip(batch, pinned, strict=True):
            assert one.dtype == other.dtype
            assert one.data_ptr() != other.data_ptr()
            assert torch.equal(one, other)
