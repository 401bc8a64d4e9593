"""Commands replace only what they wrote: files of others are refused by name, and stay."""

import os
import signal
import time

import numpy as np
import pytest
from converting import as_folder, complaint, encoded, run
from training import pack, pixels_and_labels, small

import selfie_io as sio
from selfie_io.convert import export_formats
from selfie_io.convert.cli import main
from selfie_io.records.atomic import atomic_folder
from selfie_io.records.manifest import read_manifest, write_manifest
from selfie_io.termination import sigterm_handler_kept
from selfie_train import train
from selfie_train.commands.compare import compare
from selfie_train.runs.own_files import OwnFiles, check_new_run


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own") / "data"
    pack(folder, *pixels_and_labels())
    return folder


def test_only_files_that_a_command_wrote_and_nobody_changed_are_replaced(tmp_path):
    def write(text):
        own = OwnFiles(tmp_path, ("a.csv", "b.html"))
        with own.being_written():
            for name in ("a.csv", "b.html"):
                (tmp_path / name).write_text(text)

    write("one")
    write("two")
    (tmp_path / "b.html").write_text("two, with my notes")
    with pytest.raises(FileExistsError, match=r"would overwrite b\.html: move it away, or choose another"):
        write("three")
    assert (tmp_path / "a.csv").read_text() == "two"
    (tmp_path / "b.html").unlink()
    with OwnFiles(tmp_path, ("a.csv", "b.html")).being_written():
        (tmp_path / "b.html").write_text("half of")
        status = os.fork()
        if not status:
            os._exit(OwnFiles(tmp_path, ("a.csv", "b.html")) is None)  # as after a kill at this moment
        assert os.waitstatus_to_exitcode(os.waitpid(status, 0)[1]) == 0


def test_a_run_has_a_folder_of_its_own(data, tmp_path):
    with pytest.raises(FileExistsError, match="holds a data set: choose another"):
        check_new_run(data)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("file", "link"):
        for check in (check_new_run, lambda folder: OwnFiles(folder, ("a.csv",))):
            with pytest.raises(NotADirectoryError, match="--out must be a folder"):
                check(tmp_path / name)
    check_new_run(tmp_path / "absent")


def test_a_comparison_and_its_folder(data, tmp_path):
    result = train(
        small(data, tmp_path / "run", method="default", noise="none", epochs=1, warmup=0, batch_size=16),
        quiet=True,
    )
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.html").write_text("mine")
    with pytest.raises(FileExistsError, match=r"would overwrite report\.html"):
        compare([result.folder], out)
    assert [path.name for path in out.iterdir()] == ["report.html"]
    with pytest.raises(FileExistsError, match=r"would overwrite report\.html"):
        compare([result.folder], result.folder)  # the run's own report
    (out / "report.html").unlink()
    compare([result.folder], out)
    compare([result.folder], out)
    (out / ".selfie-files.json").unlink()  # version 0.1 kept no list
    compare([result.folder], out)


def test_images_replace_only_images_of_the_command(data, tmp_path, capsys):
    out = tmp_path / "grid.png"
    assert run("preview", data, out) == 0
    assert run("preview", data, out, "--columns", 3) == 0
    for content in (b"mine", encoded(np.zeros((4, 4, 3), np.uint8))):
        out.write_bytes(content)
        assert "grid.png is another file" in complaint(capsys, 2, "preview", data, out)
        assert out.read_bytes() == content


def test_a_plan_replaces_only_a_plan(tmp_path, capsys):
    image = encoded(np.zeros((4, 4, 3), np.uint8))
    as_folder(tmp_path / "source", {f"{split}/cat/0.png": image for split in ("train", "test")})
    plan = tmp_path / "plan.json"
    assert run("plan", tmp_path / "source", plan, "--shards", 1) == 0
    assert run("plan", tmp_path / "source", plan, "--shards", 2) == 0
    plan.write_text('{"my": "plan"}')
    assert "plan.json is another file" in complaint(
        capsys, 2, "plan", tmp_path / "source", plan, "--shards", 1
    )
    assert plan.read_text() == '{"my": "plan"}'


def test_two_classes_never_share_a_folder(tmp_path, capsys):
    named = tmp_path / "named"
    pack(named, *pixels_and_labels())
    manifest = read_manifest(named)
    write_manifest(named, type(manifest)(**{
        **{name: getattr(manifest, name) for name in manifest.__struct_fields__},
        "class_names": ["class 1", "..", "c", "d"],
    }))  # fmt: skip
    said = complaint(capsys, 1, "export", named, tmp_path / "out")
    assert "'class 1' and '..' would both be 'class 1'" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("inside", ["sub", "labels/x.npz", "data_batch_9.bin"])
def test_nothing_is_exported_into_the_data_set(data, inside, capsys):
    to = "folder" if inside == "sub" else "npz"
    said = complaint(capsys, 2, "export", data, data / inside, "--to", to)
    assert "OUT must not be inside FOLDER" in said


def test_a_terminated_command_leaves_nothing(data, tmp_path, monkeypatch):
    """SIGTERM in the middle of a pack: its folder goes, the locks are free, and the status tells."""
    process = os.fork()
    if not process:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)

        def slow(*_, **__):
            with atomic_folder(tmp_path / "out") as folder:
                (folder / "a").write_text("x")
                time.sleep(60)

        monkeypatch.setitem(export_formats.TARGETS, "npz", slow)
        status = 97
        try:
            status = main(["export", str(data), str(tmp_path / "x.npz"), "--to", "npz"])
        finally:  # whatever comes, this process must not go on with the tests
            os._exit(status)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".out.partial-*/a")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 143
    assert not list(tmp_path.iterdir())
    assert sio.open_dataset(data)


def test_a_library_does_not_keep_the_handler_of_sigterm():
    before = signal.getsignal(signal.SIGTERM)
    with sigterm_handler_kept():
        signal.signal(signal.SIGTERM, lambda *_: None)
    assert signal.getsignal(signal.SIGTERM) is before
