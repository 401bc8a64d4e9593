"""The orders of an epoch: against the slow reference, each record once, cut for ranks without loss."""

import numpy as np
import pytest
import reference
from conftest import make_folder
from hypothesis import given, settings
from hypothesis import strategies as st

import selfie_io as sio
from selfie_io import _core
from selfie_io.loading.order import EpochSlices


def core_order(kind, size, seed, epoch, global_batch_size=1, block=1, window=1):
    return _core.EpochOrder(
        kind=kind,
        num_records=size,
        seed=seed,
        epoch=epoch,
        global_batch_size=global_batch_size,
        block_records=block,
        window_records=window,
    )


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["sequential", "permutation", "independent", "quasi"]),
    size=st.integers(1, 300),
    seed=st.integers(0, 2**64 - 1),
    epoch=st.integers(0, 2**32 - 1),
    data=st.data(),
)
def test_equals_the_reference(kind, size, seed, epoch, data):
    batch = data.draw(st.integers(1, size))
    block = data.draw(st.integers(1, 40))
    window = block * data.draw(st.integers(1, 5))
    wanted = reference.epoch_order(kind, size, seed, epoch, batch, block, window)
    order = core_order(kind, size, seed, epoch, batch, block, window)
    assert len(order) == len(wanted)
    assert order.indices(0, len(order)).tolist() == wanted
    start = data.draw(st.integers(0, len(wanted)))
    count = data.draw(st.integers(0, len(wanted) - start))
    assert order.indices(start, count).tolist() == wanted[start : start + count]
    if kind != "independent":
        assert sorted(wanted) == list(range(size))


def test_independent_draws_do_not_repeat_within_a_batch():
    order = core_order("independent", 50, 1, 0, global_batch_size=20)
    assert len(order) == 60
    for draw in order.indices(0, 60).reshape(3, 20):
        assert len(set(draw.tolist())) == 20


@pytest.mark.parametrize("size", [3, 5, 8])
def test_small_shuffles_are_fair(size):
    """Over many epochs each record stands at each position equally often: chi-square within its range."""
    epochs = 6000
    counts = np.zeros((size, size))
    for epoch in range(epochs):
        counts[np.arange(size), core_order("permutation", size, 7, epoch).indices(0, size)] += 1
    statistic = ((counts - epochs / size) ** 2 / (epochs / size)).sum()
    freedom = (size - 1) ** 2
    assert statistic < freedom + 6 * np.sqrt(2 * freedom)


def test_a_shuffle_has_no_memory_of_the_disk():
    """Neighbours on disk come out far apart: on average a third of the epoch."""
    size = 100_000
    order = core_order("permutation", size, 3, 0).indices(0, size)
    place = np.empty(size, np.int64)
    place[order] = np.arange(size)
    assert abs(np.abs(np.diff(place)).mean() / size - 1 / 3) < 0.01
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.02


def test_sizes_beyond_memory_cost_nothing():
    """A shuffle of 2^40 records starts anywhere at once."""
    size = 2**40 + 12345
    picked = core_order("permutation", size, 0, 0).indices(size - 1000, 1000)
    assert len(set(picked.tolist())) == 1000
    assert picked.min() >= 0
    assert picked.max() < size
    assert picked.max() > 2**39


def test_bad_orders_and_positions_are_refused():
    with pytest.raises(ValueError, match="order must be one of sequential, permutation, independent, quasi"):
        core_order("random", 10, 0, 0)
    sizes = [("size", 0), ("global_batch_size", 0), ("global_batch_size", 11), ("block", 0), ("window", 0)]
    for name, value in sizes:
        with pytest.raises(ValueError, match="an order needs records"):
            core_order(**{"kind": "quasi", "size": 10, "seed": 0, "epoch": 0, name: value})
    with pytest.raises(IndexError, match=r"positions must lie in 0\.\.10"):
        core_order("permutation", 10, 0, 0).indices(5, 6)


@settings(max_examples=300, deadline=None)
@given(
    size=st.integers(1, 500),
    batch_size=st.integers(1, 70),
    world_size=st.integers(1, 9),
    drop_last=st.booleans(),
    whole_draws=st.booleans(),
)
def test_ranks_share_out_every_global_batch(size, batch_size, world_size, drop_last, whole_draws):
    ranks = [
        EpochSlices(size, batch_size, rank, world_size, drop_last, whole_draws) for rank in range(world_size)
    ]
    assert len({slices.num_batches for slices in ranks}) == 1
    end = 0
    for batch in range(ranks[0].num_batches):
        counts = []
        for slices in ranks:
            start, count = slices[batch]
            assert start == end
            end += count
            counts.append(count)
        assert max(counts) <= batch_size
        assert max(counts) - min(counts) <= 1
        assert sum(counts) > 0
    whole = batch_size * world_size
    if whole_draws:
        draw = min(whole, size)
        assert end == (size // draw if drop_last else -(-size // draw)) * draw
    else:
        assert end == (size // whole * whole if drop_last else size)


@pytest.mark.parametrize("order", ["permutation", "independent", "quasi"])
def test_ranks_together_are_one_loader(tmp_path, order):
    """The ranks' batches, put side by side, are the batches of one loader with the global batch size."""
    make_folder(tmp_path / "set", train_files=(101,), test=0, shape=(1, 4, 4))
    split = sio.open_dataset(tmp_path / "set", shape=(1, 4, 4)).train
    options = {"shuffle": True, "order": order, "augment": sio.Augment(pad=2, flip="random"), "seed": 5}
    whole = list(sio.Loader(split, batch_size=12, **options))
    parts = [sio.Loader(split, batch_size=3, rank=rank, world_size=4, **options) for rank in range(4)]
    for one, *shared in zip(whole, *parts, strict=True):
        for field in one._fields:
            joined = np.concatenate([getattr(part, field).numpy() for part in shared])
            np.testing.assert_array_equal(joined, getattr(one, field).numpy())


def test_a_rank_may_get_nothing_of_a_short_last_batch(tmp_path):
    make_folder(tmp_path / "set", train_files=(9,), test=0, shape=(1, 4, 4))
    split = sio.open_dataset(tmp_path / "set", shape=(1, 4, 4)).train
    sizes = [
        [len(batch.indices) for batch in sio.Loader(split, batch_size=2, rank=rank, world_size=4)]
        for rank in range(4)
    ]
    assert sizes == [[2, 0], [2, 0], [2, 0], [2, 1]]
