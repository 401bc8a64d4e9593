"""dataset.json and the atomic writes under it: whole or not at all, no contradiction gets in or out."""

import errno
import json
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from selfie_io.records.atomic import atomic_folder, atomic_path
from selfie_io.records.lock import Busy
from selfie_io.records.manifest import (
    MANIFEST_NAME,
    FileEntry,
    Manifest,
    SplitEntry,
    read_manifest,
    write_manifest,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def manifest(**changes):
    file = FileEntry("data_batch_1.bin", 3, 3 * 12, "0" * 64, ["1" * 64])
    fields = {
        "name": "tiny",
        "channels": 1,
        "height": 2,
        "width": 2,
        "num_classes": 2,
        "class_names": ["cat", "dog"],
        "splits": {"train": SplitEntry(3, [file])},
        "channel_mean": [0.5],
        "channel_std": [0.25],
        "provenance": {"kind": "made", "options": {"size": None}},
    }
    return Manifest(**{**fields, **changes})


def edited(folder, edit):
    """Write a good manifest, change its JSON by `edit`, and put it back."""
    write_manifest(folder, manifest())
    path = folder / MANIFEST_NAME
    fields = json.loads(path.read_text())
    edit(fields)
    path.write_text(json.dumps(fields))
    return folder


def test_reads_what_was_written(tmp_path):
    write_manifest(tmp_path, manifest())
    assert read_manifest(tmp_path) == manifest()
    assert manifest().layout.record_bytes == 12
    assert next(iter(json.loads((tmp_path / MANIFEST_NAME).read_text()))) == "format_version"
    assert names(tmp_path) == [MANIFEST_NAME]


def test_none_without_manifest(tmp_path):
    assert read_manifest(tmp_path) is None


def test_keys_of_a_newer_minor_version_survive(tmp_path):
    edited(tmp_path, lambda f: f.update(format_version="1.9", licence={"spdx": "MIT"}, unknown=[1]))
    read = read_manifest(tmp_path)
    assert read.unknown == {"licence": {"spdx": "MIT"}, "unknown": [1]}
    write_manifest(tmp_path, read)
    written = json.loads((tmp_path / MANIFEST_NAME).read_text())
    assert (written["format_version"], written["licence"], written["unknown"]) == (
        "1.9",
        {"spdx": "MIT"},
        [1],
    )


LIES = {
    "format_version 2.0 is not 1.x": lambda f: f.update(format_version="2.0"),
    'format_version is "major.minor"': lambda f: f.pop("format_version"),
    "missing required field `num_classes`": lambda f: f.pop("num_classes"),
    "Expected `int`, got `str`": lambda f: f.update(height="2"),
    "must be positive": lambda f: f.update(width=0),
    "num_classes must be in 1..65536, got 0": lambda f: f.update(num_classes=0),
    "class_names: 3 classes have 2 names": lambda f: f.update(num_classes=3),
    "class_names must be distinct": lambda f: f.update(class_names=["cat", "cat"]),
    r"channel_mean must have 1 numbers from 0 to 1, got \[0.5, 0.5\]": lambda f: f.update(
        channel_mean=[0.5, 0.5]
    ),
    r"channel_std must have 1 numbers from 0 to 1, got \[7.0\]": lambda f: f.update(channel_std=[7.0]),
    "says 4 records, its files together 3": lambda f: f["splits"]["train"].update(records=4),
    "Invalid enum value 'dev'": lambda f: f["splits"].update(dev=f["splits"]["train"]),
    "file 0 of split 'train' must be data_batch_1.bin, got '../data_batch_1.bin'": lambda f: first(f).update(
        name="../data_batch_1.bin"
    ),
    "splits must hold 'train', got": lambda f: f["splits"].update(test=f["splits"].pop("train")),
    "3 records of 12 bytes are not 35 bytes": lambda f: first(f).update(bytes=35),
    "36 bytes have 1 blocks": lambda f: first(f).update(blocks=[]),
    "64 hex digits, got 'xyz'": lambda f: first(f).update(sha256="xyz"),
    "file 1 of split 'train' must be data_batch_2.bin": lambda f: f["splits"]["train"].update(
        records=6, files=[first(f), first(f)]
    ),
}


def first(fields):
    return fields["splits"]["train"]["files"][0]


@pytest.mark.parametrize("message", LIES)
def test_a_manifest_that_lies_is_refused_by_name(tmp_path, message):
    edited(tmp_path, LIES[message])
    with pytest.raises(ValueError, match=message) as caught:
        read_manifest(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / MANIFEST_NAME))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"[" * 100_000, b'{"name": "\xff"}', b"\x00" * 9])
