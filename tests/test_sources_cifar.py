"""CIFAR in its true layouts: pickles as Python 2 wrote them, binary files; and hostile ones."""

import io
import os
import pickle
import struct

import numpy as np
import pytest
from converting import as_folder, as_tar, complaint, records, run

from selfie_io.records.manifest import read_manifest


class Python2Pickler(pickle._Pickler):
    """Writes `str` and `bytes` as Python 2 wrote its byte strings."""

    dispatch = dict(pickle._Pickler.dispatch)  # noqa: RUF012

    def save_string(self, value):
        content = value.encode("latin-1") if isinstance(value, str) else value
        self.write(b"T" + struct.pack("<i", len(content)) + content)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_string


def python2_pickle(value):
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(value)
    return file.getvalue().replace(b"numpy._core.", b"numpy.core.")  # the name of that time


@pytest.fixture
def batches():
    """Ten images a batch, two training batches and a test batch: (pixels (n, 3072), labels)."""
    rng = np.random.default_rng(0)
    return [(rng.integers(0, 256, (10, 3072), "u1"), rng.integers(0, 10, 10).tolist()) for _ in range(3)]


BATCHES = ("data_batch_1", "data_batch_2", "test_batch")
NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def cifar10_python(batches, dump=python2_pickle):
    files = {}
    for name, (pixels, labels) in zip(BATCHES, batches, strict=True):
        files[f"cifar-10-batches-py/{name}"] = dump({
            "batch_label": name, "labels": labels, "data": pixels, "filenames": ["a.png"] * 10,
        })  # fmt: skip
    files["cifar-10-batches-py/batches.meta"] = dump({
        "num_cases_per_batch": 10, "label_names": NAMES, "num_vis": 3072,
    })  # fmt: skip
    files["cifar-10-batches-py/readme.html"] = b"<html>"
    return files


def cifar10_binary(batches):
    files = {"batches.meta.txt": "\n".join([*NAMES, ""]).encode()}
    for name, (pixels, labels) in zip(BATCHES, batches, strict=True):
        content = b"".join(bytes([label]) + row.tobytes() for label, row in zip(labels, pixels, strict=True))
        files[f"{name}.bin"] = content
    return {f"cifar-10-batches-bin/{name}": content for name, content in files.items()}


def cifar100_python(batches, dump=python2_pickle):
    files = {}
    for name, (pixels, labels) in zip(("train", "test"), batches[::2], strict=True):
        files[f"cifar-100-python/{name}"] = dump({
            "filenames": ["a.png"] * 10, "batch_label": "x", "fine_labels": labels,
            "coarse_labels": [0] * 10, "data": pixels,
        })  # fmt: skip
    names = [f"fine {i}" for i in range(100)]
    files["cifar-100-python/meta"] = dump({"fine_label_names": names, "coarse_label_names": ["c"] * 20})
    return files


def cifar100_binary(batches):
    files = {"fine_label_names.txt": "\n".join(f"fine {i}" for i in range(100)).encode()}
    for name, (pixels, labels) in zip(("train", "test"), batches[::2], strict=True):
        rows = (bytes([7, label]) + row.tobytes() for label, row in zip(labels, pixels, strict=True))
        files[f"{name}.bin"] = b"".join(rows)
    return {f"cifar-100-binary/{name}": content for name, content in files.items()}


def check(out, batches, class_names):
    assert read_manifest(out).class_names == class_names
    for split, of_split in (("train", batches[:-1]), ("test", batches[-1:])):
        stored = records(out, split)
        pixels = np.concatenate([pixels for pixels, _ in of_split]).reshape(-1, 3, 32, 32)
        np.testing.assert_array_equal(stored["pixels"], pixels)
        np.testing.assert_array_equal(stored["label"], np.concatenate([labels for _, labels in of_split]))


@pytest.mark.parametrize("form", ["tar.gz", "folder", "inner folder"])
@pytest.mark.parametrize("layout", [cifar10_python, cifar10_binary, cifar100_python, cifar100_binary])
def test_every_layout_in_every_form(tmp_path, batches, layout, form, capsys):
    files = layout(batches)
    if form == "tar.gz":
        source = as_tar(tmp_path / "source.tar.gz", files, "w:gz")
    else:
        source = as_folder(tmp_path / "source", files)
        if form == "inner folder":
            (source,) = source.iterdir()
    assert run("pack", source, tmp_path / "out") == 0
    assert (
        f": {layout.__name__.replace('_python', '').replace('_binary', '-bin')}: " in capsys.readouterr().err
    )
    if "100" in layout.__name__:
        check(tmp_path / "out", batches[::2], [f"fine {i}" for i in range(100)])
    else:
        check(tmp_path / "out", batches, NAMES)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_batches_that_python_3_pickled_again(tmp_path, batches, protocol):
    def dump(value):
        return pickle.dumps({key.encode(): of_key for key, of_key in value.items()}, protocol)

    source = as_folder(tmp_path / "source", cifar10_python(batches, dump))
    assert run("pack", source, tmp_path / "out") == 0
    check(tmp_path / "out", batches, NAMES)


class Payload:
    """Runs a command when it is unpickled by something careless."""

    def __init__(self, flag):
        self.flag = flag

    def __reduce__(self):
        return os.system, (f"touch {self.flag}",)


