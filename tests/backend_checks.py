"""What every backend must do, held against the native one, which is held against the slow reference."""

import itertools
import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_folder

import selfie_io as sio

EVERYTHING = sio.Augment(
    pad=4, crop=(30, 27), flip="random", brightness=63.0, contrast=(0.2, 1.8), cutout=9, pad_mode="reflect"
)
SHAPES = [(3, 32, 32), (1, 28, 28), (3, 64, 64)]
EVERY_WINDOW_SEED, EVERY_WINDOW_RECORDS = 818, 502  # the draws of these records have each window and flip


def normalizations(channels):
    """All kinds of normalisation for pictures of so many channels."""
    return [
        None,
        sio.PerImage(),
        sio.PerChannel([0.49, 0.48, 0.45][:channels], [0.25, 0.24, 0.26][:channels]),
    ]


def open_train(folder, shape=(3, 32, 32), train_files=(40, 33)):
    make_folder(folder, shape=shape, train_files=train_files, test=0)
    return sio.open_dataset(folder, shape=shape).train


def expect_same(batches, wanted):
    """Every tensor of every batch to the bit, and of the same kind."""
    for batch, native in itertools.zip_longest(batches, wanted):
        for name, tensor, other in zip(batch._fields, batch, native, strict=True):
            assert tensor.dtype == other.dtype, name
            assert tensor.is_contiguous(), name
            assert torch.equal(tensor, other), name


def expect_as_native(split, backend, **options):
    expect_same(sio.Loader(split, backend=backend, **options), sio.Loader(split, **options))


def check_every_window(folder, backend, shape):
    """Each of 81 crop places and 2 flips, both paddings, all normalisations, two dtypes, both layouts."""
    split = open_train(folder, shape, (300, EVERY_WINDOW_RECORDS - 300))
    for pad_mode in ("zeros", "reflect"):
        augment = sio.Augment(pad=4, flip="random", pad_mode=pad_mode)
        options = {"augment": augment, "seed": EVERY_WINDOW_SEED, "batch_size": 128}
        draws = sio.Loader(split, **options).draws(0, np.arange(len(split)))
        seen = set(zip(draws.top.tolist(), draws.left.tolist(), draws.flip.tolist(), strict=True))
        assert seen == set(itertools.product(range(-4, 5), range(-4, 5), (False, True)))
        for normalize, dtype, layout in itertools.product(
            normalizations(shape[0]), ("float32", "float16"), ("NCHW", "NHWC")
        ):
            expect_as_native(split, backend, normalize=normalize, dtype=dtype, layout=layout, **options)


def check_every_option(folder, backend, dtype):
    """What the windows leave out: no augmentation, photometry, cutout, small and large windows."""
    for shape in ((3, 32, 32), (5, 38, 33)):
        split = open_train(folder / str(shape[0]), shape, (9, 4))
        augmentations = [
            None,
            EVERYTHING,
            sio.Augment(pad=9, crop=(20, 9), brightness=20.0, flip="alternate"),
            sio.Augment(crop=(7, 30), contrast=(0.5, 1.5), cutout=6),
            sio.Augment(pad=40, crop=(5, 4)),  # windows wholly inside the padding
        ]
        plain = [None, sio.PerImage(), sio.PerChannel([0.4] * shape[0], [0.2] * shape[0])]
        for augment, normalize, layout in itertools.product(augmentations, plain, ("NCHW", "NHWC")):
            expect_as_native(
                split, backend, augment=augment, normalize=normalize, dtype=dtype, layout=layout,
                batch_size=6, shuffle=True, seed=3,
            )  # fmt: skip


def check_orders_ranks_and_labels(split, backend):
    """Also ranks whose part of the last batch is empty, and loaders that never have a whole batch."""
    labels = np.arange(len(split)) % 10
    for order, drop_last in itertools.product(("permutation", "independent", "quasi"), (False, True)):
        for world_size, batch_size in ((1, 32), (3, 8), (2, 100)):
            for rank in range(world_size):
                expect_as_native(
                    split, backend, shuffle=True, order=order, drop_last=drop_last, labels=labels, seed=2,
                    batch_size=batch_size, rank=rank, world_size=world_size,
                )  # fmt: skip
    parts = [len(split) + 3, len(split) + 2]  # more ranks than records: empty all the way, or nearly
    expect_as_native(split, backend, batch_size=1, world_size=parts[0], rank=parts[1])


