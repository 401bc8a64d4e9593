"""Several views of a record in one batch: each with draws of its own, the first as if it were alone."""

import itertools

import numpy as np
import pytest
import reference
import torch
from backend_checks import EVERYTHING, expect_as_native, expect_same, need_dali, open_train

import selfie_io as sio


@pytest.fixture
def split(tmp_path):
    return open_train(tmp_path / "set")


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_every_view_is_the_reference(split, layout):
    options = {"augment": EVERYTHING, "seed": 2**40, "layout": layout}
    loader = sio.Loader(split, batch_size=3, views=3, shuffle=True, **options)
    loader.set_epoch(6)
    batch = next(iter(loader))
    shape = (30, 27, 3) if layout == "NHWC" else (3, 30, 27)
    assert batch.images.shape == (3, 3, *shape)
    assert [len(values) for values in batch[1:]] == [3, 3, 3]
    for view, place in itertools.product(range(3), range(3)):
        index = int(batch.indices[place])
        drawn = reference.draw(EVERYTHING, (3, 32, 32), 2**40, 6, index, view)
        draws = loader.draws(6, [index], view)
        reference.expect_draw(draws, 0, drawn)
        pixels = split.images([index])[0]
        wanted = reference.image(pixels, EVERYTHING, drawn, sio.PerImage(), "float32", layout)
        np.testing.assert_array_equal(batch.images[view, place].numpy(), wanted)


@pytest.mark.parametrize("flip", ["random", "alternate"])
def test_views_do_not_depend_on_batches_threads_or_their_number(split, flip):
    options = {"augment": sio.Augment(pad=4, flip=flip, cutout=5), "seed": 3}
    (alone,) = sio.Loader(split, batch_size=73, **options)
    (three,) = sio.Loader(split, batch_size=73, views=3, **options)
    assert torch.equal(three.images[0], alone.images)
    assert not torch.equal(three.images[1], alone.images)
    for batch in sio.Loader(split, batch_size=10, views=2, num_threads=3, shuffle=True, **options):
        assert torch.equal(batch.images, three.images[:2, batch.indices])
        assert batch.images.is_contiguous()


def test_views_resume_and_ranks(split):
    options = {"views": 2, "shuffle": True, "augment": EVERYTHING}
    loader = sio.Loader(split, batch_size=8, **options)
    iterator = iter(loader)
    first = next(iterator)
    state = loader.state_dict()
    rest = list(iterator)
    resumed = sio.Loader(split, batch_size=8, **options)
    resumed.load_state_dict(state)
    expect_same(resumed, rest)
    parts = [next(iter(sio.Loader(split, batch_size=4, rank=r, world_size=2, **options))) for r in (0, 1)]
    assert torch.equal(torch.cat([part.images for part in parts], dim=1), first.images)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("backend", ["resident", "dali"])
def test_every_backend_has_views(split, backend, dtype):
    if backend == "dali":
        need_dali()
    for augment, normalize in itertools.product(
        (None, EVERYTHING, sio.Augment(cutout=9)), (None, sio.PerImage())
    ):
        expect_as_native(
            split, backend, views=3, augment=augment, normalize=normalize, dtype=dtype, batch_size=16, seed=1
        )


def test_streamed_views_are_the_same(tmp_path):
    split = open_train(tmp_path / "set", (3, 64, 64), (30,))
    options = {"batch_size": 30, "views": 2, "normalize": None, "augment": sio.Augment(pad=4, flip="random")}
    expect_same(sio.Loader(split, prefetch_batches=10_000, **options), sio.Loader(split, **options))


def test_a_view_that_there_is_not_is_refused(split):
    loader = sio.Loader(split, views=2)
    for view in (2, -1, "first"):
        with pytest.raises(ValueError, match=r"view must be an integer in 0\.\.1, got"):
            loader.draws(0, [0], view)