def test_what_is_not_json_is_refused(tmp_path, content):
    (tmp_path / MANIFEST_NAME).write_bytes(content)
    with pytest.raises(ValueError, match=MANIFEST_NAME):
        read_manifest(tmp_path)


def test_a_contradiction_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="class_names"):
        write_manifest(tmp_path, msgspec.structs.replace(manifest(), class_names=[]))
    assert names(tmp_path) == []


def test_atomic_path_keeps_the_old_file_on_failure(tmp_path):
    target = tmp_path / "a.npy"
    target.write_text("old")
    with pytest.raises(OSError, match="No space"), atomic_path(target) as temporary:  # noqa: PT012
        assert temporary.suffix == ".npy"
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert (names(tmp_path), target.read_text()) == (["a.npy"], "old")
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert (names(tmp_path), target.read_text()) == (["a.npy"], "new")


def test_atomic_folder_replaces_only_when_told(tmp_path):
    target = tmp_path / "set"
    with atomic_folder(target) as temporary:
        (temporary / "one").write_text("1")
    with pytest.raises(FileExistsError), atomic_folder(target):
        pass
    with pytest.raises(KeyboardInterrupt), atomic_folder(target, replace=True) as temporary:  # noqa: PT012
        (temporary / "two").write_text("2")
        raise KeyboardInterrupt
    assert names(target) == ["one"]
    with atomic_folder(target, replace=True) as temporary:
        (temporary / "two").write_text("2")
    assert names(target) == ["two"]
    assert names(tmp_path) == ["set"]


@pytest.mark.parametrize("kind", ["path", "folder"])
def test_the_next_writer_removes_what_a_killed_one_left(tmp_path, kind):
    target = tmp_path / "set[1]"
    code = f"""
import sys, time
from selfie_io.records.atomic import atomic_{kind}
with atomic_{kind}({str(target)!r}) as temporary:
    print(temporary, flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as writer:
        leftover = Path(writer.stdout.readline().strip())
        if kind == "path":
            with atomic_path(target) as temporary:
                temporary.write_text("new")
        else:
            with pytest.raises(Busy, match=f"process {writer.pid}"), atomic_folder(target):
                pass
        assert leftover.exists(), "work in progress is left alone"
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert leftover.exists()
    with {"path": atomic_path, "folder": atomic_folder}[kind](target) as temporary:
        if kind == "path":
            temporary.write_text("new")
        assert not leftover.exists()
    assert names(tmp_path) == ["set[1]"]


def test_a_name_too_long_to_be_drawn_is_refused():
    from selfie_io.records.manifest import check_name_lengths

    check_name_lengths(["x" * 1000])
    with pytest.raises(ValueError, match="at most 1,000 characters, got 30,000"):
        check_name_lengths(["cat", "x" * 30_000])


def test_what_cannot_be_begun_is_told_by_the_name_that_was_asked_for(tmp_path):
    """Not by that of the temporary file, which nobody knows."""
    target = tmp_path / ("x" * 250)
    with pytest.raises(OSError, match="File name too long") as caught, atomic_path(target):
        pass
    assert caught.value.filename == str(target)