def check_epochs_and_resume(split, backend):
    options = {"batch_size": 10, "shuffle": True, "augment": sio.Augment(pad=4, flip="alternate"), "seed": 6}
    loader, native = (sio.Loader(split, backend=name, **options) for name in (backend, "native"))
    epochs = [list(native) for _ in range(3)]
    for wanted in epochs[:2]:
        expect_same(loader, wanted)
    for number in range(len(loader)):
        loader.set_epoch(1)
        iterator = iter(loader)
        expect_same(itertools.islice(iterator, number), epochs[1][:number])
        other = sio.Loader(split, backend=backend, **options)
        other.load_state_dict(loader.state_dict())
        expect_same(other, epochs[1][number:])
        expect_same(iterator, epochs[1][number:])
    loader.set_epoch(1)
    for _ in loader:
        break
    expect_same(loader, epochs[2])
    loader.set_epoch(2)
    expect_same(pickle.loads(pickle.dumps(loader)), epochs[2])


def check_loaders_side_by_side(split, backend):
    """Two loaders, and two iterations of one, do not disturb each other."""
    options = {"batch_size": 9, "shuffle": True, "augment": EVERYTHING}
    one, two = (sio.Loader(split, backend=backend, seed=seed, **options) for seed in (1, 2))
    natives = [sio.Loader(split, seed=seed, **options) for seed in (1, 1, 2)]
    wanted = [list(natives[0]), None, list(natives[2])]
    natives[1].set_epoch(1)
    wanted[1] = list(natives[1])
    rows = list(zip(one, one, two, strict=True))
    for column, batches in enumerate(wanted):
        expect_same([row[column] for row in rows], batches)


def check_kept_batches_stay(split, backend, **options):
    loader = sio.Loader(split, batch_size=4, shuffle=True, backend=backend, **options)
    kept, copies = [], []
    for _ in range(3):
        for batch in loader:
            kept.append(batch)
            copies.append([tensor.clone() for tensor in batch])
    loader.close()
    for batch, copy in zip(kept, copies, strict=True):
        assert all(map(torch.equal, batch, copy))


def check_damage_reaches_the_caller(folder, backend):
    split = open_train(folder, train_files=(40,))
    loader = sio.Loader(split, batch_size=2, backend=backend, prefetch_batches=1)
    os.truncate(split.files[0], 3080 * 20)
    with pytest.raises(ValueError, match=r"data_batch_1\.bin.*61600"):
        list(loader)


def run_program(program, *arguments):
    """A Python program in a process of its own; what it prints. It must end, and in good order."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(program), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def check_forked_children_raise(folder, backend):
    """Within reach of the parent's iteration, with a new loader, and at exit: an error and no waiting."""
    open_train(folder)
    output = run_program(
        """
        import os, sys
        import selfie_io as sio

        split = sio.open_dataset(sys.argv[1], shape=(3, 32, 32)).train
        options = {"batch_size": 8, "augment": sio.Augment(pad=4), "backend": sys.argv[2]}
        loader = sio.Loader(split, **options)
        iterator = iter(loader)
        next(iterator)
        if os.fork() == 0:
            new = lambda: sio.Loader(split, **options)
            for attempt in (lambda: next(iterator), lambda: next(iter(loader)), new):
                try:
                    attempt()
                except RuntimeError as error:
                    assert "survive a fork" in str(error)
                    print("raised", flush=True)
            del iterator, loader
            sys.exit()
        assert os.wait()[1] == 0
        print(sum(len(batch.labels) for batch in iterator))
        """,
        folder,
        backend,
    )
    assert output.split() == ["raised"] * 3 + ["65"]
