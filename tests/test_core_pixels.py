"""Gathering records and decoding them afterwards gives the batches of the one-step decoder."""

import itertools

import numpy as np
import pytest
import torch
from backend_checks import AUGMENTATIONS, expect_same, open_train

import selfie_io as sio
from selfie_io import _core
from selfie_io.loading.core_pixels import CorePixels
from selfie_io.loading.reader import Records, make_plan

SEED, EPOCH = 5, 3


def cases(channels):
    plain = [None, sio.PerImage(), sio.PerChannel([0.4] * channels, [0.2] * channels)]
    return itertools.product(AUGMENTATIONS, plain, ("NCHW", "NHWC"))


def windows(split, augment):
    """The images of a split, only padded, cropped and flipped: uint8 (N, C, h, w)."""
    if augment is not None:
        augment = sio.Augment(
            pad=augment.pad, crop=augment.crop, flip=augment.flip, pad_mode=augment.pad_mode
        )
    loader = sio.Loader(
        split, batch_size=len(split), augment=augment, normalize=None, dtype="uint8", seed=SEED
    )
    loader.set_epoch(EPOCH)
    return next(iter(loader)).images


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "uint8"])
@pytest.mark.parametrize("shape", [(3, 32, 32), (5, 38, 33), (1, 64, 64)], ids=str)
def test_images_and_windows_become_the_native_batches(tmp_path, shape, dtype):
    split = open_train(tmp_path / "set", shape, (9, 4))
    for augment, normalize, layout in cases(shape[0]):
        loader = sio.Loader(
            split, batch_size=6, shuffle=True, augment=augment, normalize=normalize, dtype=dtype,
            layout=layout, seed=SEED,
        )  # fmt: skip
        loader.set_epoch(EPOCH)
        reader = loader._reader
        cut = windows(split, augment)
        whole, of_windows = (CorePixels(reader, are_windows=choice) for choice in (False, True))
        for number, native in enumerate(loader):
            indices = reader.indices(EPOCH, number)
            gathered = np.empty((indices.size, *shape), np.uint8)
            records = Records(
                indices, *reader.gather(indices, gathered), reader.draws_of_views(EPOCH, indices)
            )
            expect_same([whole.batch(torch.from_numpy(gathered), EPOCH, records)], [native])
            expect_same([of_windows.batch(cut[indices].contiguous(), EPOCH, records)], [native])


def test_streamed_images_are_the_same(tmp_path):
    """Batches that together exceed the caches go past them."""
    split = open_train(tmp_path / "set", (3, 64, 64), (30,))
    reader = sio.Loader(split, batch_size=30, prefetch_batches=10_000)._reader
    indices, pixels = np.arange(30), np.empty((30, 3, 64, 64), np.uint8)
    records = Records(indices, *reader.gather(indices, pixels), reader.draws_of_views(0, indices))
    work = CorePixels(reader, are_windows=True)
    expect_same([work.batch(torch.from_numpy(pixels), 0, records)], sio.Loader(split, batch_size=30))


def test_memory_is_used_again_once_nobody_holds_it(tmp_path):
    loader = sio.Loader(open_train(tmp_path / "set"), batch_size=8, normalize=None)
    work = CorePixels(loader._reader, are_windows=True)
    indices = np.arange(8)
    records = Records(indices, indices, indices, (loader.draws(0, indices),))

    def images(value):
        return work.batch(torch.full((8, 3, 32, 32), value, dtype=torch.uint8), 0, records).images

    first = images(1)
    place, row = first.data_ptr(), first[3]
    del first
    second = images(2)
    assert second.data_ptr() != place
    assert (row == 1).all()
    del row
    assert images(3).data_ptr() == place
    assert (second == 2).all()


def test_what_is_wrong_is_refused(tmp_path):
    split = open_train(tmp_path / "set")
    files = split.open_files("mmap")
    plan = sio.Loader(split, batch_size=2)._reader.plan
    pool = _core.BufferPool(plan=plan, batch_size=2, spare_buffers=1)
    out = np.empty((3, 3, 32, 32), np.uint8)
    for indices in (np.arange(2), np.arange(4), np.arange(3).reshape(3, 1)):
        with pytest.raises(ValueError, match="one image per index"):
            files.gather(indices, out)
        with pytest.raises(ValueError, match="one image per index"):
            plan.decode(pool, 0, 0, indices, out)
    for index in (-1, 73):
        with pytest.raises(IndexError, match=rf"must be in 0\.\.72, got {index}"):
            files.gather(np.array([0, 1, index]), out)
    with pytest.raises(ValueError, match="must fit the pool's buffers, got 3 records"):
        plan.decode(pool, 0, 0, np.arange(3), out)
    for wrong in (out[:, :, ::2].repeat(2, 2)[:, ::-1], out.astype(np.int16), out.view(np.int8)):
        with pytest.raises(TypeError):
            plan.decode(pool, 0, 0, np.arange(3), wrong)


def test_plan_options_are_complete_and_known(tmp_path, monkeypatch):
    """Each option must be given, by its name and of its type."""
    loader, taken = sio.Loader(open_train(tmp_path / "set")), {}
    monkeypatch.setattr(_core, "PixelPlan", lambda **options: taken.update(options))
    make_plan(loader.split.layout, loader.options)
    monkeypatch.undo()
    _core.PixelPlan(**taken)
    for name in taken:
        rest = {key: value for key, value in taken.items() if key != name}
        with pytest.raises(TypeError, match=f"PixelPlan needs the option {name}"):
            _core.PixelPlan(**rest)
        with pytest.raises(TypeError, match=f"PixelPlan cannot take {name} = <object"):
            _core.PixelPlan(**{**taken, name: object()})
    with pytest.raises(TypeError, match="PixelPlan has no option colour"):
        _core.PixelPlan(**taken, colour=1)
