"""kill -9 at random moments: every file is the old one, the new one or absent, and the next run succeeds.

SELFIE_KILL_MOMENTS=50 tries 50 moments of each command instead of a few.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
from converting import as_zip, encoded, run

from selfie_io.convert.decoding.decoder import Decoder
from selfie_io.convert.decoding.images import ImageRule
from selfie_io.convert.sources.source import Item
from selfie_io.records.dataset import open_dataset

MOMENTS = int(os.environ.get("SELFIE_KILL_MOMENTS", "2"))

# Runs commands in forks of a process that has imported and compiled all: every moment is one of their work.
_STARTER = """
import json, os, sys
import selfie_io.convert.cli, selfie_io.convert.decoding.worker_process, selfie_io.labels.noise
import selfie_io.labels.overlay_writer
import selfie_io.records.dataset, PIL.Image
selfie_io.labels.noise.inject_noise([0], [[1, 0], [0, 1]])
while line := sys.stdin.readline():
    if not (process := os.fork()):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os._exit(selfie_io.convert.cli.main(json.loads(line)))
    print(process, flush=True)
    sys.stdin.readline()  # its number stays its own up to here, even if it has ended
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""


class Starter:
    """Starts commands, and kills them in the middle."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", _STARTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def seconds(self, arguments):
        """How long a command takes that nobody kills."""
        self._start(arguments)
        begin = time.monotonic()
        assert self._ask("") == 0
        return time.monotonic() - begin

    def kill(self, arguments, moment):
        """Kill a command after `moment` seconds of its work."""
        process = self._start(arguments)
        time.sleep(moment)
        os.kill(process, signal.SIGKILL)
        assert self._ask("") in (0, -signal.SIGKILL)

    def _start(self, arguments):
        return self._ask(json.dumps([str(argument) for argument in arguments]))

    def _ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def starter():
    made = Starter()
    with made.process:
        yield made
        made.process.stdin.close()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    rng = np.random.default_rng(0)
    image = [encoded(rng.integers(0, 256, (16, 16, 3), "u1")) for _ in range(20)]
    members = {
        f"{split}/{name}/{number:04d}.png": image[number % 20]
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


def hidden(folder):
    return [path.name for path in folder.rglob(".*")]


def moments(seconds):
    """Moments spread over so many seconds and half as many more: no two runs take the same time."""
    for number in range(MOMENTS):
        yield seconds * 1.5 * (number + random.Random(number).random()) / MOMENTS


def kill_moments(starter, arguments, seconds, reset, choices, folder):
    """Kill the command at moments spread over its work; what is then there must be one of `choices`, by name.

    `reset` makes the old state again. Prints how often each was found.
    """
    found = Counter()
    for moment in moments(seconds):
        reset()
        starter.kill(arguments, moment)
        state = [name for name, files in choices.items() if tree(folder) == files]
        assert state, f"at {moment} seconds: neither of {list(choices)}: {sorted(tree(folder))}"
        found[state[0]] += 1
        found["with leftovers"] += bool(hidden(folder))
    print(f"{arguments[0]}: {MOMENTS} moments of {seconds:.3f} seconds: {dict(found)}")


def remove(folder):
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def restore(out, old):
    """What was there before: another data set, or nothing."""
    if old:
        assert run("pack", "digits", out, "--force") == 0
    elif out.exists():
        remove(out)


@pytest.mark.slow
@pytest.mark.parametrize("old", [False, True])
def test_pack(tmp_path, source, starter, old):
    out = tmp_path / "set"
    arguments = ("pack", source, out, "--records-per-file", 30, "--workers", 2, "--force")
    seconds = starter.seconds(arguments)
    new = tree(tmp_path)

    def reset():
        restore(out, old)

    reset()
    kill_moments(
        starter, arguments, seconds, reset, {"old" if old else "absent": tree(tmp_path), "new": new}, tmp_path
    )
    assert run(*arguments) == 0
    assert tree(tmp_path) == new
    assert [path.name for path in tmp_path.iterdir()] == ["set"], "nothing is left over"


@pytest.mark.slow
@pytest.mark.parametrize("old", [False, True])
def test_merge(tmp_path, source, starter, old):
    plan, out = tmp_path / "plan.json", tmp_path / "plan"
    arguments = ("merge", plan, *(["--force"] if old else []))
    assert run("plan", source, plan, "--shards", 3, "--records-per-file", 10) == 0

    def shards():
        for shard in range(3):
            assert run("run", plan, "--shard", shard) == 0

    def reset():
        restore(out, old)
        shards()

    shards()
    seconds = starter.seconds(arguments)
    new = tree(tmp_path)
    reset()
    kill_moments(
        starter, arguments, seconds, reset, {"old" if old else "absent": tree(tmp_path), "new": new}, tmp_path
    )
    assert run(*arguments) == 0, "whether the killed one had finished or not"
    assert tree(tmp_path) == new
    assert not hidden(tmp_path), "nothing is left over"


@pytest.mark.slow
def test_noise(tmp_path, starter):
    folder = tmp_path / "set"
    assert run("pack", "digits", folder) == 0
    arguments = ("noise", folder, "--name", "noisy", "--rate")
    seconds = starter.seconds((*arguments, 0.4))
    second = open_dataset(folder).train.labels_from("noisy")
    found = Counter()
    for moment in moments(seconds):
        assert run(*arguments, 0.2) == 0
        first = open_dataset(folder).train.labels_from("noisy")
        starter.kill((*arguments, 0.4), moment)
        labels = open_dataset(folder).train.labels_from("noisy")
        state = "old" if np.array_equal(labels, first) else "new"
        assert state == "old" or np.array_equal(labels, second)
        found[state] += 1
        found["with leftovers"] += bool(hidden(folder))
    print(f"noise: {MOMENTS} moments of {seconds:.3f} seconds: {dict(found)}")
    assert run(*arguments, 0.4) == 0
    assert np.array_equal(open_dataset(folder).train.labels_from("noisy"), second)
    assert not hidden(folder), "nothing is left over"


@pytest.mark.timeout(30)
def test_a_decoder_that_is_left_does_not_wait_for_what_its_processes_have_in_hand():
    """They had up to twelve chunks of 128 images: Ctrl-C took many seconds."""
    image = encoded(np.zeros((4, 4, 3), np.uint8))
    items = (Item(image, 0, str(number)) for number in range(2000))
    decoder = Decoder(ImageRule(3, 4, 4), 2)

    def leave():
        with decoder:
            for _ in decoder.decode(items):
                if decoder._workers:
                    os.kill(decoder._workers[0]._process.pid, signal.SIGSTOP)  # it never answers
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert decoder._workers[0]._process.returncode == -signal.SIGKILL
