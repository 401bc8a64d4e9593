"""A process of a run that is gone or stopped is named, in time, and the others end."""

import os
import signal
import threading
import time

import pytest
import torch

from selfie_io.termination import interrupted_by_sigterm
from selfie_train import cli
from selfie_train.training import distributed, life_signs
from selfie_train.training.distributed import ProcessGroup, hold_run, join_processes
from selfie_train.training.life_signs import LifeSigns


class Shared(dict):
    """A store in one process."""

    lost = False

    def set(self, key, value):
        if self.lost:
            raise RuntimeError("Connection reset by peer")
        self[key] = value.encode()

    def get(self, key):
        if self.lost:
            raise RuntimeError("Connection reset by peer")
        return self[key]


@pytest.fixture
def group(monkeypatch):
    """Three processes' signs over one store, and what each said as it ended."""
    monkeypatch.setattr(life_signs, "BEAT_SECONDS", 0.02)
    store, said = Shared(), {}
    members = [
        LifeSigns(store, rank, 3, 1.0, end=lambda text, rank=rank: said.setdefault(rank, text))
        for rank in range(3)
    ]
    for member in members:
        member.start()
    yield store, members, said
    for member in members:
        member._stop.set()


def until(condition):
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def test_a_silent_process_is_named_by_all_others(group):
    _, members, said = group
    time.sleep(1.2)
    assert said == {}  # nobody is silent
    members[1]._stop.set()  # as SIGSTOP or SIGKILL does
    until(lambda: len(said) == 2)
    assert set(said) == {0, 2}
    for text in said.values():
        assert "rank 1 of the run is gone or stopped: no sign of life for 1 s (--timeout)" in text


def test_a_process_that_ended_as_it_should_is_not_missed(group):
    _, members, said = group
    members[1].close()
    time.sleep(1.4)
    assert said == {}


def test_no_sign_of_life_follows_the_word_of_the_end():
    written = []

    class Slow(Shared):
        """A store in which a sign is still being written when the process ends."""

        def set(self, key, value):
            time.sleep(0.1 if value == "1" else 0)
            written.append(value)
            super().set(key, value)

    member = LifeSigns(Slow(), 0, 1, 1.0, end=written.append)
    member._stop.wait = lambda _: member._stop.is_set()
    thread = threading.Thread(target=member._exchange)
    thread.start()
    time.sleep(0.03)
    member.close()
    thread.join()
    assert written == ["0", "1", "ended"]


def test_a_lost_store_is_rank_0(group):
    store, _, said = group
    store.lost = True
    until(lambda: {1, 2} <= set(said))
    assert "rank 0" in said[1]


def test_an_exchange_that_fails_names_who_is_gone(group):
    _, members, _ = group
    members[0].advice = "continue with: selfie-train resume RUN"
    members[2]._stop.set()
    error = members[0].explain(RuntimeError("Connection closed\nby peer"))
    assert isinstance(error, OSError)
    assert "rank 2" in str(error)
    assert "Connection closed by peer. When this is repaired, continue with: selfie-train resume RUN" in str(
        error
    )


def test_the_sigterm_of_torchrun_does_not_hide_who_is_gone(group):
    """torchrun ends the processes that are left as soon as it sees a lost one."""
    _, members, _ = group
    members[2]._stop.set()
    lost = RuntimeError("Connection reset by peer")
    sender = threading.Timer(0.04, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with interrupted_by_sigterm():
        sender.start()
        assert "rank 2" in str(members[0].explain(lost))
        sender.join()


def test_an_exchange_that_fails_anywhere_in_a_run_is_explained(tmp_path, group):
    _, members, _ = group
    members[2]._stop.set()
    mine = ProcessGroup(1, 1, torch.device("cpu"), members[0])
    with pytest.raises(OSError, match="rank 2"), hold_run(tmp_path, mine):
        raise RuntimeError("Connection closed by peer")
    with pytest.raises(RuntimeError, match="of another kind"), hold_run(tmp_path, mine):
        raise RuntimeError("an error of another kind")


@pytest.mark.parametrize(
    ("environment", "rule"),
    [
        ({"WORLD_SIZE": "abc"}, "WORLD_SIZE must be a positive integer"),
        ({"WORLD_SIZE": "-1"}, "WORLD_SIZE must be a positive integer"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE must be a positive integer"),
        ({"WORLD_SIZE": "9" * 30}, "WORLD_SIZE must be a positive integer"),
        ({"WORLD_SIZE": "2"}, "RANK, MASTER_ADDR, MASTER_PORT must be set"),
        ({"WORLD_SIZE": "3", "RANK": "5", "MASTER_ADDR": "x", "MASTER_PORT": "1"}, "RANK must be in 0..2"),
        ({"WORLD_SIZE": "3", "RANK": "1", "MASTER_ADDR": "x", "MASTER_PORT": "x"}, "MASTER_PORT must be"),
    ],
)
def test_variables_of_torchrun_that_make_no_sense_are_refused(monkeypatch, environment, rule):
    for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=rule):
        join_processes("cpu")


def test_who_never_comes_is_an_error_in_time(monkeypatch):
    monkeypatch.setattr(distributed, "_START_SECONDS", 0.0)
    places = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    for name, value in places.items():
        monkeypatch.setenv(name, value)
    begin = time.monotonic()
    with pytest.raises(OSError, match=r"2 processes must meet at 127\.0\.0\.1:0 within 1 s, rank 0 gave up"):
        join_processes("cpu", timeout=1.0)
    assert time.monotonic() - begin < 20


def test_torch_does_not_bury_the_line_that_names_a_process(monkeypatch, capsys):
    """torch warns of a lost store in thirty lines, once a second, unless it is told before its import."""
    monkeypatch.delenv("TORCH_CPP_LOG_LEVEL", raising=False)
    assert cli.main(["resume", "no-such-folder"]) != 0
    assert os.environ["TORCH_CPP_LOG_LEVEL"] == "ERROR"
    assert "no-such-folder" in capsys.readouterr().err
