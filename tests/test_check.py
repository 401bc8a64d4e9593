"""Planted duplicates of every kind are found, others are not; leaks, constant images, small classes."""

import contextlib
import io
import json

import numpy as np
import pytest
from converting import run
from PIL import Image

from selfie_io.records.duplicates import NEAR, find_duplicates, pixel_difference


def natural(count, side=32, seed=0, channels=3):
    """Smooth images with a few edges, uint8 (n, C, H, W)."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    waves = rng.normal(size=(count, channels, side, side)) / 4 + rng.normal(size=(count, 1, side, side))
    spectrum = np.fft.fft2(waves) / np.maximum(frequency, 1 / side) ** 1.5
    images = np.real(np.fft.ifft2(spectrum))
    images = (images - images.mean((2, 3), keepdims=True)) / images.std((2, 3), keepdims=True)
    for image in images:
        top, left = rng.integers(0, side // 2, 2)
        image[:, top : top + side // 3, left : left + side // 3] += rng.normal(0, 1, (channels, 1, 1))
    return np.clip(
        images * rng.uniform(25, 60, (count, 1, 1, 1)) + rng.uniform(80, 170, (count, 1, 1, 1)), 0, 255
    ).astype(np.uint8)


def jpeg(image, quality):
    file = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)).transpose(2, 0, 1)


def shifted(image, down, right):
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)), "edge")
    return padded[:, 1 - down : padded.shape[1] - 1 - down, 1 - right : padded.shape[2] - 1 - right]


SHIFTS = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if (down, right) != (0, 0)]
KINDS = {
    "exact": lambda image, _: image,
    "encoded": lambda image, i: jpeg(image, (50, 75, 90)[i % 3]),
    "mirrored": lambda image, _: image[:, :, ::-1],
    "upside down": lambda image, _: image[:, ::-1],
    "shifted": lambda image, i: shifted(image, *SHIFTS[i % 8]),
    "shifted, mirrored": lambda image, i: shifted(image, *SHIFTS[i % 8])[:, :, ::-1],
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_planted_duplicate_is_found_and_nothing_else(kind):
    images = natural(400)
    copies = np.stack([KINDS[kind](image, i) for i, image in enumerate(images[:40])])
    both = np.concatenate([images, copies])
    found = find_duplicates(len(both), lambda rows: both[rows])
    assert list(zip(found.first.tolist(), found.second.tolist(), strict=True)) == [
        (i, 400 + i) for i in range(40)
    ]
    same = (both[found.first] == both[found.second]).all((1, 2, 3))
    np.testing.assert_array_equal(found.exact, same)
    assert (found.difference[found.exact] == 0).all()


def test_the_search_finds_what_comparing_all_pairs_finds():
    images = natural(40, side=16, channels=1)
    copies = np.stack([shifted(image, *SHIFTS[i % 8]) for i, image in enumerate(images[:12])])
    both = np.concatenate([images, copies])
    found = find_duplicates(len(both), lambda rows: both[rows])
    one, two = np.triu_indices(len(both), 1)
    best = np.full(len(one), np.inf)
    for window in [(0, 0), *SHIFTS]:
        best = np.minimum(best, pixel_difference(both[one], both[two], window))
    alike = best < NEAR
    assert list(zip(found.first, found.second, strict=True)) == list(zip(one[alike], two[alike], strict=True))


def test_reading_and_comparing_show_their_progress():
    images, told = natural(30, side=16), {}

    @contextlib.contextmanager
    def progress(what, total):
        steps = []
        yield steps.append
        told[what] = total, sum(steps)

    find_duplicates(30, lambda rows: images[rows], progress=progress)
    assert told == {"read": (30, 30), "compare": (180, 180)}


def test_a_difference_in_colour_alone_counts_less_than_one_in_brightness():
    images = natural(6)
    images[:, 0] = np.clip(images[:, 0] + np.random.default_rng(0).normal(0, 25, (6, 32, 32)), 0, 255)
    halved = np.stack([jpeg(image, 80) for image in images])  # with colours of half the resolution

    def slow(one, other):
        one, other = (side[:, 1:31, 1:31].astype(float) for side in (one, other))
        contrast = np.sqrt(
            np.mean([side[channel].var() for side in (one, other) for channel in range(len(one))])
        )
        mirrors = (other, other[:, ::-1], other[:, :, ::-1], other[:, ::-1, ::-1])
        return min(np.sqrt(np.mean((one - seen) ** 2)) for seen in mirrors) / (contrast + 2)

    weights = np.array([0.299, 0.587, 0.114])[:, None, None]
    expected = []
    for one, other in zip(images, halved, strict=True):
        brightness = slow((one * weights).sum(0)[None], (other * weights).sum(0)[None])
        expected.append(max(brightness, slow(one, other) - 0.1))
        assert brightness < slow(one, other)
    np.testing.assert_allclose(pixel_difference(images, halved, (0, 0)), expected, rtol=1e-3)


def test_images_that_are_alike_by_nature_are_no_duplicates():
    base = natural(1)[0].astype(float)
    rng = np.random.default_rng(1)
    crowd = np.clip(base + rng.normal(0, 12, (300, 3, 32, 32)), 0, 255).astype(np.uint8)
    both = np.concatenate([crowd, crowd[:5, :, :, ::-1]])
    found = find_duplicates(len(both), lambda rows: both[rows])
    assert set(zip(found.first.tolist(), found.second.tolist(), strict=True)) == {
        (i, 300 + i) for i in range(5)
    }


def test_small_images_and_near_zero_compare_exactly():
    images = np.random.default_rng(0).integers(0, 256, (20, 1, 4, 4), dtype=np.uint8)
    both = np.concatenate([images, images[3:5], images[3:4]])
    found = find_duplicates(len(both), lambda rows: both[rows])
    assert list(zip(found.first.tolist(), found.second.tolist(), strict=True)) == [(3, 20), (3, 22), (4, 21)]
    large = natural(10)
    twice = np.concatenate([large, large[:, :, :, ::-1]])
    assert len(find_duplicates(20, lambda rows: twice[rows], near=0).first) == 0
    assert len(find_duplicates(0, lambda rows: twice[rows]).first) == 0


@pytest.fixture
def folder(tmp_path):
    images = natural(60)
    images[7] = 90
    images[8] = 90 + np.random.default_rng(0).integers(0, 3, (3, 32, 32))
    labels = np.arange(60) % 3
    labels[2] = 3
    test = np.concatenate([natural(10, seed=1), images[5:6], images[6:7, :, :, ::-1]])
    images = np.concatenate([images, images[20:21], images[21:22, :, :, ::-1]])
    labels = np.append(labels, [2, 1])
    arrays = {"x_train": images, "x_test": test}
    arrays = {name: np.ascontiguousarray(x.transpose(0, 2, 3, 1)) for name, x in arrays.items()}
    np.savez(tmp_path / "d.npz", y_train=labels, y_test=np.arange(12) % 3, **arrays)
    assert run("pack", tmp_path / "d.npz", tmp_path / "set") == 0
    return tmp_path / "set"


def test_the_command_lists_everything_with_its_place(folder, capsys):
    assert run("check", folder, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    pairs = [
        (
            pair["kind"],
            pair["labels_differ"],
            pair["leak"],
            *((r["split"], r["index"]) for r in pair["records"]),
        )
        for pair in found["duplicates"]
    ]
    assert pairs == [
        ("exact", True, True, ("train", 5), ("test", 10)),
        ("near", True, True, ("train", 6), ("test", 11)),
        ("exact", False, False, ("train", 20), ("train", 60)),
        ("near", True, False, ("train", 21), ("train", 61)),
    ]
    assert [record["index"] for record in found["constant"]] == [7]
    assert [record["index"] for record in found["nearly_constant"]] == [8]
    assert found["small_classes"] == [{"label": 3, "class": "3", "records": 1}]
    assert found["records"] == {"train": 62, "test": 12}
    assert run("check", folder) == 0
    said = capsys.readouterr().out
    assert "3 duplicates with different labels" in said
    assert "2 exact and 2 near duplicates, 3 with different labels, 2 across the splits" in said
    assert "3: 1 records" in said


def test_an_overlay_and_wrong_options(folder, tmp_path, capsys):
    (tmp_path / "l.csv").write_text("index,label\n61,0\n21,-1\n5,1\n")
    assert run("labels", folder, tmp_path / "l.csv", "--key", "label", "--name", "l") == 0
    assert run("check", folder, "--labels", "l", "--json", "--near", "0") == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [(pair["kind"], pair["labels_differ"]) for pair in found["duplicates"]] == [("exact", False)] * 2
    assert run("check", folder, "--near", "1") == 2
    assert run("check", folder / "no") == 2
