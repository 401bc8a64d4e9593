"""Resizing, mixed colours, erasing: the slow reference to the bit, on every instruction set and backend."""

import itertools

import numpy as np
import pytest
import reference
import torch
from backend_checks import expect_as_native, expect_same, need_dali, open_train
from hypothesis import given, settings
from hypothesis import strategies as st

import selfie_io as sio

JITTER = {"brightness": 30.0, "contrast": (0.5, 1.5), "saturation": (0.2, 1.8), "hue": 0.2, "grayscale": 0.3}
CASES = [
    sio.Augment(resize_crop=(0.08, 1.0), crop=(9, 17), flip="random"),
    sio.Augment(resize_crop=(0.5, 0.5), ratio=(3.0, 4.0), crop=(40, 33)),
    sio.Augment(resize=7, crop=(5, 6), crop_at="center"),
    sio.Augment(resize=(50, 19), crop=(48, 16), flip="alternate"),
    sio.Augment(resize_crop=(0.08, 1.0), crop=(9, 17), flip="random", antialias=True),
    sio.Augment(resize=7, crop=(5, 6), antialias=True),
    sio.Augment(crop=(9, 17), crop_at="center", pad=2),
    sio.Augment(translate=3, erase=0.7, flip="random"),
    sio.Augment(pad=2, crop=(8, 16), flip="random", **JITTER),
    sio.Augment(resize_crop=(0.2, 0.9), crop=(6, 5), erase=0.5, cutout=2, **JITTER),
]
PER_CHANNEL = sio.PerChannel((0.49, 0.48, 0.45), (0.25, 0.24, 0.26))
SHAPE = (3, 20, 24)


def expect_reference(split, augment, normalize, dtype, layout, *, seed=3, epoch=2, records=3):
    loader = sio.Loader(
        split, batch_size=records, augment=augment, normalize=normalize, dtype=dtype, layout=layout, seed=seed
    )
    loader.set_epoch(epoch)
    batch = next(iter(loader))
    draws = loader.draws(epoch, batch.indices.numpy())
    for place, index in enumerate(batch.indices.tolist()):
        drawn = reference.draw(augment, split.layout.shape, seed, epoch, index)
        reference.expect_draw(draws, place, drawn)
        wanted = reference.image(split.images([index])[0], augment, drawn, normalize, dtype, layout)
        np.testing.assert_array_equal(batch.images[place].float().numpy(), wanted)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("normalize", [None, sio.PerImage(), PER_CHANNEL], ids=["none", "image", "channel"])
@pytest.mark.parametrize("augment", CASES, ids=str)
def test_images_are_the_reference(tmp_path, augment, normalize, layout):
    split = open_train(tmp_path / "set", SHAPE, (3,))
    number = CASES.index(augment)
    expect_reference(
        split, augment, normalize, ("float32", "float16", "bfloat16", "uint8")[number % 4], layout
    )


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_window(tmp_path_factory, data):
    """Any shape and size, from far too large to far too small, on any number of channels."""
    side = st.integers(1, 45)
    shape = (data.draw(st.integers(1, 4)), data.draw(side), data.draw(side))
    resize, scale = data.draw(st.sampled_from([(None, (0.01, 1.0)), ((30, 41), None), (1, None), (60, None)]))
    ratio = data.draw(st.sampled_from([(3 / 4, 4 / 3), (0.01, 0.02), (50.0, 60.0)]))
    size = (data.draw(side), data.draw(side))
    if resize is not None:
        height, width = reference.resized_size(sio.Augment(resize=resize), shape)
        size = min(size[0], height), min(size[1], width)
    augment = sio.Augment(
        resize=resize, resize_crop=scale, ratio=ratio, crop=size, flip="random",
        antialias=(resize or scale) is not None and data.draw(st.booleans()),
    )  # fmt: skip
    split = open_train(tmp_path_factory.mktemp("set"), shape, (2,))
    expect_reference(split, augment, None, "uint8", data.draw(st.sampled_from(["NCHW", "NHWC"])), records=2)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("backend", ["resident", "dali", "dali, finished by torch"])
def test_every_backend_is_the_native_one(tmp_path, backend, dtype, monkeypatch):
    name, _, by_torch = backend.partition(", ")
    if name == "dali":
        need_dali()
    if by_torch:
        monkeypatch.setattr("selfie_io.loading.dali._core_can_finish", lambda _: False)
    split = open_train(tmp_path / "set", (3, 32, 32), (17,))
    for augment, normalize in itertools.product(CASES, (None, sio.PerImage(), PER_CHANNEL)):
        for layout, views in (("NCHW", 2), ("NHWC", 1)):
            expect_as_native(
                split, name, augment=augment, normalize=normalize, dtype=dtype, layout=layout, views=views,
                batch_size=6, shuffle=True, seed=3,
            )  # fmt: skip


def test_streamed_images_are_the_same(tmp_path):
    split = open_train(tmp_path / "set", (3, 64, 64), (30,))
    for augment in (sio.Augment(resize_crop=(0.08, 1.0), crop=(64, 64)), sio.Augment(pad=4, **JITTER)):
        for layout in ("NCHW", "NHWC"):
            options = {"batch_size": 30, "augment": augment, "layout": layout}
            expect_same(sio.Loader(split, prefetch_batches=10_000, **options), sio.Loader(split, **options))


