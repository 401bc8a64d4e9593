"""Links and FIFOs that a stranger planted: nothing is written through them, nothing waits for them."""

import os

import numpy as np
import pytest
from converting import as_folder, complaint, encoded, run

from selfie_io.records.plain_files import open_to_append
from selfie_train.commands.audit import _is_earlier_audit
from selfie_train.commands.compare import _is_earlier_comparison
from selfie_train.config import TrainConfig
from selfie_train.methods.forward import Forward
from selfie_train.runs.confusion import read_confusion
from selfie_train.runs.last_choices import read_sample_labels
from selfie_train.runs.log import COLUMNS, append_row
from selfie_train.runs.own_files import OwnFiles
from selfie_train.training.continuing import find_checkpoint
from selfie_train.training.run_log import RunLog

pytestmark = pytest.mark.timeout(20)


def test_a_file_is_appended_to_only_if_it_is_a_plain_one(tmp_path):
    for text in ("one\n", "two\n"):
        with open_to_append(tmp_path / "log") as file:
            file.write(text.encode())
    assert (tmp_path / "log").read_text() == "one\ntwo\n"
    (tmp_path / "link").symlink_to("victim")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    for name, told in (("link", "got a link"), ("fifo", "got a FIFO"), ("folder", "Is a directory")):
        with pytest.raises(OSError, match=told):
            open_to_append(tmp_path / name)
    with pytest.raises(OSError, match="got a device"):
        open_to_append("/dev/null")
    assert not (tmp_path / "victim").exists()


def test_the_logs_of_a_run_are_not_written_through_links(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine\n")
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("events.jsonl", "log.csv"):
        (folder / name).symlink_to(victim)
    with pytest.raises(OSError, match=r"events\.jsonl"):
        RunLog(folder, is_first=True, quiet=True, tensorboard=False).event("start")
    with pytest.raises(OSError, match=r"log\.csv"):
        append_row(folder, dict.fromkeys(COLUMNS, 1))
    assert victim.read_text() == "mine\n"


READERS = {
    "labels.csv": read_sample_labels,
    "confusion.csv": lambda folder: read_confusion(folder, 3),
    "log.csv": lambda folder: find_checkpoint(folder, TrainConfig("d"), [], print),
    "matrix.csv": lambda folder: Forward(
        TrainConfig("d", method="forward", method_options=(f"transition={folder / 'matrix.csv'}",)), 6, 3, 0.1
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_no_reader_of_a_run_waits_for_a_writer(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(OSError, match=name):
        READERS[name](tmp_path)


def test_a_folder_with_fifos_is_that_of_no_command(tmp_path):
    for name in ("audit.json", "table.csv", ".selfie-files.json"):
        os.mkfifo(tmp_path / name)
    assert not _is_earlier_audit(tmp_path)
    assert not _is_earlier_comparison(tmp_path)
    with pytest.raises(FileExistsError, match=r"table\.csv"):
        OwnFiles(tmp_path, ("table.csv",))


def test_a_corrected_copy_holds_no_device(tmp_path, capsys):
    """A link to an image is followed: sources are often made of them."""
    image = encoded(np.zeros((4, 4, 3), np.uint8))
    source = tmp_path / "source"
    as_folder(source, {f"{split}/{label}/1.png": image for split in ("train", "test") for label in "ab"})
    (tmp_path / "elsewhere.png").write_bytes(image)
    (source / "train" / "a" / "2.png").symlink_to(tmp_path / "elsewhere.png")
    decisions = tmp_path / "decisions.csv"
    decisions.write_text("name,decision,label\ntrain/a/1.png,relabel,b\n")
    words = ("apply", source, decisions, tmp_path / "out")
    (source / "endless.txt").symlink_to("/dev/zero")
    assert "endless.txt" in complaint(capsys, 1, *words)
    assert not (tmp_path / "out").exists()
    (source / "endless.txt").unlink()
    assert run(*words) == 0
    assert (tmp_path / "out" / "train" / "a" / "2.png").read_bytes() == image
