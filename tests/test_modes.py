"""Modes and groups survive a replacement, and nothing becomes wider than it was."""

import os
import stat

import pytest

from selfie_io.records import modes
from selfie_io.records.atomic import atomic_folder, atomic_path


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("kept", [0o600, 0o640, 0o664, 0o400, 0o444])
def test_a_replaced_file_keeps_its_mode(tmp_path, kept):
    target = tmp_path / "dataset.json"
    target.write_text("old")
    target.chmod(kept)
    with atomic_path(target) as temporary:
        assert not mode(temporary) & ~kept & 0o077  # not even while it is written
        temporary.write_text("new")
    assert (mode(target), target.read_text()) == (kept, "new")


def test_a_replaced_folder_keeps_the_modes_of_all_that_it_holds(tmp_path):
    target = tmp_path / "set"
    (target / "labels").mkdir(parents=True)
    for name, bits in (("dataset.json", 0o640), ("data_batch_1.bin", 0o660), ("labels/a.npy", 0o600)):
        (target / name).write_text("old")
        (target / name).chmod(bits)
    target.chmod(0o750)
    with atomic_folder(target, replace=True) as temporary:
        assert not mode(temporary) & 0o007
        for name in ("dataset.json", "data_batch_1.bin", "data_batch_2.bin"):
            (temporary / name).write_text("new")
            (temporary / name).chmod(0o666)
    assert mode(target) == 0o750
    found = {path.name: mode(path) for path in target.iterdir()}
    assert found == {"dataset.json": 0o640, "data_batch_1.bin": 0o660, "data_batch_2.bin": 0o660}


def test_group_bits_go_where_the_group_cannot_be_given(tmp_path, monkeypatch):
    target = tmp_path / "file"
    target.write_text("old")
    target.chmod(0o664)
    foreign = os.stat_result([*target.stat()[:5], target.stat().st_gid + 1, *target.stat()[6:]])
    monkeypatch.setattr(type(target), "stat", lambda self, **_: foreign if self == target else os.stat(self))  # noqa: PTH116
    monkeypatch.setattr(os, "chown", lambda *_: (_ for _ in ()).throw(PermissionError()))
    new = tmp_path / "new"
    new.write_text("new")
    modes.adopt(new, target)
    assert stat.S_IMODE(os.stat(new).st_mode) == 0o644  # noqa: PTH116
