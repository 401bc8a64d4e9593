"""kill -9 at random moments: every file is the old one, the new one or absent, and the next run succeeds.

SELFIE_KILL_MOMENTS=50 tries 50 moments of each command instead of a few.
"""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from converting import as_zip, encoded, run

from selfie_io.records.dataset import open_dataset

MOMENTS = int(os.environ.get("SELFIE_KILL_MOMENTS", "2"))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    rng = np.random.default_rng(0)
    picture = [encoded(rng.integers(0, 256, (16, 16, 3), "u1")) for _ in range(20)]
    members = {
        f"{split}/{name}/{number:04d}.png": picture[number % 20]
        for split, count in (("train", 300), ("test", 60))
        for name in ("cat", "dog")
        for number in range(count)
    }
    return as_zip(tmp_path_factory.mktemp("kill") / "source.zip", members)


def tree(folder):
    """Every file that a user sees below `folder`, with its content; unfinished ones begin with a dot."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


def start(arguments, **options):
    command = [sys.executable, "-m", "selfie_io.convert.cli", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, **options)


def killed_at(arguments, moment):
    """Start a command and kill it `moment` seconds after it has begun its work and said so."""
    with start(arguments, stderr=subprocess.PIPE) as process:
        process.stderr.readline()
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)


def duration(arguments):
    with start(arguments, stderr=subprocess.PIPE) as process:
        process.stderr.readline()
        begin = time.monotonic()
        process.stderr.read()
    assert process.returncode == 0
    return time.monotonic() - begin


@pytest.mark.slow
@pytest.mark.parametrize("old", [False, True])
def test_pack(tmp_path, source, old):
    out = tmp_path / "set"
    arguments = ("pack", source, out, "--records-per-file", 30, "--workers", 2, "--force")
    seconds = duration(arguments)
    new = tree(tmp_path)
    choices = [{}, new]
    if old:
        assert run("pack", "digits", out, "--force") == 0
        choices[0] = tree(tmp_path)
    seen = set()
    for number in range(MOMENTS):
        killed_at(arguments, random.Random(number).uniform(0, 1.1 * seconds))
        found = tree(tmp_path)
        assert found in choices
        seen.add(choices.index(found))
        if found == new and not old:
            for path in out.iterdir():
                path.unlink()
            out.rmdir()
        elif found == new:
            assert run("pack", "digits", out, "--force") == 0
    assert run(*arguments) == 0
    assert tree(tmp_path) == new
    assert [path.name for path in tmp_path.iterdir()] == ["set"], "nothing is left over"


@pytest.mark.slow
def test_merge(tmp_path, source):
    plan = tmp_path / "plan.json"
    assert run("plan", source, plan, "--shards", 3, "--records-per-file", 30) == 0
    for shard in range(3):
        assert run("run", plan, "--shard", shard) == 0
    before = tree(tmp_path)
    for number in range(MOMENTS):
        with start(("merge", plan)) as process:
            time.sleep(random.Random(number).uniform(0.2, 1.0))
            process.send_signal(signal.SIGKILL)
        if tree(tmp_path) != before:
            break
    if tree(tmp_path) == before:
        assert run("merge", plan) == 0
    assert run("verify", tmp_path / "plan", "--deep") == 0
    assert len(tree(tmp_path)) == 23


@pytest.mark.slow
def test_noise(tmp_path):
    assert run("pack", "digits", tmp_path / "set") == 0
    arguments = ("noise", tmp_path / "set", "--name", "noisy", "--rate")
    assert run(*arguments, 0.2) == 0
    first = np.load(tmp_path / "set" / "labels" / "noisy.npy")
    for number in range(MOMENTS):
        with start((*arguments, 0.4)) as process:
            time.sleep(random.Random(number).uniform(0.5, 3.0))
            process.send_signal(signal.SIGKILL)
        labels = open_dataset(tmp_path / "set").train.labels_from("noisy")
        rate = (labels != open_dataset(tmp_path / "set").train.labels).mean()
        assert np.array_equal(labels, first) or 0.35 < rate < 0.45
    assert run(*arguments, 0.4) == 0
    files = sorted(path.name for path in (tmp_path / "set" / "labels").iterdir())
    assert files == ["noisy.json", "noisy.npy"], "nothing is left over"