@pytest.mark.parametrize(("antialias", "most"), [(False, 0.52), (True, 0.6)])
def test_resized_images_look_like_torch_s(tmp_path, antialias, most):
    """torch's bilinear interpolation, with antialias and without, differs by the rounding alone."""
    split = open_train(tmp_path / "set", (3, 96, 80), (4,))
    augment = sio.Augment(resize_crop=(0.08, 1.0), crop=(40, 30), antialias=antialias)
    loader = sio.Loader(split, batch_size=4, augment=augment, normalize=None)
    (batch,) = loader
    draws = loader.draws(0, batch.indices.numpy())
    for place in range(4):
        top, left, height, width = (
            int(getattr(draws, name)[place]) for name in ("top", "left", "height", "width")
        )
        source = torch.from_numpy(split.images([place])).float()[
            :, :, top : top + height, left : left + width
        ]
        wanted = torch.nn.functional.interpolate(
            source, (40, 30), mode="bilinear", align_corners=False, antialias=antialias
        )
        assert (batch.images[place] - wanted[0]).abs().max() < most


def test_windows_have_the_areas_and_ratios_that_are_asked_for(tmp_path):
    """Areas are uniform, ratios uniform in the logarithm, places uniform: means within six deviations."""
    split = open_train(tmp_path / "set", (1, 100, 100), (60,))
    loader = sio.Loader(split, augment=sio.Augment(resize_crop=(0.1, 0.5), crop=(8, 8)))
    draws = [loader.draws(epoch, np.arange(60)) for epoch in range(60)]
    top, left, height, width = (
        np.concatenate([getattr(one, name) for one in draws]).astype(float)
        for name in ("top", "left", "height", "width")
    )
    for values, mean, deviation in (
        (height * width / 1e4, 0.3, 0.4 / 12**0.5),
        (np.log(width / height), 0.0, 2 * np.log(4 / 3) / 12**0.5),
        (top / (100 - height), 0.5, 1 / 12**0.5),
        (left / (100 - width), 0.5, 1 / 12**0.5),
    ):
        assert abs(values.mean() - mean) < 6 * deviation / len(values) ** 0.5
        assert abs(values.std() / deviation - 1) < 0.1


def test_no_change_of_colour_changes_nothing(tmp_path):
    split = open_train(tmp_path / "set", (3, 32, 32), (5,))
    (plain,) = sio.Loader(split, batch_size=5, normalize=None)
    (same,) = sio.Loader(split, batch_size=5, normalize=None, augment=sio.Augment(hue=1e-30))
    assert torch.allclose(plain.images, same.images, atol=1e-4)  # the matrix is rounded
    (grey,) = sio.Loader(split, batch_size=5, normalize=None, augment=sio.Augment(grayscale=1.0))
    assert torch.equal(grey.images[:, 0], grey.images[:, 1])
    wanted = (plain.images * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1)
    assert torch.allclose(grey.images[:, 0], wanted, atol=1e-3)


def test_presets_are_their_papers():
    assert sio.Augment.cifar() == sio.Augment(pad=4, crop=(32, 32), flip="random")
    assert sio.Augment.imagenet() == sio.Augment(resize_crop=(0.08, 1.0), crop=(224, 224), flip="random")
    assert sio.Augment.clothing1m() == sio.Augment(resize=256, crop=(224, 224), flip="random")
    assert repr(sio.Augment.imagenet(64)) == "Augment(crop=(64, 64), flip='random', resize_crop=(0.08, 1.0))"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resize_crop": (0.0, 1.0)}, r"resize_crop must be \(low, high\) with 0 < low <= high <= 1, got"),
        ({"resize_crop": (0.5, 1.1)}, "resize_crop must be .* <= 1, got"),
        ({"resize_crop": 0.5}, "resize_crop must be .* got 0.5"),
        ({"ratio": (2.0, 1.0)}, r"ratio must be .* got \(2.0, 1.0\)"),
        ({"ratio": (float("nan"), 1.0)}, "ratio must be"),
        ({"saturation": (-0.1, 1.0)}, "saturation must be"),
        ({"saturation": (1.0,)}, "saturation must be"),
        ({"hue": 0.6}, r"hue must be in 0\.\.0\.5 \(turns\), got 0.6"),
        ({"hue": -0.1}, "hue must be in"),
        ({"hue": "red"}, "hue must be in"),
        ({"grayscale": 1.5}, r"grayscale must be in 0\.\.1 \(a probability\), got 1.5"),
        ({"erase": -1}, "erase must be in"),
        ({"erase_scale": (0.5, 2.0)}, "erase_scale must be"),
        ({"erase_ratio": (0.0, 2.0)}, "erase_ratio must be"),
        ({"resize": 0}, "resize must be an integer in 1..2147483647, got 0"),
        ({"resize": (3, 0)}, "resize width must be an integer in 1..2147483647, got 0"),
        ({"crop_at": "corner"}, "crop_at must be one of random, center, got 'corner'"),
        ({"pad": 4, "resize": 8}, "exclude each other, got pad=4, resize=8"),
        ({"translate": 4, "resize_crop": (0.5, 1.0)}, "exclude each other"),
        (
            {"translate": 4, "crop": (8, 8)},
            r"translate keeps .* crop must be None, got \(8, 8\)",
        ),
        ({"resize_crop": (0.5, 1.0), "crop_at": "center"}, "crop_at must be 'random', got 'center'"),
    ],
    ids=str,
)
def test_wrong_changes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        sio.Augment(**options)


def test_changes_that_do_not_fit_the_images_are_refused(tmp_path):
    split = open_train(tmp_path / "set", (1, 20, 24), (3,))
    for options, message in (
        ({"hue": 0.1}, "saturation, hue and grayscale need 3 channels, got 1"),
        ({"resize": 10, "crop": (11, 5)}, r"crop height must be in 1\.\.10 .*, got 11"),
        ({"crop": (21, 5), "crop_at": "center"}, r"crop height must be in 1\.\.20 .*, got 21"),
    ):
        with pytest.raises(ValueError, match=message):
            sio.Loader(split, augment=sio.Augment(**options))
