"""Part of a split and drawing by weight: order, ranks, resume and draws are those of the whole split."""

import itertools
import json
import pickle

import numpy as np
import pytest
import reference
import torch
from backend_checks import expect_as_native, expect_same, need_dali, open_train
from hypothesis import given, settings
from hypothesis import strategies as st

import selfie_io as sio
from selfie_io import _core

AUGMENT = sio.Augment(pad=4, flip="random", brightness=20.0)
CHOSEN = np.array([70, 3, 41, 0, 12, 13, 14, 55, 60, 39, 40, 72, 8])


@pytest.fixture
def split(tmp_path):
    return open_train(tmp_path / "set")


def order_of(loader):
    return torch.cat([batch.indices for batch in loader]).tolist()


@settings(max_examples=100, deadline=None)
@given(
    kind=st.sampled_from(["sequential", "permutation", "independent", "quasi"]),
    size=st.integers(1, 200),
    seed=st.integers(0, 2**64 - 1),
    epoch=st.integers(0, 2**32 - 1),
    data=st.data(),
)
def test_orders_of_a_part_equal_the_reference(kind, size, seed, epoch, data):
    members = sorted(data.draw(st.sets(st.integers(0, size - 1), min_size=1)))
    sizes = {"block": data.draw(st.integers(1, 40))}
    sizes["window"] = sizes["block"] * data.draw(st.integers(1, 5))
    sizes["global_batch_size"] = data.draw(st.integers(1, len(members)))
    wanted = reference.subset_order(kind, members, size, seed, epoch, **sizes)
    order = _core.EpochOrder(
        kind=kind, num_records=size, seed=seed, epoch=epoch, global_batch_size=sizes["global_batch_size"],
        block_records=sizes["block"], window_records=sizes["window"], members=np.array(members),
    )  # fmt: skip
    assert len(order) == len(wanted)
    assert order.indices(0, len(order)).tolist() == wanted
    start = data.draw(st.integers(0, len(wanted)))
    assert order.indices(start, len(wanted) - start).tolist() == wanted[start:]


@settings(max_examples=100, deadline=None)
@given(
    weights=st.lists(st.sampled_from([0.0, 0.0, 1e-9, 0.1, 1.0, 7.5, 1e12]), min_size=1, max_size=60).filter(
        any
    ),
    seed=st.integers(0, 2**64 - 1),
    epoch=st.integers(0, 2**32 - 1),
)
def test_weighted_draws_equal_the_reference(weights, seed, epoch):
    order = _core.EpochOrder(
        kind="permutation", num_records=len(weights), seed=seed, epoch=epoch, global_batch_size=1,
        block_records=1, window_records=1, weight_totals=np.cumsum(weights),
    )  # fmt: skip
    drawn = order.indices(0, len(order)).tolist()
    assert drawn == reference.weighted_order(weights, seed, epoch)
    assert all(weights[index] > 0 for index in drawn)


def test_weights_give_the_shares_that_they_ask_for(split):
    weights = np.zeros(73)
    weights[[2, 50, 71]] = 1, 2, 5
    loader = sio.Loader(split, weights=weights, batch_size=73)
    drawn = np.concatenate([order_of(loader) for _ in range(200)])
    counts = np.bincount(drawn, minlength=73)
    expected = 73 * 200 * weights / 8
    assert (counts[expected == 0] == 0).all()
    used = expected > 0
    assert ((counts[used] - expected[used]) ** 2 / expected[used]).sum() < 30  # chi-square, 2 degrees


@pytest.mark.parametrize("order", [None, "permutation", "independent", "quasi"])
def test_a_part_has_the_images_and_the_order_of_the_whole(split, order):
    options = {"shuffle": order is not None, "order": order or "permutation", "augment": AUGMENT, "seed": 4}
    loader = sio.Loader(split, indices=CHOSEN, batch_size=4, **options)
    (whole,) = sio.Loader(split, batch_size=73, augment=AUGMENT, seed=4)
    batches = list(loader)
    assert len(batches) == len(loader) == 4
    for batch in batches:
        assert torch.equal(batch.images, whole.images[batch.indices])
        assert torch.equal(batch.labels, whole.labels[batch.indices])
        assert torch.equal(batch.record_ids, whole.record_ids[batch.indices])
    if order != "independent":
        everything = order_of(sio.Loader(split, batch_size=4, **options))
        assert torch.cat([batch.indices for batch in batches]).tolist() == [
            index for index in everything if index in CHOSEN
        ]
    shuffled = np.random.default_rng(0).permutation(CHOSEN)
    expect_same(sio.Loader(split, indices=shuffled, batch_size=4, **options), batches)
    expect_same(sio.Loader(split.subset(shuffled), batch_size=4, **options), batches)


