"""IDX files as their publisher describes them, and everything that may be wrong with one."""

import gzip
import struct

import numpy as np
import pytest
from converting import as_folder, as_tar, complaint, records, run

from selfie_io.records.manifest import read_manifest

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def idx(array):
    """The file of a uint8 array: 0, 0, type 8, number of dimensions, the sizes big-endian, the bytes."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        split: (
            rng.integers(0, 256, (count, 6, 5), dtype=np.uint8),
            rng.integers(0, 4, count, dtype=np.uint8),
        )
        for split, count in (("train", 300), ("t10k", 20))
    }


@pytest.fixture
def files(arrays):
    return {
        f"{split}-{what}-idx{array.ndim}-ubyte": idx(array)
        for split, pair in arrays.items()
        for what, array in zip(("images", "labels"), pair, strict=True)
    }


@pytest.mark.parametrize("form", ["plain", "gz", "dots", "tar.gz", "raw folder"])
def test_idx_in_every_form(tmp_path, arrays, files, form, monkeypatch):
    monkeypatch.setattr("selfie_io.convert.sources.idx._CHUNK_BYTES", 1000)  # read in several parts
    if form == "gz":
        source = as_folder(tmp_path / "s", {f"{name}.gz": gzip.compress(files[name]) for name in files})
    elif form == "dots":
        source = as_folder(tmp_path / "s", {name.replace("-idx", ".idx"): files[name] for name in files})
    elif form == "tar.gz":
        source = as_tar(tmp_path / "s.tar.gz", files, "w:gz")
    elif form == "raw folder":  # as torchvision leaves it: both
        source = as_folder(tmp_path / "s", {f"MNIST/raw/{name}": files[name] for name in files})
    else:
        source = as_folder(tmp_path / "s", files)
    assert run("pack", source, tmp_path / "out", "--records-per-file", 128) == 0
    for split, name in (("train", "train"), ("test", "t10k")):
        stored = records(tmp_path / "out", split)
        np.testing.assert_array_equal(stored["pixels"][:, 0], arrays[name][0])
        np.testing.assert_array_equal(stored["label"], arrays[name][1])
    assert read_manifest(tmp_path / "out").class_names == list("0123")


def test_size_scales_arrays_as_well(tmp_path, arrays, files):
    from PIL import Image

    assert run("pack", as_folder(tmp_path / "s", files), tmp_path / "out", "--size", "12x10") == 0
    scaled = Image.fromarray(arrays["train"][0][7]).resize((10, 12), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(records(tmp_path / "out")["pixels"][7, 0], np.asarray(scaled))


def patched(content, byte, new):
    return content[:byte] + new + content[byte + len(new) :]


DAMAGE = {
    f"{IMAGES}: byte 0: the magic number must be 00000803, got 00000801": (
        IMAGES,
        lambda c: patched(c, 3, b"\x01"),
    ),
    f"{LABELS}: byte 0: the magic number must be 00000801, got ": (LABELS, lambda c: b""),  # noqa: ARG005
    f"{IMAGES}: ends at byte 9, within the header": (IMAGES, lambda c: c[:9]),
    f"{IMAGES}: image 299: ends at byte 9015, 300 images were announced": (IMAGES, lambda c: c[:-1]),
    f"{IMAGES}: byte 9016: bytes after the last image": (IMAGES, lambda c: c + b"x"),
    f"{LABELS}: 300 labels were announced, it ends at byte 307": (LABELS, lambda c: c[:-1]),
    f"{LABELS}: 300 labels were announced, more bytes follow": (LABELS, lambda c: c + b"x"),
    f"{IMAGES}: 299 images, {LABELS}: 300 labels": (
        IMAGES,
        lambda c: patched(c, 4, struct.pack(">I", 299)),
    ),
    "must be positive": (IMAGES, lambda c: patched(c, 8, bytes(8))),
    "an image must have at most": (IMAGES, lambda c: patched(c, 8, b"\xff" * 8)),
    "4294967295 labels were announced, it ends at byte 308": (LABELS, lambda c: patched(c, 4, b"\xff" * 4)),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("reason", DAMAGE)
def test_damage_is_named(tmp_path, files, reason, packed, capsys):
    name, damage = DAMAGE[reason]
    files[name] = damage(files[name])
    if packed:
        files = {f"{name}.gz": gzip.compress(content) for name, content in files.items()}
        reason = reason.replace("ubyte:", "ubyte.gz:")
    source = as_folder(tmp_path / "s", files)
    said = complaint(capsys, 1, "pack", source, tmp_path / "out")
    assert reason in said
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


@pytest.mark.parametrize("damage", [lambda c: c[:-20], lambda c: patched(c, 500, b"\x00" * 50)])
def test_a_damaged_gzip_is_named(tmp_path, files, damage, capsys):
    packed = {f"{name}.gz": gzip.compress(content) for name, content in files.items()}
    packed[f"{IMAGES}.gz"] = damage(packed[f"{IMAGES}.gz"])
    said = complaint(capsys, 1, "pack", as_folder(tmp_path / "s", packed), tmp_path / "out")
    assert f"{IMAGES}.gz: " in said


def test_missing_and_doubled_files(tmp_path, files, capsys):
    both = {**files, f"{IMAGES}.gz": gzip.compress(files[IMAGES])}
    assert run("pack", as_folder(tmp_path / "both", both), tmp_path / "same") == 0
    assert f"1 file with the content of others left out ({IMAGES}.gz)" in capsys.readouterr().err
    both[f"{IMAGES}.gz"] = gzip.compress(files[IMAGES][:-1] + b"x")
    said = complaint(capsys, 1, "pack", as_folder(tmp_path / "other", both), tmp_path / "out")
    assert f"must hold the train images, got {IMAGES} and {IMAGES}.gz with different content" in said
    del files[LABELS]
    said = complaint(capsys, 1, "pack", as_folder(tmp_path / "less", files), tmp_path / "out")
    assert "there is no file of train labels" in said
