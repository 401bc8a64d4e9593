"""What the Loader promises: epochs, purity, resume, ownership, errors, and behaviour at the borders."""

import itertools
import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from conftest import make_folder, write_records

import selfie_io as sio

AUGMENT = sio.Augment(pad=4, flip="random", brightness=20.0)


@pytest.fixture
def split(authors_folder):
    return sio.open_dataset(authors_folder, shape=(3, 32, 32)).train


def same(left, right):
    """Whether two runs of batches are equal in every field."""
    left, right = list(left), list(right)
    return len(left) == len(right) and all(
        torch.equal(a, b) for one, two in zip(left, right, strict=True) for a, b in zip(one, two, strict=True)
    )


def test_batches_hold_what_was_written(tmp_path):
    record_ids, labels, images = make_folder(tmp_path / "set")
    loader = sio.Loader(
        sio.open_dataset(tmp_path / "set", shape=(3, 32, 32)).train, batch_size=32, normalize=None
    )
    batches = list(loader)
    assert [len(batch.labels) for batch in batches] == [32, 32, 9]
    assert len(loader) == 3
    joined = sio.Batch(*(torch.cat(parts) for parts in zip(*batches, strict=True)))
    np.testing.assert_array_equal(joined.images.numpy(), images.astype(np.float32))
    np.testing.assert_array_equal(joined.labels.numpy(), labels)
    np.testing.assert_array_equal(joined.record_ids.numpy(), record_ids)
    np.testing.assert_array_equal(joined.indices.numpy(), np.arange(73))
    assert {tensor.dtype for tensor in joined[1:]} == {torch.int64}