@pytest.mark.parametrize(
    "options",
    [{"order": "permutation"}, {"order": "quasi"}, {"order": "independent"}, {"weights": np.arange(73)}],
    ids=str,
)
def test_ranks_resume_and_pickling(split, options):
    options = {"shuffle": True, "augment": AUGMENT, "seed": 5, "indices": CHOSEN, **options}
    loader = sio.Loader(split, batch_size=4, **options)
    loader.set_epoch(2)
    batches, states = [], [loader.state_dict()]
    for batch in loader:
        batches.append(batch)
        states.append(loader.state_dict())
    ranks = [sio.Loader(split, batch_size=2, rank=rank, world_size=2, **options) for rank in range(2)]
    for rank in ranks:
        rank.set_epoch(2)
    for one, *parts in zip(batches, *ranks, strict=True):
        assert torch.equal(torch.cat([part.images for part in parts]), one.images)
    for done, state in enumerate(states[:-1]):
        resumed = sio.Loader(split, batch_size=4, num_threads=2, **options)
        resumed.load_state_dict(json.loads(json.dumps(state)))
        expect_same(pickle.loads(pickle.dumps(resumed)), batches[done:])


def test_a_state_of_other_records_is_refused(split):
    state = sio.Loader(split, indices=CHOSEN).state_dict()
    for wrong in (CHOSEN[1:], np.arange(CHOSEN.size), None):
        with pytest.raises(ValueError, match=r"the state must have (num_records|indices)"):
            sio.Loader(split, indices=wrong).load_state_dict(state)
    state = sio.Loader(split, weights=np.arange(73)).state_dict()
    for wrong in (np.arange(73)[::-1], None):
        with pytest.raises(ValueError, match=r"the state must have (order|weights)"):
            sio.Loader(split, weights=wrong).load_state_dict(state)
    whole = sio.Loader(split).state_dict()
    assert not {"indices", "weights"} & set(whole)


def test_a_subset_is_a_split(split):
    subset = split.subset(CHOSEN.tolist())
    assert len(subset) == CHOSEN.size
    assert subset.whole is split
    np.testing.assert_array_equal(subset.indices, CHOSEN)
    np.testing.assert_array_equal(subset.labels, split.labels[CHOSEN])
    np.testing.assert_array_equal(subset.record_ids, split.record_ids[CHOSEN])
    np.testing.assert_array_equal(subset.images([41, 3]), split.images([41, 3]))
    image, label = subset[1]
    assert torch.equal(image, torch.from_numpy(split.images([3])[0]))
    assert label == split.labels[3]
    assert torch.equal(subset[-1][0], split[8][0])
    data_loader = torch.utils.data.DataLoader(subset, batch_size=13)
    ((images, labels),) = data_loader
    np.testing.assert_array_equal(images.numpy(), split.images(CHOSEN))
    np.testing.assert_array_equal(labels.numpy(), subset.labels)
    part = subset.subset([41, 70])
    assert order_of(sio.Loader(part)) == [41, 70]
    copy = pickle.loads(pickle.dumps(part))
    assert order_of(sio.Loader(copy)) == [41, 70]
    assert "subset(13 indices)" in repr(subset)
    for index in (73, 1):
        with pytest.raises(IndexError, match=f"got {index}"):
            subset.images([index])
    with pytest.raises(IndexError, match=r"-13\.\.12, got 13"):
        subset[13]


