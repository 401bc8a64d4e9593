"""A full disk: one line with the file, the free and the needed bytes; the old state stays."""

import errno
import io
import os
import re
import resource
import signal
from pathlib import Path

import numpy as np
import pytest
from converting import as_folder, complaint, encoded
from training import pack, pixels_and_labels

import selfie_io as sio
from selfie_io.labels import overlay_writer
from selfie_io.records.atomic import atomic_folder, atomic_path
from selfie_io.records.npy_file import write_npy


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_the_file_and_the_bytes_are_named(tmp_path):
    def file(error):
        with atomic_path(tmp_path / "file.txt", needed_bytes=9) as temporary:
            temporary.write_bytes(b"1234")
            raise OSError(error, os.strerror(error))

    def folder():
        with atomic_folder(tmp_path / "out") as folder:
            (folder / "part").write_bytes(b"1234")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "part"))

    with pytest.raises(OSError, match=r"9 bytes are needed, [0-9,]+ are free: .*/file\.txt'") as raised:
        file(errno.ENOSPC)
    assert raised.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match=r"more than 4 bytes are needed, [0-9,]+ are free: .*/out/part'"):
        folder()
    with pytest.raises(OSError, match="the limit on a file's size"):
        file(errno.EFBIG)
    with pytest.raises(OSError, match=r"Input/output error: .*/file\.txt'"):
        file(errno.EIO)
    assert not list(tmp_path.iterdir())


def test_a_first_overlay_leaves_no_array_behind(tmp_path, monkeypatch):
    pack(tmp_path / "data", *pixels_and_labels())
    dataset = sio.open_dataset(tmp_path / "data")
    monkeypatch.setattr(overlay_writer, "write_npy", full)
    with pytest.raises(OSError, match=r"bytes are needed, [0-9,]+ are free: .*/labels/n\.npy'"):
        sio.save_overlay(dataset, "n", dataset.train.labels)
    assert not (tmp_path / "data/labels").exists()


@pytest.mark.parametrize(
    "array", [np.arange(1000, dtype="<i4"), np.ones((3, 2), np.float16), np.zeros((0, 4))]
)
def test_an_array_is_written_as_numpy_does(tmp_path, array):
    with (tmp_path / "ours.npy").open("wb") as file:
        write_npy(file, array)
    np.save(tmp_path / "numpy.npy", array)
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()


def test_an_array_that_is_cut_is_an_error(tmp_path):
    """numpy.save says nothing of an array of less than 4,096 bytes; here a limit stands for the disk."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))
        try:
            with (tmp_path / "cut.npy").open("wb") as file:
                write_npy(file, np.arange(1000, dtype="<i4"))
        except OSError as error:
            os._exit(0 if error.errno == errno.EFBIG else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_no_module_leaves_arrays_to_numpy():
    root = Path(sio.__file__).parents[1]
    for package in ("selfie_io", "selfie_train"):
        for path in (root / package).rglob("*.py"):
            if path.name not in ("npy_file.py", "export_formats.py"):  # into a zip, which is not a C stream
                assert not re.search(r"np\.save\(|format\.write_array\(|\.tofile\(", path.read_text()), path


def test_pack_names_out_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    image = encoded(np.zeros((4, 4, 3), np.uint8))
    as_folder(
        tmp_path / "source", {f"{split}/cat/{n}.png": image for split in ("train", "test") for n in "ab"}
    )

    class FullFile(io.BytesIO):
        write = full

    opened = type(tmp_path).open

    def open_full(path, mode="r", *more, **options):
        return FullFile() if mode == "xb" and path.suffix == ".bin" else opened(path, mode, *more, **options)

    monkeypatch.setattr(type(tmp_path), "open", open_full)
    said = complaint(capsys, 1, "pack", tmp_path / "source", tmp_path / "out", "--workers", "1")
    assert "No space left on device: 224 bytes are needed" in said  # 4 records of 8 + 48 bytes
    assert "/out/data_batch_1.bin'" in said
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