def test_each_iteration_is_the_next_epoch(split):
    loader = sio.Loader(split, batch_size=10, shuffle=True, augment=AUGMENT, seed=1)
    orders = [torch.cat([batch.indices for batch in loader]).tolist() for _ in range(3)]
    assert all(sorted(order) == list(range(73)) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    loader.set_epoch(1)
    assert torch.cat([batch.indices for batch in loader]).tolist() == orders[1]
    assert torch.cat([batch.indices for batch in loader]).tolist() == orders[2]


def test_an_early_break_moves_on_to_the_next_epoch(split):
    loader, other = (sio.Loader(split, batch_size=10, shuffle=True, seed=1) for _ in range(2))
    next(iter(loader))
    other.set_epoch(1)
    assert same(loader, other)


@pytest.mark.parametrize("order", ["permutation", "independent", "quasi"])
def test_threads_prefetch_and_io_change_nothing(split, order):
    options = {"batch_size": 7, "shuffle": True, "order": order, "augment": AUGMENT, "seed": 9}
    wanted = list(sio.Loader(split, num_threads=1, prefetch_batches=1, **options))
    for num_threads, prefetch, io in itertools.product((1, 2, 7), (1, 5), ("mmap", "pread")):
        loader = sio.Loader(split, num_threads=num_threads, prefetch_batches=prefetch, io=io, **options)
        assert same(loader, wanted)


def test_a_record_looks_the_same_in_any_batch(split):
    """Augmentation depends on (seed, epoch, index) alone."""
    (wide,) = sio.Loader(split, batch_size=73, augment=AUGMENT, seed=2)
    narrow = sio.Loader(split, batch_size=5, shuffle=True, augment=AUGMENT, seed=2)
    for batch in narrow:
        assert torch.equal(batch.images, wide.images[batch.indices])


@pytest.mark.parametrize("order", [None, "permutation", "independent", "quasi"])
def test_resume_at_any_batch(split, order):
    options = {
        "batch_size": 8,
        "shuffle": order is not None,
        "order": order or "permutation",
        "augment": AUGMENT,
    }
    loader = sio.Loader(split, **options)
    loader.set_epoch(3)
    batches, states = [], [loader.state_dict()]
    for batch in loader:
        batches.append(batch)
        states.append(loader.state_dict())
    for done, state in enumerate(states):
        resumed = sio.Loader(split, num_threads=2, **options)
        resumed.load_state_dict(json.loads(json.dumps(state)))
        if done < len(batches):
            assert same(resumed, batches[done:])
        else:  # the epoch is over: the next one begins
            assert resumed.state_dict()["epoch"] == 4
            assert len(list(resumed)) == len(resumed)


def test_resume_on_another_number_of_ranks(split):
    loader = sio.Loader(split, batch_size=8, shuffle=True)
    stream = iter(loader)
    for _ in range(4):
        next(stream)
    state = loader.state_dict()
    rest = list(stream)
    ranks = [sio.Loader(split, batch_size=4, shuffle=True, rank=rank, world_size=2) for rank in range(2)]
    for rank in ranks:
        rank.load_state_dict(state)
    for wanted, first, second in zip(rest, *ranks, strict=True):
        assert torch.equal(wanted.images, torch.cat([first.images, second.images]))
    with pytest.raises(ValueError, match="multiple of the global batch size 5"):
        sio.Loader(split, batch_size=5, shuffle=True).load_state_dict(state)


def test_a_state_of_another_loader_is_refused(split):
    state = sio.Loader(split, batch_size=8, shuffle=True, seed=1).state_dict()
    for wrong in ({"seed": 2}, {"shuffle": False}, {"order": "quasi"}):
        with pytest.raises(ValueError, match="the state must have"):
            sio.Loader(split, **{"batch_size": 8, "shuffle": True, "seed": 1, **wrong}).load_state_dict(state)
    loader = sio.Loader(split, batch_size=8, shuffle=True, seed=1)
    for wrong in (
        *({"position": -8}, {"position": 8000}, {"epoch": "3"}, {"version": 99}, {"version": 1.0}),
        *({"version": True}, {"seed": True}, {"epoch": np.int64(0)}, {"position": np.array([1, 2])}),
        *({"order": np.array(["a", "b"])}, {"position": True}),
    ):
        with pytest.raises(ValueError, match="got"):
            loader.load_state_dict({**state, **wrong})


def test_kept_batches_never_change(split):
    loader = sio.Loader(split, batch_size=10, shuffle=True, augment=AUGMENT, prefetch_batches=2)
    kept = [batch for _ in range(4) for batch in loader]
    copies = [sio.Batch(*(tensor.clone() for tensor in batch)) for batch in kept]
    for _ in range(3):
        list(loader)
    assert same(kept, copies)


def test_tensors_outlive_loader_and_each_other(split):
    loader = sio.Loader(split, batch_size=73, augment=AUGMENT)
    images = next(iter(loader)).images
    wanted = images.clone()
    view = images[3:, :, ::2]
    loader.close()
    del loader, images
    for _ in range(3):
        list(sio.Loader(split, batch_size=73))
    assert torch.equal(view, wanted[3:, :, ::2])


def test_buffers_are_used_again(split):
    loader = sio.Loader(split, batch_size=10, prefetch_batches=2, num_threads=1, drop_last=True)
    places = {batch.images.data_ptr() for _ in range(20) for batch in loader}
    assert len(places) <= 5


def test_memory_stays_flat_over_epochs(tmp_path):
    """20 epochs of 2,000 images, in a process of its own: resident memory grows by less than 4 MB."""
    make_folder(tmp_path / "set", train_files=(2000,), test=0)
    code = f"""
        import os, selfie_io as sio
        def resident():
            return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        split = sio.open_dataset({str(tmp_path / "set")!r}, shape=(3, 32, 32)).train
        loader = sio.Loader(split, batch_size=64, shuffle=True, num_threads=2)
        sizes = [resident() for _ in range(23) for batch in loader][3 * len(loader):]
        assert max(sizes) - sizes[0] < 4 << 20, sizes
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_two_iterators_and_two_loaders_at_once(split):
    first, second = (sio.Loader(split, batch_size=10, shuffle=True, augment=AUGMENT) for _ in range(2))
    second.set_epoch(1)
    epoch0, epoch1 = iter(first), iter(first)
    pairs = list(zip(epoch1, second, strict=True))
    assert same([one for one, _ in pairs], [two for _, two in pairs])
    first.set_epoch(0)
    assert same(epoch0, first)


def test_labels_can_be_replaced(split):
    labels = (split.labels + 1) % 10
    loader = sio.Loader(split, batch_size=10, shuffle=True, labels=labels)
    del labels
    for batch in loader:
        np.testing.assert_array_equal(batch.labels.numpy(), (split.labels[batch.indices.numpy()] + 1) % 10)


def test_drop_last(split):
    assert len(sio.Loader(split, batch_size=10, drop_last=True)) == 7
    assert len(list(sio.Loader(split, batch_size=10, drop_last=True))) == 7
    assert list(sio.Loader(split, batch_size=100, drop_last=True)) == []


# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, r"batch_size must be an integer in 1\.\.[0-9]+, got 0"),
        ({"batch_size": 2.5}, r"batch_size must be an integer in 1\.\.[0-9]+, got 2.5"),
        ({"seed": -1}, "seed must be an integer in 0..18446744073709551615, got -1"),
        ({"dtype": "float64"}, "dtype must be one of float32, float16, bfloat16, uint8, got 'float64'"),
        ({"layout": "CHW"}, "layout must be one of NCHW, NHWC, got 'CHW'"),
        ({"order": "random"}, "order must be one of permutation, independent, quasi, got 'random'"),
        ({"io": "aio"}, "io must be one of auto, mmap, pread, got 'aio'"),
        ({"shuffle": "yes"}, "shuffle must be True or False, got 'yes'"),
        ({"drop_last": 1}, "drop_last must be True or False, got 1"),
        ({"views": 0}, r"views must be an integer in 1\.\.256, got 0"),
        ({"views": 2.0}, r"views must be an integer in 1\.\.256, got 2.0"),
        ({"backend": "gpu"}, "backend must be one of native, dali, resident, got 'gpu'"),
        ({"num_threads": 0}, "num_threads must be an integer of at least 1, got 0"),
        ({"rank": 2, "world_size": 2}, "rank must be an integer in 0..1, got 2"),
        ({"device": "gpu0"}, "device must be"),
        ({"augment": {"pad": 4}}, "augment must be an Augment or None"),
        ({"normalize": "image"}, "normalize must be PerImage"),
        ({"normalize": sio.PerChannel([0.5], [0.5])}, "got 1 for 3 channels"),
        ({"augment": sio.Augment(crop=(33, 32))}, "crop height must be in 1..32 .*, got 33"),
        (
            {"augment": sio.Augment(pad=32, pad_mode="reflect")},
            "pad < height = 32, got pad = 32",
        ),
        ({"labels": [0] * 72}, "labels must be 73 integers, got shape"),
        ({"labels": [0.5] * 73}, "labels must be 73 integers, got .* float64"),
        ({"labels": [0] * 72 + [-1]}, "labels must not be negative, got -1 at index 72"),
    ],
)
def test_wrong_options_are_refused(split, options, message):
    with pytest.raises(ValueError, match=message):
        sio.Loader(split, **{"batch_size": 8, **options})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sio.Augment(pad=-1), r"pad must be an integer in 0\.\.[0-9]+, got -1"),
        (lambda: sio.Augment(crop=(0, 4)), r"crop height must be an integer in 1\.\.[0-9]+, got 0"),
        (lambda: sio.Augment(crop=32), "crop must be .height, width., got 32"),
        (lambda: sio.Augment(flip="both"), "flip must be one of none, random, alternate, got 'both'"),
        (lambda: sio.Augment(pad_mode="edge"), "pad_mode must be one of zeros, reflect, got 'edge'"),
        (lambda: sio.Augment(brightness=float("nan")), "brightness must be finite and not negative, got nan"),
        (lambda: sio.Augment(contrast=(1.8, 0.2)), r"contrast must be .* got \(1.8, 0.2\)"),
        (lambda: sio.Augment(contrast=0), r"contrast must be .* got 0"),
        (lambda: sio.Augment(saturation=()), r"saturation must be .* got \(\)"),
        (lambda: sio.Augment(contrast=(1, 1e39)), r"contrast must be .* <= 1e\+30, got"),
        (lambda: sio.Augment(brightness=1e39), r"brightness must be at most 1e\+30"),
        (lambda: sio.PerChannel([0.5], [1e-320]), "std positive, at least 1e-30"),
        (lambda: sio.PerChannel([0.5], [0.0]), "mean must be finite and std positive"),
        (lambda: sio.PerChannel([0.5, 0.5], [0.5]), "one number per channel"),
        (lambda: sio.PerChannel([125.3], [63.0]), "torchvision's units, .* got .* divide by 255"),
        (lambda: sio.PerChannel([0.5], [63.0]), "divide by 255"),
    ],
)
def test_wrong_augmentations_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_arrays_are_as_good_as_tuples():
    assert sio.Augment(contrast=np.array([0.5, 1.5])) == sio.Augment(contrast=(0.5, 1.5))
    assert sio.Augment(crop=np.array([8, 8])) == sio.Augment(crop=(8, 8))


def test_a_label_out_of_range_is_refused_by_its_batch(tmp_path):
    """Batches before the bad record arrive, its own names file, record and byte, and again next time."""
    images = np.zeros((6, 1, 4, 4))
    write_records(tmp_path / "data_batch_1.bin", range(6), [0, 1, 2, 0, 1, 2], images)
    write_records(tmp_path / "data_batch_2.bin", range(6, 12), [0, 1, 2, 3, 1, 2], images)
    split = sio.open_dataset(tmp_path, shape=(1, 4, 4), num_classes=3).train
    loader = sio.Loader(split, batch_size=3, num_threads=2)
    for _ in range(2):
        stream = iter(loader)
        for _ in range(3):
            next(stream)
        with pytest.raises(ValueError, match=r"data_batch_2.bin: record 3 \(byte 76\): .* 0\.\.2, got 3"):
            next(stream)


def test_an_absurd_label_is_refused_without_a_class_count(tmp_path):
    write_records(tmp_path / "data_batch_1.bin", [0, 1], [0, 2**31], np.zeros((2, 1, 4, 4)))
    split = sio.open_dataset(tmp_path, shape=(1, 4, 4)).train
    with pytest.raises(ValueError, match=r"record 1 \(byte 28\)"):
        list(sio.Loader(split, batch_size=2))
    with pytest.raises(ValueError, match=r"record 1 \(byte 28\)"):
        split.labels  # noqa: B018


@pytest.mark.parametrize("io", ["auto", "mmap", "pread"])
def test_a_file_that_shrinks_is_an_error_not_a_crash(tmp_path, io):
    write_records(tmp_path / "data_batch_1.bin", range(9), [0] * 9, np.zeros((9, 1, 4, 4)))
    split = sio.open_dataset(tmp_path, shape=(1, 4, 4)).train
    loader = sio.Loader(split, batch_size=2, io=io)
    list(loader)
    os.truncate(tmp_path / "data_batch_1.bin", 24 * 4)
    with pytest.raises(OSError, match=r"had 216 bytes .*: record 4 \(byte 96\) can no longer"):
        list(loader)


def test_reprs_show_shapes_dtypes_and_options(split):
    augment = sio.Augment(crop=(30, 27))
    loader = sio.Loader(
        split, batch_size=8, shuffle=True, augment=augment, layout="NHWC", dtype="bfloat16", seed=3
    )
    batch = next(iter(loader))
    assert repr(batch) == (
        "Batch(images=bfloat16 (8, 30, 27, 3), labels=int64 (8,), record_ids=int64 (8,), indices=int64 (8,), "
        "device='cpu')"
    )
    text = repr(loader)
    for part in (
        "73 records", "10 batches of 8", "bfloat16 NHWC (8, 30, 27, 3)", "order='permutation', seed=3",
        "crop=(30, 27)", "PerImage()", "backend='native'", "num_threads=", "epoch=0, batch=1",
    ):  # fmt: skip
        assert part in text
    loader.close()
    assert "closed" in repr(loader)


def test_faces_of_torch(split):
    """Torch's dtypes, the names of its DataLoader, and a batch's way to a device."""
    loader = sio.Loader(split, batch_size=8, dtype=torch.float16)
    assert (loader.batch_size, loader.dataset, loader.options.dtype) == (8, split, "float16")
    batch = next(iter(loader))
    assert batch.images.dtype == torch.float16
    assert same([batch.to("cpu")], [batch])
    assert batch.to("meta").images.device.type == "meta"
    with pytest.raises(ValueError, match="got 'float64'"):
        sio.Loader(split, dtype=torch.float64)
    for mean, std in (sio.CIFAR10_MEAN_STD, sio.IMAGENET_MEAN_STD):
        assert len(sio.PerChannel(mean, std).mean) == 3


def test_a_closed_loader_says_so(split):
    with sio.Loader(split, batch_size=8) as loader:
        kept = next(iter(loader))
    loader.close()
    with pytest.raises(RuntimeError, match="the loader is closed"):
        iter(loader)
    assert kept.images.shape == (8, 3, 32, 32)


# Threads, processes, signals