def test_labels_and_weights_follow_the_split_that_they_are_given_with(split):
    subset = split.subset(CHOSEN)
    labels = (split.labels + 1) % 10
    labels[1] = -1  # not of the subset: may say anything
    for aligned in (labels, labels[CHOSEN]):
        for batch in sio.Loader(subset, labels=aligned, batch_size=4):
            np.testing.assert_array_equal(batch.labels.numpy(), labels[batch.indices.numpy()])
    weights = np.zeros(73)
    weights[[3, 8]] = 1
    for aligned in (weights, weights[CHOSEN]):
        assert set(order_of(sio.Loader(subset, weights=aligned))) == {3, 8}
    with pytest.raises(ValueError, match="labels must not be negative, got -1 at index 1"):
        sio.Loader(split, labels=labels)
    everything = split.subset(np.arange(73)[::-1])  # as many as the whole: in the subset's order
    for batch in sio.Loader(everything, labels=split.labels[::-1]):
        np.testing.assert_array_equal(batch.labels.numpy(), split.labels[batch.indices.numpy()])


def test_labels_are_copied(split):
    labels = split.labels.copy()
    loader = sio.Loader(split, labels=labels, batch_size=73)
    labels[:] = 0
    (batch,) = loader
    np.testing.assert_array_equal(batch.labels.numpy(), split.labels)


def test_folds_open_the_files_once(split, monkeypatch):
    monkeypatch.setattr(sio.RecordSplit, "open_files", None)
    folds = np.array_split(np.random.default_rng(0).permutation(73), 5)
    seen = []
    for fold in folds:
        rest = np.setdiff1d(np.arange(73), fold)
        assert sorted(order_of(sio.Loader(split, indices=rest, shuffle=True, io="mmap"))) == rest.tolist()
        seen += order_of(sio.Loader(split.subset(fold), io="mmap"))
    assert sorted(seen) == list(range(73))


@pytest.mark.parametrize("backend", ["resident", "dali"])
def test_every_backend_reads_parts(split, backend):
    if backend == "dali":
        need_dali()
    for order, weights in itertools.product(("permutation", "independent", "quasi"), (None, np.arange(73))):
        if weights is None or order == "permutation":
            expect_as_native(
                split, backend, indices=CHOSEN, weights=weights, shuffle=True, order=order, batch_size=4,
                augment=AUGMENT, labels=(split.labels + 1) % 10,
            )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"indices": [0, 73]}, r"indices must be in 0\.\.72, got 73"),
        ({"indices": [-1]}, r"indices must be in 0\.\.72, got -1"),
        ({"indices": [5, 3, 5]}, "indices must not repeat, got 5 more than once"),
        ({"indices": []}, "indices must name at least one record, got none"),
        ({"indices": [0.5]}, r"indices must be integers \(n,\), got shape \(1,\) of float64"),
        ({"indices": [[1]]}, r"got shape \(1, 1\) of int64"),
        ({"indices": 3}, r"got shape \(\) of int64"),
        ({"indices": "all"}, "indices must be integers"),
        ({"indices": np.ones(73, bool)}, r"got bool: np\.flatnonzero\(mask\)"),
        ({"weights": [1.0] * 72}, "weights must be 73 numbers, got shape"),
        ({"weights": [True] * 73}, "weights must be 73 numbers, got .* bool"),
        ({"weights": ["1"] * 73}, "weights must be 73 numbers"),
        ({"weights": [0.0] * 73}, "weights must not all be zero"),
        ({"weights": [1.0] * 72 + [-1.0]}, "weights must be finite and not negative, got -1.0 at index 72"),
        ({"weights": [np.nan] + [1.0] * 72}, "weights must be finite and not negative, got nan at index 0"),
        ({"weights": [np.inf] + [1.0] * 72}, "weights must be finite"),
        ({"weights": [1e308] * 73}, "weights must have a finite sum"),
        ({"weights": [1.0] * 73, "shuffle": True, "order": "quasi"}, "weights draw each record by itself"),
        ({"indices": [1, 2], "weights": [0.0, 0.0, 0.0] + [1.0] * 70}, "weights must not all be zero"),
    ],
)  # fmt: skip
def test_wrong_choices_are_refused(split, options, message):
    with pytest.raises(ValueError, match=message):
        sio.Loader(split, **options)
    if set(options) == {"indices"}:
        with pytest.raises(ValueError, match=message):
            split.subset(**options)


def test_a_subset_refuses_other_records(split):
    subset = split.subset([1, 2, 3])
    for attempt in (lambda: subset.subset([4]), lambda: sio.Loader(subset, indices=[4])):
        with pytest.raises(ValueError, match="indices must be of records of the subset, got 4"):
            attempt()
