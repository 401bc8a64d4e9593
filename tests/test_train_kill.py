"""kill -9 at random moments of a training run: resumed, it ends as the run that was left alone, bit for bit.

SELFIE_KILL_MOMENTS=10 kills ten times for each method instead of once.
"""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from training import assert_same_files, small

from selfie_train import train

MOMENTS = int(os.environ.get("SELFIE_KILL_MOMENTS", "1"))
KILLS_OF_A_RUN = 5


def start(config):
    """Begin the run of a config, or go on with it, in a process of its own."""
    folder = config.run_folder
    command = [sys.executable, "-m", "selfie_train", "resume", str(folder)]
    if not (folder / "config.json").exists():
        settings = {name: value for name, value in config.to_json().items() if value not in (None, False, ())}
        options = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
        command = [sys.executable, "-m", "selfie_train", "run", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def newest(folder):
    """The step of the newest checkpoint; -1 if there is none."""
    return max((int(path.stem.removeprefix("step-")) for path in folder.glob("step-*.json")), default=-1)


def kill_after(process, checkpoints, step, in_writing, delay):
    """Kill once a checkpoint of `step` or later is there: after `delay`, or while the next one is written.

    Returns whether there was something left to kill.
    """
    while process.poll() is None and newest(checkpoints) < step:
        time.sleep(0.001)
    if in_writing:
        while process.poll() is None and not list(checkpoints.glob(".step-*")):
            pass
    else:
        time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.timeout(300 + 60 * MOMENTS)
@pytest.mark.parametrize("method", ["selfie", "co-teaching", "active-bias"])
def test_a_killed_run_loses_nothing(digits, tmp_path, method):
    options = {"method": method, "epochs": 4, "batch_size": 256, "checkpoint_batches": 3}
    options["restarts"] = 1 if method == "selfie" else 0
    train(small(digits, tmp_path / "whole", **options), quiet=True)
    last = newest(tmp_path / "whole" / "checkpoints")
    moments = random.Random(method)
    kills = runs = 0
    while kills < MOMENTS:
        runs += 1
        config = small(digits, tmp_path / f"killed-{runs}", **options)
        checkpoints = config.run_folder / "checkpoints"
        # From before the first checkpoint until after the last, when the results are written.
        for step in sorted(moments.randint(-1, last) for _ in range(min(KILLS_OF_A_RUN, MOMENTS - kills))):
            kills += kill_after(
                start(config), checkpoints, step, moments.random() < 0.5, moments.uniform(0, 0.3)
            )
        assert start(config).wait() == 0
        assert_same_files(tmp_path / "whole", config.run_folder)
    print(f"{method}: {kills} kills in {runs} runs")
