"""SVHN .mat files written by SciPy, and .npz files under the names of Keras and MedMNIST."""

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
import scipy.io
from converting import complaint, records, run

from selfie_io.records.manifest import read_manifest


@pytest.fixture
def svhn():
    """X (32, 32, 3, N) and y (N, 1), 10 for the digit 0, by split."""
    rng = np.random.default_rng(0)
    return {
        split: {
            "X": rng.integers(0, 256, (32, 32, 3, count), "u1"),
            "y": rng.integers(1, 11, (count, 1), "u1"),
        }
        for split, count in (("train", 300), ("test", 9))
    }


def write_svhn(folder, svhn, **options):
    folder.mkdir(exist_ok=True)
    for split, arrays in svhn.items():
        scipy.io.savemat(folder / f"{split}_32x32.mat", arrays, **options)
    return folder


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "f8", "i4"])
def test_svhn(tmp_path, svhn, compress, dtype):
    for arrays in svhn.values():
        arrays["y"] = arrays["y"].astype(dtype)
        arrays["note"] = "text is passed over"
        arrays["cells"] = np.array([1, "a"], object)
    source = write_svhn(tmp_path / "s", svhn, do_compression=compress)
    assert run("pack", source, tmp_path / "out") == 0
    for split, arrays in svhn.items():
        stored = records(tmp_path / "out", split)
        np.testing.assert_array_equal(stored["pixels"], arrays["X"].transpose(3, 2, 0, 1))
        np.testing.assert_array_equal(stored["label"], arrays["y"][:, 0] % 10)


def test_labels_before_images_and_extra_is_left_out(tmp_path, svhn, capsys):
    svhn = {split: {"y": arrays["y"].T, "X": arrays["X"]} for split, arrays in svhn.items()}
    source = write_svhn(tmp_path / "s", svhn)
    (source / "extra_32x32.mat").touch()
    assert run("pack", source, tmp_path / "out") == 0
    assert "note: extra_32x32.mat is left out" in capsys.readouterr().err
    assert len(records(tmp_path / "out")) == 300


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"y": np.array([[1], [0]])}, "label 1 of y must be in 1..10, got 0"),
        ({"y": np.array([[1.5]])}, "label 0 of y must be in 1..10, got 1.5"),
        ({"y": np.ones((2, 2))}, "y must be one row or column"),
        ({"y": np.ones((299, 1))}, "X has 300 images, y 299 labels"),
        ({"X": np.zeros((32, 32, 300), "u1")}, "X must be uint8 of shape (32, 32, 3, N)"),
        ({"X": np.zeros((2, 2, 3, 300))}, "X must be uint8 of shape (32, 32, 3, N)"),
        ({"X": np.zeros((64, 64, 3, 300), "u1")}, "X must be uint8 of shape (32, 32, 3, N)"),
        ({"X": "text"}, "there is no array X"),
        ({"y": np.zeros(1 << 24 | 1, "u1")}, "y has too many values"),
    ],
)
def test_svhn_of_a_wrong_shape_is_named(tmp_path, svhn, arrays, reason, capsys):
    svhn["train"].update(arrays)
    source = write_svhn(tmp_path / "s", svhn)
    said = complaint(capsys, 1, "pack", source, tmp_path / "out")
    assert reason in said
    assert "train_32x32.mat" in said


def test_damaged_mat_files_are_named(tmp_path, svhn, capsys):
    source = write_svhn(tmp_path / "s", svhn, do_compression=True)
    path = source / "train_32x32.mat"
    content = path.read_bytes()
    zeros = zlib.compress(struct.pack("<II", 14, 1 << 31) + bytes(10_000_000))
    for damaged, reason in (
        (content[:-1000], "train_32x32.mat: ends"),
        (content[:100], "train_32x32.mat: byte 126"),
        (content[:131], "train_32x32.mat: byte 128: ends within a tag"),
        (content[:400] + b"\xff" * 50 + content[450:], "train_32x32.mat: "),
        (b"\x89HDF\r\n\x1a\n" + bytes(500), "is a MATLAB 7.3 file; save it again with -v7"),
        (content[:128] + struct.pack("<II", 15, len(zeros)) + zeros, "train_32x32.mat: "),
        (
            content[:128] + struct.pack("<II", 9, 8) + bytes(8),
            "an element must be an array, got one of type 9",
        ),
    ):
        path.write_bytes(damaged)
        said = complaint(capsys, 1, "pack", source, tmp_path / "out")
        assert reason in said
        assert not (tmp_path / "out").exists()


def test_a_mat_file_that_lies_about_its_dimensions_is_named(tmp_path, svhn, capsys):
    source = write_svhn(tmp_path / "s", svhn)
    path = source / "train_32x32.mat"
    content = path.read_bytes()
    sides = struct.pack("<4i", 32, 32, 3, 300)
    for lie in ((32, 32, 3, 299), (32, 32, 3, 301), (-32, -32, 3, 300), (2**31 - 1,) * 4):
        path.write_bytes(content.replace(sides, struct.pack("<4i", *lie)))
        said = complaint(capsys, 1, "pack", source, tmp_path / "out")
        assert f"train_32x32.mat: array 'X': 921600 bytes are not an array of {lie}" in said


