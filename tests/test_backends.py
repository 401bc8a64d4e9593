"""What every backend must do, held against the native one, which is held against the slow reference."""

import itertools
import pickle

import backend_checks
import numpy as np
import pytest
import torch
from backend_checks import EVERYTHING, expect_as_native, expect_same, open_train

import selfie_io as sio

EVERY_WINDOW_SEED, EVERY_WINDOW_RECORDS = 818, 502  # the draws of these records have each window and flip


@pytest.fixture(params=["resident", "dali", "dali, finished by torch"])
def backend(request, monkeypatch):
    """A backend's name. On a GPU torch finishes what DALI cuts; a CPU does so when it is told to."""
    name, _, by_torch = request.param.partition(", ")
    if name == "dali":
        backend_checks.need_dali()
    if by_torch:
        monkeypatch.setattr("selfie_io.loading.dali._core_can_finish", lambda _: False)
    return name


def normalizations(channels):
    """All kinds of normalisation for images of so many channels."""
    return [
        None,
        sio.PerImage(),
        sio.PerChannel([0.49, 0.48, 0.45][:channels], [0.25, 0.24, 0.26][:channels]),
    ]


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 64, 64)], ids=str)
def test_every_window(tmp_path, backend, shape):
    """Each of 81 crop places and 2 flips, both paddings, all normalisations, two dtypes, both layouts."""
    split = open_train(tmp_path / "set", shape, (300, EVERY_WINDOW_RECORDS - 300))
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


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "uint8"])
def test_every_option(tmp_path, backend, dtype):
    """What the windows leave out: no augmentation, photometry, cutout, small and large windows."""
    backend_checks.check_every_option(tmp_path, backend, dtype)


def test_orders_ranks_and_labels(tmp_path, backend):
    """Also ranks whose part of the last batch is empty, and loaders that never have a whole batch."""
    split = open_train(tmp_path / "set")
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


def test_epochs_and_resume(tmp_path, backend):
    """Resuming at any batch, leaving early, and a pickled loader."""
    split = open_train(tmp_path / "set")
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


def test_loaders_side_by_side(tmp_path, backend):
    """Two loaders, and two iterations of one, do not disturb each other."""
    split = open_train(tmp_path / "set")
    options = {"batch_size": 9, "shuffle": True, "augment": EVERYTHING}
    one, two = (sio.Loader(split, backend=backend, seed=seed, **options) for seed in (1, 2))
    natives = [sio.Loader(split, seed=seed, **options) for seed in (1, 1, 2)]
    wanted = [list(natives[0]), None, list(natives[2])]
    natives[1].set_epoch(1)
    wanted[1] = list(natives[1])
    rows = list(zip(one, one, two, strict=True))
    for column, batches in enumerate(wanted):
        expect_same([row[column] for row in rows], batches)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("augment", [None, sio.Augment(pad=4, pad_mode="reflect")], ids=["plain", "reflect"])
def test_kept_batches_stay(tmp_path, backend, augment, dtype):
    """Also bytes that torch takes as they are out of DALI's memory."""
    split = open_train(tmp_path / "set")
    options = {"augment": augment, "normalize": None, "dtype": dtype, "batch_size": 4, "shuffle": True}
    loader = sio.Loader(split, backend=backend, **options)
    kept, copies = [], []
    for _ in range(3):
        for batch in loader:
            kept.append(batch)
            copies.append([tensor.clone() for tensor in batch])
    loader.close()
    for batch, copy in zip(kept, copies, strict=True):
        assert all(map(torch.equal, batch, copy))


def test_labels_and_ids_are_read_with_their_images(tmp_path, backend, monkeypatch):
    """Nothing asks for those of the whole split: for large ones that takes long, and much memory."""
    split = open_train(tmp_path / "set")
    options = {"batch_size": 16, "shuffle": True}
    wanted = list(sio.Loader(split, **options))

    def refuse(_):
        raise AssertionError("somebody asked for every header")

    monkeypatch.setattr(sio.RecordSplit, "_headers", property(refuse))
    expect_same(sio.Loader(split, backend=backend, **options), wanted)


def test_a_wrong_label_is_named_with_its_place(tmp_path, backend):
    split = open_train(tmp_path / "set")
    with split.files[1].open("r+b") as file:
        file.seek(5 * 3080 + 4)
        file.write(b"\xff\xff\xff\xff")
    with pytest.raises(ValueError, match=r"data_batch_2\.bin: record 5 \(byte 15404\).*got 4294967295"):
        list(sio.Loader(split, batch_size=16, backend=backend))


@pytest.mark.parametrize("backend", ["resident", "dali"], indirect=True)
def test_forked_children_raise(tmp_path, backend):
    """Within reach of the parent's iteration, with a new loader, and at exit: an error and no waiting."""
    open_train(tmp_path / "set")
    output = backend_checks.run_program(
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
        tmp_path / "set",
        backend,
    )
    assert output.split() == ["raised"] * 3 + ["65"]
