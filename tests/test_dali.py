"""What only the DALI backend can do wrong: depth, ends of pipelines, devices. See test_backends.py."""

import os

import backend_checks
import pytest
import torch

import selfie_io as sio

backend_checks.need_dali()


@pytest.mark.parametrize("prefetch_batches", [1, 2, 3, 9])
@pytest.mark.parametrize("batch_size", [73, 37, 25, 19, 8])
def test_any_depth_and_number_of_batches(tmp_path, batch_size, prefetch_batches):
    """An epoch may be shorter than DALI reads ahead, as long, or longer; the next one starts clean."""
    split = backend_checks.open_train(tmp_path / "set")
    options = {"batch_size": batch_size, "shuffle": True, "augment": sio.Augment(pad=4)}
    loader = sio.Loader(split, backend="dali", prefetch_batches=prefetch_batches, **options)
    native = sio.Loader(split, **options)
    for _ in range(3):
        backend_checks.expect_same(loader, list(native))


def test_damage_reaches_the_caller(tmp_path):
    split = backend_checks.open_train(tmp_path / "set", train_files=(40,))
    loader = sio.Loader(split, batch_size=2, backend="dali", prefetch_batches=1)
    os.truncate(split.files[0], 3080 * 20)
    with pytest.raises(OSError, match=r"record 20 \(byte 61600\) .*data_batch_1\.bin"):
        list(loader)


def test_leaving_an_iteration_open_does_not_keep_the_process(tmp_path):
    backend_checks.open_train(tmp_path / "set")
    program = """
        import sys
        import selfie_io as sio

        split = sio.open_dataset(sys.argv[1], shape=(3, 32, 32)).train
        loaders = [sio.Loader(split, batch_size=8, backend="dali") for _ in range(3)]
        iterators = [iter(loader) for loader in loaders]
        print(*(len(next(iterator).labels) for iterator in iterators))
    """
    assert backend_checks.run_program(program, tmp_path / "set") == "8 8 8\n"


def test_memory_and_threads_do_not_grow(tmp_path):
    """Over 20 epochs less than 4 MiB, where one has 2 MiB; and early breaks leave no thread behind."""
    backend_checks.open_train(tmp_path / "set", train_files=(600,))
    program = """
        import sys
        from pathlib import Path
        import selfie_io as sio

        def resident_kib():
            status = Path("/proc/self/status").read_text().splitlines()
            return int(next(line for line in status if line.startswith("VmRSS")).split()[1])

        def threads():
            return len(list(Path("/proc/self/task").iterdir()))

        split = sio.open_dataset(sys.argv[1], shape=(3, 32, 32)).train
        loader = sio.Loader(split, batch_size=32, backend="dali", augment=sio.Augment(pad=4, flip="random"))
        for epoch in range(30):
            if epoch == 10:
                memory_before, threads_before = resident_kib(), threads()
            for _ in loader:
                pass
        growth_kib = resident_kib() - memory_before
        for _ in range(10):
            next(iter(loader))
        print(growth_kib, threads() - threads_before)
    """
    growth_kib, more_threads = map(int, backend_checks.run_program(program, tmp_path / "set").split())
    assert growth_kib < 4 << 10
    assert more_threads <= 0


def test_other_devices_are_refused(tmp_path):
    split = backend_checks.open_train(tmp_path / "set")
    with pytest.raises(ValueError, match="device must hold values on this machine, got 'meta'"):
        sio.Loader(split, backend="dali", device="meta")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_named_with_the_way_out(tmp_path):
    split = backend_checks.open_train(tmp_path / "set")
    with pytest.raises(ValueError, match=r"got 'cuda:0' without .* backend=\"native\""):
        sio.Loader(split, backend="dali", device="cuda:0")