PIXELS = np.random.default_rng(1).integers(0, 256, (50, 6, 5, 3), "u1")
LABELS = np.random.default_rng(1).integers(0, 4, 50)
LABELS[0] = 3


def save(path, **arrays):
    with path.open("wb") as file:
        np.savez(file, **arrays)
    return path


NPZ = {
    "keras": {"x_train": PIXELS, "y_train": LABELS, "x_test": PIXELS[:7], "y_test": LABELS[:7]},
    "medmnist": {
        "train_images": PIXELS,
        "train_labels": LABELS[:, np.newaxis].astype("u1"),
        "val_images": PIXELS,
        "val_labels": LABELS,
        "test_images": PIXELS[:7],
        "test_labels": LABELS[:7, np.newaxis],
    },
    "planes first": {
        "x_train": np.ascontiguousarray(PIXELS.transpose(0, 3, 1, 2)),
        "y_train": LABELS.astype(">u4"),
        "x_test": np.ascontiguousarray(PIXELS[:7].transpose(0, 3, 1, 2)),
        "y_test": LABELS[:7],
    },
}


@pytest.mark.parametrize("form", NPZ)
@pytest.mark.parametrize("save_as", [np.savez, np.savez_compressed])
def test_npz(tmp_path, form, save_as, monkeypatch, capsys):
    monkeypatch.setattr("selfie_io.convert.sources.npz._CHUNK_BYTES", 1000)  # read in several parts
    with (tmp_path / "a.npz").open("wb") as file:
        save_as(file, **NPZ[form])
    assert run("pack", tmp_path / "a.npz", tmp_path / "out") == 0
    said = capsys.readouterr().err
    assert ("val_images is left out" in said) == (form == "medmnist")
    for split, count in (("train", 50), ("test", 7)):
        stored = records(tmp_path / "out", split)
        np.testing.assert_array_equal(stored["pixels"], PIXELS[:count].transpose(0, 3, 1, 2))
        np.testing.assert_array_equal(stored["label"], LABELS[:count])


@pytest.mark.parametrize("axis", [(), (np.newaxis,)])
def test_grey_npz_and_class_names(tmp_path, axis):
    grey = PIXELS[..., 0][(..., *axis)]
    path = save(tmp_path / "a.npz", x_train=grey, y_train=LABELS, class_names=np.array(list("abcde")))
    assert run("pack", path, tmp_path / "out") == 0
    np.testing.assert_array_equal(records(tmp_path / "out")["pixels"][:, 0], PIXELS[..., 0])
    assert read_manifest(tmp_path / "out").class_names == list("abcde")


def raw_npy(shape, dtype="|u1", *, content=b"", order="False"):
    """A .npy file with any header at all."""
    header = f"{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header + b"\n" + content


WRONG = {
    "images must be uint8, got float64": {"x_train": PIXELS / 255},
    "1 or 3 channels, got shape (50, 6, 5, 2)": {"x_train": PIXELS[..., :2]},
    "1 or 3 channels, got shape (50, 6)": {"x_train": PIXELS[:, :, 0, 0]},
    "x_train.npy: 49 images, y_train.npy: 50 labels": {"x_train": PIXELS[:49]},
    "labels must be one integer an image, got float64": {"y_train": LABELS / 2},
    "labels must be one integer an image, got int64 of shape (50, 4)": {
        "y_train": np.eye(4, dtype=int)[LABELS]
    },
    "a label must be in 0..": {"y_train": LABELS - 1 - LABELS.min()},
    "y_train.npy: label 7: must be below 65536, got 4000000000": {
        "y_train": np.where(np.arange(50) == 7, 4_000_000_000, LABELS)
    },
    "must hold numbers or text, got object": {"y_train": LABELS.astype(object)},
    "column order": {"x_train": np.asfortranarray(PIXELS)},
    "is 150 bytes, 8 follow the header": {"y_train": raw_npy("(50,)", "V3", content=bytes(8))},
    "x_train.npy: an image must have at most": {"x_train": raw_npy("(0, 4194304, 2)")},
    "is 36893488147419103232 bytes": {"x_train": raw_npy("(2, 4294967296, 4294967296)")},
    "x_train.npy: the magic string is not correct": {"x_train": b"no array at all"},
    "y_train.npy: ": {"y_train": raw_npy("(__import__('os').system('false'),)")},
    "EOF in multi-line": {"y_train": raw_npy("(50L,")},
    "class_names.npy: invalid maximum character": {
        "class_names": raw_npy("(1,)", "<U1", content=b"\xff\xff\xff\x7f")
    },
    "y_train.npy: Header": {"y_train": raw_npy("(50,)" + " " * 20_000)},
}


@pytest.mark.parametrize("reason", WRONG)
def test_wrong_npz_is_named(tmp_path, reason, capsys):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in {**NPZ["keras"], **WRONG[reason]}.items():
            file = io.BytesIO()
            if isinstance(array, bytes):
                file.write(array)
            else:
                np.save(file, array)
            archive.writestr(f"{name}.npy", file.getvalue())
    said = complaint(capsys, 1, "pack", path, tmp_path / "out")
    assert reason in said
    assert not (tmp_path / "out").exists()
