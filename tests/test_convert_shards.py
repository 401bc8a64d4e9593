"""plan, run, merge: the same bytes as one pack, for any number of shards, in any order."""

import json
import os

import numpy as np
import pytest
from converting import as_folder, as_tar, as_zip, complaint, encoded, run


@pytest.fixture
def members():
    """A train split of 40 and a test split of 12 small images of two classes, by file name."""
    rng = np.random.default_rng(0)
    return {
        f"{split}/{name}/{number:02d}.png": encoded(rng.integers(0, 256, (5, 4, 3), "u1"))
        for split, count in (("train", 20), ("test", 6))
        for name in ("cat", "dog")
        for number in range(count)
    }


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("shards", [1, 3, 20])
@pytest.mark.parametrize("form", [as_folder, as_zip, as_tar])
def test_the_same_as_one_pack(tmp_path, members, form, shards, capsys):
    source = form(tmp_path / "source", members)
    options = ("--records-per-file", 7, "--size", "4x4", "--name", "same")
    assert run("pack", source, tmp_path / "whole", *options) == 0
    plan = tmp_path / "plans" / "plan.json"
    plan.parent.mkdir()
    assert run("plan", source, plan, "--shards", shards, *options) == 0
    order = np.random.default_rng(1).permutation(shards).tolist()
    for shard in order:
        assert run("run", plan, "--shard", shard) == 0
    assert run("run", plan, "--shard", 0) == 0
    assert "is written already" in capsys.readouterr().out
    assert run("merge", plan) == 0
    assert contents(plan.with_suffix("")) == contents(tmp_path / "whole")
    assert sorted(path.name for path in plan.parent.iterdir()) == ["plan", "plan.json"]
    assert run("verify", plan.with_suffix(""), "--deep") == 0


def test_what_is_missing_or_other_is_said(tmp_path, members, capsys):
    source = as_folder(tmp_path / "source", members)
    plan = tmp_path / "plan.json"
    assert run("plan", source, plan, "--shards", 3, "--records-per-file", 8, "--out", tmp_path / "out") == 0
    assert run("run", plan, "--shard", 1) == 0
    assert "not written yet: shard 0, 2" in complaint(capsys, 1, "merge", plan)
    assert "--shard must be in 0..2, got 3" in complaint(capsys, 2, "run", plan, "--shard", 3)
    for shard in (0, 2):
        assert run("run", plan, "--shard", shard) == 0
    first = tmp_path / ".out.shards" / "1" / "data_batch_3.bin"
    content = first.read_bytes()
    first.write_bytes(content[:-1])
    assert "data_batch_3.bin: has 543 bytes, its shard wrote 544" in complaint(capsys, 1, "merge", plan)
    assert not (tmp_path / "out").exists()
    first.write_bytes(content)
    assert run("merge", plan, "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["records"] == {"train": 40, "test": 12}
    assert run("merge", plan) == 0, "what is merged is merged"
    assert run("plan", source, plan, "--shards", 3, "--records-per-file", 9, "--out", tmp_path / "out") == 0
    assert "--force" in complaint(capsys, 2, "merge", plan)


def test_an_older_folder_is_not_taken_for_merged(tmp_path, members, capsys):
    source = as_folder(tmp_path / "source", members)
    plan = tmp_path / "plan.json"
    assert run("pack", source, tmp_path / "plan") == 0
    os.utime(tmp_path / "plan" / "dataset.json", (0, 0))
    assert run("plan", source, plan, "--shards", 2) == 0
    assert "--force" in complaint(capsys, 2, "merge", plan)
    assert "not written yet: shard 0, 1" in complaint(capsys, 1, "merge", plan, "--force")


def test_a_changed_source_is_refused(tmp_path, members, capsys):
    source = as_folder(tmp_path / "source", members)
    plan = tmp_path / "plan.json"
    assert run("plan", source, plan, "--shards", 2, "--records-per-file", 8) == 0
    (source / "train/cat/99.png").write_bytes(members["train/cat/00.png"])
    assert "has changed since" in complaint(capsys, 1, "run", plan, "--shard", 0)
    (source / "train/cat/99.png").unlink()
    (source / "train/cat/05.png").write_bytes(b"?")
    said = complaint(capsys, 1, "run", plan, "--shard", 0)
    assert "train/cat/05.png: is not an image" in said
    assert not (tmp_path / ".plan.shards" / "0").exists()
    elsewhere = as_zip(tmp_path / "elsewhere.zip", members)
    assert run("run", plan, "--shard", 0, "--source", elsewhere) == 0


def test_a_failed_shard_leaves_nothing(tmp_path, members, capsys):
    source = as_folder(tmp_path / "source", members | {"train/cat/07.png": b"no image"})
    plan = tmp_path / "plans" / "plan.json"
    plan.parent.mkdir()
    assert run("plan", source, plan, "--shards", 2, "--size", "4x4", "--out", tmp_path / "new" / "out") == 0
    assert "07.png" in complaint(capsys, 1, "run", plan, "--shard", 0)
    assert not (tmp_path / "new").exists()
    assert run("run", plan, "--shard", 1) == 0
    complaint(capsys, 1, "run", plan, "--shard", 0)
    assert [path.name for path in (tmp_path / "new" / ".out.shards").iterdir()] == ["1"]


def test_shards_of_another_plan_do_not_count(tmp_path, members, capsys):
    source = as_folder(tmp_path / "source", members)
    plan = tmp_path / "plan.json"
    assert run("plan", source, plan, "--shards", 1) == 0
    assert run("run", plan, "--shard", 0) == 0
    assert run("plan", source, plan, "--shards", 1, "--size", "3x3") == 0
    assert "not written yet: shard 0" in complaint(capsys, 1, "merge", plan)
    assert run("run", plan, "--shard", 0) == 0
    assert run("merge", plan) == 0


@pytest.mark.parametrize("content", ["", "{}", '{"files": 3}', "[]"])
def test_no_plan_is_refused(tmp_path, content, capsys):
    plan = tmp_path / "plan.json"
    assert "PLAN must exist" in complaint(capsys, 2, "run", plan, "--shard", 0)
    plan.write_text(content)
    assert "plan.json: is no plan" in complaint(capsys, 1, "run", plan, "--shard", 0)
    assert "plan.json: is no plan" in complaint(capsys, 1, "merge", plan)