BATCH = "cifar-10-batches-py/data_batch_2"


@pytest.mark.parametrize("name", [BATCH, "cifar-10-batches-py/batches.meta"])
def test_a_pickle_that_calls_code_is_refused_not_run(tmp_path, batches, name, capsys):
    flag = tmp_path / "flag"
    for payload in (Payload(flag), {"data": Payload(flag), "labels": [1]}, {"label_names": [Payload(flag)]}):
        files = {**cifar10_python(batches), name: pickle.dumps(payload, 2)}
        source = as_tar(tmp_path / "source.tar", files)
        said = complaint(capsys, 1, "pack", source, tmp_path / "out")
        assert f"{name}: " in said
        assert "system" in said
        assert not flag.exists()
        assert not (tmp_path / "out").exists()


def changed(**changes):
    return lambda batch: {**batch, **changes}


WRONG = {
    "a row of 'data' must have 3072 bytes, got 3071": changed(data=np.zeros((10, 3071), "u1")),
    "'data' must be a uint8 array of two dimensions, got float64 of shape": changed(
        data=np.zeros((10, 3072))
    ),
    "'data' must be a uint8 array of two dimensions, got nothing": lambda batch: {"labels": batch["labels"]},
    "'data' must be a uint8 array of two dimensions, got uint8 of shape (3072,)": changed(
        data=np.zeros(3072, "u1")
    ),
    "10 images, 9 labels": changed(labels=[0] * 9),
    "'labels' must be a list of integers, got list": changed(labels=["0"] * 10),
    "'labels' must be a list of integers, got nothing": lambda batch: {"data": batch["data"]},
    "data_batch_2#3: a label must be in 0..9, got 10": changed(labels=[0, 0, 0, 10, 0, 0, 0, 0, 0, 0]),
    "data_batch_2#0: a label must be in 0..9, got -1": changed(labels=[-1] * 10),
    "must hold a dict, got list": lambda batch: [1, 2],  # noqa: ARG005
}


@pytest.mark.parametrize("reason", WRONG)
def test_batches_of_a_wrong_shape_are_named(tmp_path, batches, reason, capsys):
    files = cifar10_python(batches, lambda value: pickle.dumps(value, 2))
    files[BATCH] = pickle.dumps(WRONG[reason](pickle.loads(files[BATCH])), 2)
    said = complaint(capsys, 1, "pack", as_folder(tmp_path / "s", files), tmp_path / "out")
    assert reason in said
    assert "data_batch_2" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("keep", [0, 1, 100, -1, -5000])
def test_a_truncated_pickle_is_named(tmp_path, batches, keep, capsys):
    files = cifar10_python(batches)
    files[BATCH] = files[BATCH][:keep]
    said = complaint(capsys, 1, "pack", as_folder(tmp_path / "s", files), tmp_path / "out")
    assert "data_batch_2" in said
    del files[BATCH]
    files["cifar-10-batches-py/data_batch_3"] = b""
    said = complaint(capsys, 1, "pack", as_folder(tmp_path / "gap", files), tmp_path / "out")
    assert "data_batch_2 is missing" in said


def test_truncated_and_strange_binary_files_are_named(tmp_path, batches, capsys):
    files = cifar10_binary(batches)
    name = "cifar-10-batches-bin/data_batch_2.bin"
    files[name] = files[name][:-1]
    said = complaint(capsys, 1, "pack", as_folder(tmp_path / "a", files), tmp_path / "out")
    assert "data_batch_2.bin: record 9: byte 27657: ends after 3072 of the 3073 bytes" in said
    files[name] = bytes([77]) + files[name]
    files[name] = files[name][:3073]
    said = complaint(capsys, 1, "pack", as_folder(tmp_path / "b", files), tmp_path / "out")
    assert "data_batch_2.bin#0: a label must be in 0..9, got 77" in said
    del files[name]
    files["cifar-10-batches-bin/data_batch_3.bin"] = b""
    said = complaint(capsys, 1, "pack", as_folder(tmp_path / "c", files), tmp_path / "out")
    assert "data_batch_2.bin is missing" in said


def test_record_files_are_not_taken_for_cifar(tmp_path, capsys):
    (tmp_path / "data_batch_1.bin").write_bytes(bytes(3080))
    said = complaint(capsys, 1, "pack", tmp_path, tmp_path.parent / "out")
    assert "no kind fits" in said
    assert "selfie-convert adopt" in said


def test_a_difference_from_the_published_sum_is_said(tmp_path, batches, monkeypatch, capsys):
    import hashlib

    from selfie_io.convert.sources import published_digests

    source = as_tar(tmp_path / "cifar-10-python.tar.gz", cifar10_python(batches), "w:gz")
    assert run("pack", source, tmp_path / "a") == 0
    said = capsys.readouterr().err
    assert "note: cifar-10-python.tar.gz: MD5 " in said
    assert "published is c58f30108f718f92721af3b95e74349a: another edition, or damaged" in said
    monkeypatch.setitem(published_digests.MD5, source.name, hashlib.md5(source.read_bytes()).hexdigest())
    assert run("pack", source, tmp_path / "b") == 0
    assert "note: as published (MD5): cifar-10-python.tar.gz" in capsys.readouterr().err
