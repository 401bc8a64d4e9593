"""Every pixel against the slow reference, bit by bit, on every instruction set that is present."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import reference
import torch
from conftest import make_folder
from hypothesis import given, settings
from hypothesis import strategies as st

import selfie_io as sio
from selfie_io import _core

EVERYTHING = sio.Augment(
    pad=4, crop=(30, 27), flip="random", brightness=63.0, contrast=(0.2, 1.8), cutout=9, pad_mode="reflect"
)
PER_CHANNEL = sio.PerChannel((0.49, 0.48, 0.45), (0.25, 0.24, 0.26))


def expect(split, images, labels, *, epoch, seed, augment, normalize, dtype, layout, **loader_options):
    """Compare every batch of an epoch with the reference."""
    loader = sio.Loader(
        split, seed=seed, augment=augment, normalize=normalize, dtype=dtype, layout=layout, **loader_options
    )
    loader.set_epoch(epoch)
    for batch in loader:
        assert batch.images.dtype == getattr(torch, dtype)
        for image, label, index in zip(batch.images, batch.labels, batch.indices.tolist(), strict=True):
            drawn = reference.draw(augment or sio.Augment(), images.shape[1:], seed, epoch, index)
            wanted = reference.image(images[index], augment or sio.Augment(), drawn, normalize, dtype, layout)
            np.testing.assert_array_equal(image.float().numpy(), wanted)
            assert label == labels[index]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "uint8"])
@pytest.mark.parametrize("normalize", [None, sio.PerImage(), PER_CHANNEL], ids=["none", "image", "channel"])
@pytest.mark.parametrize("augment", [None, EVERYTHING], ids=["plain", "everything"])
def test_dtypes_and_layouts(tmp_path, augment, normalize, dtype, layout):
    _, labels, images = make_folder(tmp_path / "set", train_files=(3,))
    split = sio.open_dataset(tmp_path / "set", shape=(3, 32, 32)).train
    expect(
        split, images, labels, epoch=5, seed=2**63 + 7, augment=augment, normalize=normalize, dtype=dtype,
        layout=layout, batch_size=2, shuffle=True,
    )  # fmt: skip


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 64), (2, 7, 5), (5, 1, 1), (4, 17, 40)])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_shapes(tmp_path, shape, layout):
    _, labels, images = make_folder(tmp_path / "set", shape=shape, train_files=(2, 1), test=0)
    split = sio.open_dataset(tmp_path / "set", shape=shape).train
    for augment in (None, sio.Augment(pad=3, flip="random", brightness=9.0, contrast=(0.5, 1.5), cutout=2)):
        expect(
            split, images, labels, epoch=0, seed=1, augment=augment, normalize=sio.PerImage(),
            dtype="float32", layout=layout, batch_size=3, shuffle=True,
        )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_augmentation(tmp_path_factory, data):
    """Random shapes, crops and paddings, also windows that lie wholly inside the padding."""
    channels = data.draw(st.integers(1, 4))
    height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    pad_mode = data.draw(st.sampled_from(["zeros", "reflect"]))
    pad = data.draw(st.integers(0, min(height, width) - 1 if pad_mode == "reflect" else 12))
    augment = sio.Augment(
        pad=pad,
        pad_mode=pad_mode,
        crop=(
            data.draw(st.integers(1, height + 2 * pad)),
            data.draw(st.integers(1, width + 2 * pad)),
        ),
        flip=data.draw(st.sampled_from(["none", "random", "alternate"])),
        brightness=data.draw(st.sampled_from([0.0, 63.0, 1e4])),
        contrast=data.draw(st.sampled_from([None, (0.0, 0.0), (0.2, 1.8), (1.0, 1.0)])),
        cutout=data.draw(st.integers(0, 50)),
    )
    mean, std = [0.3] * channels, [0.01] * channels
    normalize = data.draw(st.sampled_from([None, sio.PerImage(), sio.PerChannel(mean, std)]))
    folder = tmp_path_factory.mktemp("set")
    shape = (channels, height, width)
    _, labels, images = make_folder(
        folder, shape=shape, train_files=(2,), test=0, seed=data.draw(st.integers(0, 9))
    )
    expect(
        sio.open_dataset(folder, shape=shape).train, images, labels,
        epoch=data.draw(st.integers(0, 2**32 - 1)), seed=data.draw(st.integers(0, 2**64 - 1)),
        augment=augment, normalize=normalize,
        dtype=data.draw(st.sampled_from(["float32", "float16", "bfloat16", "uint8"])),
        layout=data.draw(st.sampled_from(["NCHW", "NHWC"])),
        batch_size=2, num_threads=1,
    )  # fmt: skip


@pytest.mark.parametrize("value", [0, 1, 255])
def test_a_flat_image_has_the_least_deviation(tmp_path, value):
    """Standard deviation 0 counts as 1 / sqrt(C * H * W)."""
    from conftest import write_records

    write_records(tmp_path / "data_batch_1.bin", [0], [0], np.full((1, 3, 32, 32), value))
    (batch,) = sio.Loader(sio.open_dataset(tmp_path, shape=(3, 32, 32)).train, batch_size=1)
    drawn = reference.draw(sio.Augment(), (3, 32, 32), 0, 0, 0)
    flat = np.full((3, 32, 32), value, np.uint8)
    wanted = reference.image(flat, sio.Augment(), drawn, sio.PerImage(), "float32", "NCHW")
    np.testing.assert_array_equal(batch.images[0].numpy(), wanted)


def test_draws_are_the_reference_and_what_the_loader_does(authors_folder):
    split = sio.open_dataset(authors_folder, shape=(3, 32, 32)).train
    loader = sio.Loader(split, batch_size=8, augment=EVERYTHING, seed=11)
    draws = loader.draws(3, [0, 5, 72])
    for place, index in enumerate([0, 5, 72]):
        wanted = reference.draw(EVERYTHING, (3, 32, 32), 11, 3, index)
        reference.expect_draw(draws, place, wanted)
    assert [values.dtype.name for values in draws[:7]] == [
        "int32", "int32", "bool", "float32", "float32", "int32", "int32",
    ]  # fmt: skip
    with pytest.raises(IndexError, match="72, got 73"):
        loader.draws(0, [73])
    with pytest.raises(ValueError, match="epoch must be"):
        loader.draws(-1, [0])


def test_draws_are_uniform(authors_folder):
    """Each of 81 crop places, each flip, in equal shares: chi-square far below its 1e-6 bound."""
    split = sio.open_dataset(authors_folder, shape=(3, 32, 32)).train
    loader = sio.Loader(split, batch_size=8, augment=sio.Augment(pad=4, flip="random"), seed=3)
    counts = np.zeros((9, 9, 2))
    epochs = 400
    for epoch in range(epochs):
        draws = loader.draws(epoch, np.arange(73))
        np.add.at(counts, (draws.top + 4, draws.left + 4, draws.flip.astype(int)), 1)
    expected = epochs * 73 / 162
    assert ((counts - expected) ** 2 / expected).sum() < 161 + 6 * np.sqrt(2 * 161)


def test_alternate_flip_mirrors_every_other_epoch(authors_folder):
    split = sio.open_dataset(authors_folder, shape=(3, 32, 32)).train
    loader = sio.Loader(split, batch_size=8, augment=sio.Augment(flip="alternate"))
    flips = np.array([loader.draws(epoch, np.arange(73)).flip for epoch in range(4)])
    assert (flips[0] == flips[2]).all()
    assert (flips[0] != flips[1]).all()
    assert 20 < flips[0].sum() < 53


def test_backends_get_the_scale_and_shift(authors_folder):
    """What other backends are told is what the reference says."""
    split = sio.open_dataset(authors_folder, shape=(3, 32, 32)).train
    loader = sio.Loader(split, batch_size=8, augment=EVERYTHING, normalize=sio.PerImage(), seed=4)
    indices = np.arange(5)
    scale, shift = loader._reader.scale_and_shift(2, indices)
    for index, pixels in enumerate(split.images(indices)):
        drawn = reference.draw(EVERYTHING, (3, 32, 32), 4, 2, index)
        cropped = reference.window(pixels, EVERYTHING, drawn)
        wanted = reference.scale_and_shift(cropped, drawn, sio.PerImage())
        np.testing.assert_array_equal((scale[index], shift[index]), wanted)


@pytest.mark.parametrize("isa", ["generic", "avx2", "avx512", "neon"])
def test_every_instruction_set(isa):
    """The tests above, and those of resizing and colour, on an instruction set that the processor has.

    They run in a process of their own, which reads the environment when it loads the core.
    """
    probe = [sys.executable, "-c", "from selfie_io import _core; print(_core.isa())"]
    environment = {**os.environ, "SELFIE_IO_ISA": isa}
    answer = subprocess.run(probe, env=environment, capture_output=True, text=True)
    if answer.returncode:
        assert "SELFIE_IO_ISA must be one that this processor has" in answer.stderr
        pytest.skip(f"this processor has no {isa}")
    assert answer.stdout.strip() == isa
    if isa == _core.isa():
        return  # the tests above ran on it
    chosen = "(test_pixels and (dtypes_and_layouts or shapes or any_augmentation or flat_image))"
    chosen += " or (test_resize_colour and (reference or any_window))"
    files = [__file__, str(Path(__file__).with_name("test_resize_colour.py"))]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, "-k", chosen]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-3000:]
