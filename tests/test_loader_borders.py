"""A Loader among threads, processes and signals: the GIL, pickling, fork, spawn, Ctrl-C, shared memory."""

import copy
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import make_folder
from test_loader import AUGMENT, same

import selfie_io as sio


@pytest.fixture
def split(authors_folder):
    return sio.open_dataset(authors_folder, shape=(3, 32, 32)).train


def test_the_gil_is_free_while_waiting(tmp_path):
    """Another thread runs on while the consumer waits for a batch that takes a while."""
    make_folder(tmp_path / "set", train_files=(400,), test=0, shape=(3, 256, 256), num_classes=2)
    split = sio.open_dataset(tmp_path / "set", shape=(3, 256, 256)).train
    ticks, done = [], threading.Event()

    def tick():
        while not done.is_set():
            ticks.append(time.perf_counter())

    thread = threading.Thread(target=tick)
    loader = sio.Loader(split, batch_size=400, num_threads=1)
    thread.start()
    begin = time.perf_counter()
    next(iter(loader))
    end = time.perf_counter()
    done.set()
    thread.join()
    during = [tick for tick in ticks if begin < tick < end]
    assert max(np.diff([begin, *during, end])) < 0.8 * (end - begin)


def test_pickling_keeps_position_and_options(split):
    loader = sio.Loader(split, batch_size=10, shuffle=True, augment=AUGMENT, labels=split.labels)
    stream = iter(loader)
    next(stream)
    pickled = pickle.loads(pickle.dumps(loader))
    assert pickled.state_dict() == loader.state_dict()
    assert len(pickle.dumps(loader)) < 4000
    assert same(pickled, stream)  # the rest of the epoch
    assert same(pickled, loader)  # and then the next one


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda loader: pickle.loads(pickle.dumps(loader))]
)
def test_a_copy_stands_where_its_loader_does(split, duplicate):
    """As a loader that loads its state: before an epoch, in it, and after its last batch."""
    loader = sio.Loader(split, batch_size=30, shuffle=True)
    stream = None
    for done in range(len(loader) + 1):
        if done:
            stream = stream or iter(loader)
            next(stream)
        one, other = duplicate(loader), sio.Loader(split, batch_size=30, shuffle=True)
        other.load_state_dict(loader.state_dict())
        assert one.state_dict() == other.state_dict()
        assert same(one, other)


def test_nothing_of_python_runs_when_an_iteration_dies(split):
    """A Ctrl-C that arrives in a callback or a finally of the garbage collection is swallowed."""
    loader = sio.Loader(split, batch_size=10)
    stream = iter(loader)
    next(stream)
    ran = []
    sys.setprofile(lambda frame, event, _: ran.append(frame.f_code.co_name) if event == "call" else None)
    del stream
    sys.setprofile(None)
    assert set(ran) <= {"_epoch", "batches"}  # the generators themselves, which end
    loader.close()


def test_a_pickled_loader_notices_other_records(tmp_path):
    for name, seed in (("old", 1), ("new", 2)):
        make_folder(tmp_path / name, train_files=(20,), test=0, shape=(1, 5, 5), seed=seed)
    split = sio.open_dataset(tmp_path / "old", shape=(1, 5, 5)).train
    pickled = pickle.dumps(sio.Loader(split, batch_size=5))
    assert len(next(iter(pickle.loads(pickled))).labels) == 5
    (tmp_path / "new" / "data_batch_1.bin").replace(tmp_path / "old" / "data_batch_1.bin")
    with pytest.raises(ValueError, match="needs the records that it was made of"):
        pickle.loads(pickled)
    with pytest.raises(OSError, match="was replaced since"):
        pickle.dumps(split)


def test_spawned_process(split):
    loader = sio.Loader(split, batch_size=73, shuffle=True, augment=AUGMENT)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_sum, (loader,)) == _sum(loader)


def _sum(loader):
    return sum(float(batch.images.double().sum()) for batch in loader)


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_fork_in_mid_epoch(split):
    """The child begins a new epoch of its own; going on with the parent's is an error, never a hang."""
    loader = sio.Loader(split, batch_size=4, shuffle=True, augment=AUGMENT, num_threads=2)
    stream = iter(loader)
    kept = next(stream)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        code = 1
        try:
            try:
                next(stream)
            except RuntimeError as error:
                code = 2 if "does not survive a fork" in str(error) else 3
            other = sio.Loader(split, batch_size=4, shuffle=True, augment=AUGMENT)
            other.set_epoch(1)
            if code == 2 and same(loader, other):
                code = 0
            del stream, kept
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert len(list(stream)) == len(loader) - 1


def test_ctrl_c_ends_a_wait(tmp_path):
    """A wait for a batch that never comes: SIGINT ends it within two seconds, and the process exits."""
    make_folder(tmp_path / "set", train_files=(400,), test=0, shape=(3, 256, 256), num_classes=2)
    code = f"""
        import signal, time
        import selfie_io as sio
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
        split = sio.open_dataset({str(tmp_path / "set")!r}, shape=(3, 256, 256)).train
        loader = sio.Loader(split, batch_size=400, num_threads=1)
        print("waiting", flush=True)
        try:
            while True:
                for batch in loader:
                    pass
        except KeyboardInterrupt:
            print(time.time())  # leaving takes a while of its own on a busy machine
            raise
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "waiting\n"
    time.sleep(0.3)
    begin = time.time()
    process.send_signal(signal.SIGINT)
    try:
        end, stderr = process.communicate(timeout=60)
    finally:
        process.kill()  # one that goes on would take a core from all that follows
    assert float(end) - begin < 2
    assert "KeyboardInterrupt" in stderr


def test_nothing_is_left_in_shared_memory(split):
    before = set(Path("/dev/shm").iterdir())
    list(sio.Loader(split, batch_size=10))
    assert set(Path("/dev/shm").iterdir()) == before
