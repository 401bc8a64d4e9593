"""The soak, the fuzzers and the audit of dependencies: what is wrong is seen, and can be repeated."""

import json

import audit_dependencies
import numpy as np
import pytest
from fuzz import parsers
from soak import __main__ as soak_command
from soak import loaders, truncations
from soak.memory import Samples
from soak.trial import Failure, Trial

import selfie_io as sio


def session(tmp_path, seed=3):
    trial = Trial(seed, "loaders", 0, tmp_path)
    split, records = loaders.data_set(trial, (1, 9, 7))
    return loaders.Session(trial, split, records), trial


def test_a_trial_is_a_function_of_its_seed(tmp_path):
    one, other = Trial(1, "loaders", 2, tmp_path), Trial(1, "loaders", 2, tmp_path)
    assert [one.random.random() for _ in range(3)] == [other.random.random() for _ in range(3)]
    assert one.random.random() != Trial(1, "loaders", 3, tmp_path).random.random()
    assert one.repeat == "PYTHONPATH=tests python -m soak --seed 1 --part loaders --trial 2"


@pytest.mark.parametrize("wrong", ["labels", "record_ids", "indices", "images"])
def test_a_wrong_batch_is_seen(tmp_path, wrong):
    made, trial = session(tmp_path)
    made.options.update(views=1, drop_last=False, rank=0, world_size=1)
    made.loader = made.open()
    made.loader.set_epoch(0)
    batch = next(iter(made.loader))
    made.check(0, 0, batch)
    assert trial.counts["batches"] == 1
    tensor = getattr(batch, wrong).clone()
    tensor.view(-1)[0] += 1
    with pytest.raises(Failure, match=wrong.replace("_", " ").removesuffix("s")):
        made.check(0, 0, batch._replace(**{wrong: tensor}))


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_session_holds_all_promises(tmp_path):
    trial = Trial(5, "loaders", 1, tmp_path)
    loaders.run(trial)
    assert trial.counts["operations"] >= 5


def test_zeros_in_place_of_records_are_seen(tmp_path):
    truncations.write(tmp_path, [5, 3])
    split = sio.open_dataset(tmp_path, shape=truncations.SHAPE, num_classes=10).train
    images = split.images(np.arange(8))
    truncations.check(np.arange(8), split.labels, images)
    images[3, 0, 0, 0] = 0
    with pytest.raises(Failure, match="pixels"):
        truncations.check(np.arange(8), split.labels, images)
    with pytest.raises(Failure, match="labels"):
        truncations.check(np.arange(8), np.zeros(8, int), split.images(np.arange(8)))


def test_growing_memory_and_descriptors_are_seen():
    samples = Samples()
    samples.rows = [(second, 500.0 + second % 3, 20, 9) for second in range(100)]
    assert samples.judged()["flat"]
    samples.rows = [(second, 500.0 + second, 20, 9) for second in range(100)]
    assert not samples.judged()["flat"]
    samples.rows = [(second, 500.0, 20 + second // 10, 9) for second in range(100)]
    assert not samples.judged()["flat"]


def test_a_failure_tells_the_seed_and_how_to_repeat_it(tmp_path, monkeypatch, capsys):
    def fail(trial):
        trial.counts["batches"] += 7
        raise Failure("a promise")

    monkeypatch.setattr(soak_command, "parts_of", lambda _: {"loaders": fail})
    out = tmp_path / "figures.json"
    monkeypatch.setattr("sys.argv", ["soak", "--seconds", "9", "--seed", "12", "--out", str(out)])
    assert soak_command.main() == 1
    told = capsys.readouterr()
    assert "FAILED: loaders, trial 0, seed 12: Failure: a promise" in told.err
    assert "--seed 12 --part loaders --trial 0" in told.err
    assert told.out.splitlines()[-1].startswith("soak: failed: seed 12")
    figures = json.loads(out.read_text())
    assert (figures["counts"], figures["seed"]) == ({"batches": 7}, 12)


@pytest.mark.parametrize("parser", ["labels", "state", "config", "checkpoint", "plan"])
def test_true_files_are_parsed_and_an_error_of_another_kind_ends_the_fuzzer(tmp_path, monkeypatch, parser):
    target = parsers.Target(parser, tmp_path)
    for seed in target.seeds:
        target(seed)
    assert (target.runs, target.refused) == (len(target.seeds), 0)
    target(target.seeds[0][:1])  # an empty file
    target.use = lambda _: [][0]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(IndexError):
        parsers.mutate("x", [target], 1, seed=0)
    assert (tmp_path / f"crash-{parser}").exists()


def test_the_audit_says_what_was_not_audited(capsys):
    good, bad = {"name": "a", "version": "1", "vulns": []}, {"name": "b", "version": "2"}
    assert audit_dependencies.report({"dependencies": [good, {**bad, "skip_reason": "x"}]}, 2) == 0
    assert "no answer here for 1 of 2 pinned versions: they were NOT audited" in capsys.readouterr().out
    found = {**bad, "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
    assert audit_dependencies.report({"dependencies": [good, found]}, 2) == 1
    assert "b 2: PYSEC-1, fixed in 3" in capsys.readouterr().out
