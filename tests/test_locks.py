"""One writer at a time: a named holder, a dead one, no locks; names that somebody took meanwhile."""

import errno
import fcntl
import os
import subprocess
import sys

import numpy as np
import pytest
from converting import complaint
from training import pack, pixels_and_labels

import selfie_io as sio
from selfie_io.labels import overlay_writer
from selfie_io.records.atomic import atomic_folder, atomic_path, scratch_folder
from selfie_io.records.lock import Busy, folder_lock, lock_holder, target_lock


@pytest.fixture
def data(tmp_path):
    pack(tmp_path / "data", *pixels_and_labels())
    return tmp_path / "data"


class Holder:
    """Another process that holds a lock file until it is killed."""

    def __init__(self, lock, text="process 7 on there (selfie-convert pack)"):
        code = "import fcntl, sys, os; f = open(sys.argv[1], 'w'); f.write(sys.argv[2]); f.flush()\n"
        code += "fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", code, str(lock), text],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.process.stdout.readline()

    def kill(self):
        self.process.kill()
        self.process.communicate()


def test_writers_of_a_data_set_are_told_who_writes_it(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(overlay_writer, "WAIT_SECONDS", 0)
    source = tmp_path / "source"
    source.mkdir()
    before = sorted(data.rglob("*"))
    holder = Holder(data / ".lock")
    named = "is being written by process 7 on there (selfie-convert pack): wait for it"
    try:
        assert named in complaint(capsys, 1, "noise", data, "--rate", "0.4")
        assert named in complaint(capsys, 1, "adopt", data, "--shape", "1,8,8", "--force")
        assert named in complaint(capsys, 1, "pack", "digits", data, "--workers", "1", "--force")
        assert lock_holder(data) == "process 7 on there (selfie-convert pack)"
    finally:
        holder.kill()
    assert lock_holder(data) is None
    sio.save_overlay(sio.open_dataset(data), "n", np.zeros(48, int))  # a dead holder holds nothing
    assert {*data.rglob("*")} - {*before} == {data / "labels", *(data / "labels").iterdir()}


def test_a_waiting_writer_goes_on_when_the_lock_is_free(tmp_path):
    holder = Holder(tmp_path / ".lock")
    with pytest.raises(Busy):
        folder_lock(tmp_path, wait_seconds=0.05).__enter__()
    os.kill(holder.process.pid, 15)
    with folder_lock(tmp_path, wait_seconds=30):
        assert (tmp_path / ".lock").read_text().startswith(f"process {os.getpid()} on ")
    holder.kill()
    assert not (tmp_path / ".lock").exists()


def test_where_there_are_no_locks_a_line_says_so(tmp_path, monkeypatch, capsys):
    def no_lock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", no_lock)
        with folder_lock(tmp_path), atomic_path(tmp_path / "file") as temporary:
            temporary.write_text("x")
    assert "no lock here (No locks available): let one process write it" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "x"
    opened = os.open

    def read_only(path, flags, *mode):
        if str(path).endswith(".lock"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return opened(path, flags, *mode)

    monkeypatch.setattr(os, "open", read_only)
    with folder_lock(tmp_path):
        pass
    assert "no lock here (Read-only file system)" in capsys.readouterr().err


def test_a_lock_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "precious").write_text("x")
    (tmp_path / ".lock").symlink_to("precious")
    with pytest.raises(OSError, match="a lock must be a plain file"), folder_lock(tmp_path):
        pass
    assert (tmp_path / "precious").read_text() == "x"


def test_of_two_that_make_one_folder_the_second_is_refused_at_once(tmp_path):
    with (
        atomic_folder(tmp_path / "out") as folder,
        pytest.raises(Busy, match="out is being written by process"),
        atomic_folder(tmp_path / "out"),
    ):
        pass
    (folder.parent / "out").rmdir()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("replace", [False, True])
def test_what_comes_to_the_place_of_a_new_folder_meanwhile_stays(tmp_path, replace):
    out = tmp_path / "out"

    def write():
        with atomic_folder(out, replace=replace, foreign=lambda _: ["thesis"]) as folder:
            (folder / "a").write_text("new")
            out.mkdir()
            (out / "thesis").write_text("mine")

    with pytest.raises(FileExistsError):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out / "thesis").read_text() == "mine"
    assert not (out / "a").exists()


def test_what_comes_to_the_place_of_a_new_file_meanwhile_stays(tmp_path, monkeypatch):
    def write():
        with atomic_path(tmp_path / "out.npz", replace=False) as temporary:
            temporary.write_text("new")
            (tmp_path / "out.npz").write_text("mine")

    with pytest.raises(FileExistsError):
        write()
    monkeypatch.setattr(sys, "platform", "other")  # without renameat2
    with pytest.raises(FileExistsError):
        write()
    assert (tmp_path / "out.npz").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_an_empty_folder_is_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("new")
    assert (tmp_path / "out/a").read_text() == "new"


def test_scratch_folders_of_killed_processes_go(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with target_lock(tmp_path / "x"), scratch_folder() as living:
        dead = living.with_name(".selfie.partial-1-0123abcd")
        dead.mkdir()
        (dead / "data_batch_1.bin").write_bytes(b"x")
        with scratch_folder() as other:
            assert living.exists()
            assert other != living
            assert not dead.exists()
            assert other.stat().st_mode & 0o777 == 0o700
    assert not list(tmp_path.iterdir())
