"""What a checkpoint with a right digest may not say."""

import json
import re
import shutil

import numpy as np
import pytest
from training import small

from selfie_train import TrainConfig, resume, train
from selfie_train.evidence import training_kernels as kernels
from selfie_train.evidence.training import TrainingStatistics
from selfie_train.methods.dividemix import DivideMix
from selfie_train.methods.elr import MovingAverages
from selfie_train.methods.forward import Forward
from selfie_train.methods.label_wave import LabelWave
from selfie_train.methods.remembered import remembered_array, remembered_count
from selfie_train.refurbish import Refurbisher
from selfie_train.runs.log import COLUMNS, checked_rows
from selfie_train.training.checkpoint import read_checkpoint, write_checkpoint
from selfie_train.training.checkpoint_fit import (
    check_place,
    check_weights,
    checked_counts,
    checked_rates,
    checked_sums,
)
from selfie_train.training.position import Position, checked_rate
from selfie_train.training.run_evidence import run_evidence

TOLD = {"run": 1, "epoch": 4, "batch": 7, "step": 50, "images": 9, "seconds": 0.5}


@pytest.mark.parametrize("name", ["run", "epoch", "batch", "step", "images", "seconds", "more"])
@pytest.mark.parametrize("value", [{}, "x", None, -1, 2**70, [1], float("nan")])
def test_a_position_outside_of_the_run_is_refused(name, value):
    with pytest.raises(ValueError, match=name):
        Position.read(TOLD | {name: value}, runs=2, epochs=4, batches=7)


@pytest.mark.parametrize("told", [5, None, [], {}, {key: 1 for key in TOLD if key != "epoch"}])
def test_a_position_is_whole(told):
    with pytest.raises(ValueError, match="a position must have run, epoch"):
        Position.read(told, runs=2, epochs=4, batches=7)


@pytest.mark.parametrize("rate", ["x", None, True, -0.1, 5, float("nan"), [], {}])
def test_a_noise_rate_is_a_share(rate):
    with pytest.raises(ValueError, match="noise_rate must be in"):
        checked_rate(rate)
    assert checked_rate(0.4) == 0.4


def test_a_position_of_the_run_is_kept():
    assert Position.read(TOLD, runs=2, epochs=4, batches=7) == Position(**TOLD)


@pytest.mark.parametrize("rows", [5, {}, [5], [{}], [{"epoch": 1}], [dict.fromkeys(COLUMNS, "x")]])
def test_rows_that_are_none_are_refused(rows):
    with pytest.raises(ValueError, match="row"):
        checked_rows(rows)


def place(run=1, epoch=1, batch=2, step=9, loader=(2, 128), rows=((0, 1), (1, 1)), runs=2, batches=4):
    if step == 9:  # two epochs of four batches, and `batch`
        step = len(rows) * batches + batch
    check_place(
        Position(run=run, epoch=epoch, batch=batch, step=step),
        [{"run": number, "epoch": one} for number, one in rows],
        {"epoch": loader[0], "position": loader[1]},
        runs=runs,
        batches=batches,
        batch_size=64,
    )


def test_position_log_and_loader_stand_at_one_place():
    place()
    place(batch=0, loader=(2, 0))
    place(batch=4, loader=(3, 0))  # all of the epoch, which is not tested yet
    place(run=2, epoch=1, batch=0, loader=(2, 0))  # after the last run


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"loader": (2, 192)}, "loader must be at epoch 2, position 128"),
        ({"loader": (1, 128)}, "loader must be at epoch 2"),
        ({"batch": 4, "loader": (2, 256)}, "loader must be at epoch 3, position 0"),
        ({"step": 11}, "step must be 10 after 2 epochs of 4 batches and 2"),
        ({"rows": ((0, 1),)}, "rows must be those of the epochs before run 1, epoch 2"),
        ({"rows": ((0, 1), (0, 1))}, "rows must be"),
        ({"rows": ((1, 1), (0, 1))}, "rows must be"),
        ({"rows": ((0, 1), (1, 2))}, "rows must be"),
        ({"rows": ((0, None), (1, 1))}, "rows must be"),
    ],
)
def test_what_stands_elsewhere_is_refused(wrong, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        place(**wrong)


@pytest.mark.parametrize("rates", [[], [0.1, 0.2], ["x"], [5], [None], {}, 5, [float("nan")]])
def test_there_is_a_noise_rate_a_run(rates):
    with pytest.raises(ValueError, match="noise_rate"):
        checked_rates(rates, 1)
    assert checked_rates([0], 1) == [0.0]


@pytest.mark.parametrize("sums", [5, [], [1, 2], [1, 2, "x"], [1, 2, -1], [1, 2, float("inf")], {}])
def test_sums_are_three_numbers(sums):
    with pytest.raises(ValueError, match="sums must be three"):
        checked_sums(sums)
    assert checked_sums([1.5, 2, 3]) == [1.5, 2, 3]


@pytest.mark.parametrize(
    "counts", [5, [], [{}], [{"a": -1}], [{"a": 1.5}], [{"a": True}], [{"a": 1, "b": 2}], [5]]
)
def test_selections_are_counts(counts):
    with pytest.raises(ValueError, match="selections must"):
        checked_counts(counts, ["a"], 1)
    assert checked_counts([{"a": 3}], ["a"], 1) == [{"a": 3}]


OWN = {"network0.weight": np.ones((2, 3), np.float32), "average0.steps": np.array(3)}


@pytest.mark.parametrize(
    ("name", "array", "told"),
    [
        ("network0.weight", np.ones((3, 2), np.float32), "must be float32 (2, 3), got float32 (3, 2)"),
        ("network0.weight", np.ones((2, 3)), "must be float32 (2, 3), got float64"),
        ("network0.weight", np.full((2, 3), np.nan, np.float32), "network0.weight must be finite, got nan"),
        ("network0.weight", None, "it must have the array network0.weight"),
        ("average0.steps", np.array(-1), "average0.steps must not be negative"),
        ("momentum0.weight", np.ones(3, np.float32), "momentum0.weight must be float32 (2, 3)"),
        ("momentum0.weight", np.full((2, 3), np.inf, np.float32), "momentum0.weight must be finite, got inf"),
        ("momentum0.other", np.ones(3, np.float32), "there is no weight other"),
        ("momentum7.weight", np.ones((2, 3), np.float32), "momentum of a weight"),
    ],
)
def test_weights_are_those_of_the_network(name, array, told):
    told_arrays = OWN | {"momentum0.weight": np.ones((2, 3), np.float32)}
    check_weights(OWN, told_arrays)
    told_arrays = {key: value for key, value in (told_arrays | {name: array}).items() if value is not None}
    with pytest.raises(ValueError, match=re.escape(told)):
        check_weights(OWN, told_arrays)


GOOD = np.array([[0.5, 1.0]], np.float32)


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (None, "must have the array a"),
        (GOOD.astype(np.float64), r"a must be float32 \(any, 2\), got float64"),
        (GOOD[0], "got float32"),
        (np.ones((1, 3), np.float32), "got float32"),
        (GOOD - 1, "must be finite and in 0..1, got -0.5"),
        (GOOD + 1, "must be finite and in 0..1, got 2"),
        (GOOD * np.nan, "must be finite"),
    ],
)
def test_what_a_method_remembers_is_of_its_kind(array, told):
    with pytest.raises(ValueError, match=told):
        remembered_array({"a": array}, "a", np.float32, (None, 2), 0, 1)
    kept = remembered_array({"a": GOOD}, "a", np.float32, (None, 2), 0, 1)
    assert kept.tolist() == GOOD.tolist()
    assert not np.shares_memory(kept, GOOD)


@pytest.mark.parametrize("count", [None, -1, 1.0, True, "1"])
def test_a_count_is_an_integer(count):
    with pytest.raises(ValueError, match="a must be an integer from 0 on"):
        remembered_count({"a": count}, "a")


def spoiled(state, path, value):
    """`state` with another value at `path`."""
    key, *rest = path
    return state | {key: spoiled(state[key], rest, value) if rest else value}


def memories():
    config = TrainConfig("d", epochs=4, warmup=1, method="selfie")
    yield Refurbisher(6, 3), ("refurbished",), np.full(6, 3)
    yield Refurbisher(6, 3), ("refurbished",), np.full(6, -2)
    yield Refurbisher(6, 3), ("refurbished",), np.zeros(6, np.float32)
    yield Refurbisher(6, 3), ("history", "visits"), np.full(6, -5, np.int32)
    yield MovingAverages(6, 3), ("units",), np.zeros((6, 3), np.int64)
    yield LabelWave(6, 3), ("changes",), np.array([-1])
    yield LabelWave(6, 3), ("current",), "x"
    yield DivideMix(config, 6, 3, 0.1), ("losses",), np.full((2, 6), np.nan, np.float32)
    yield DivideMix(config, 6, 3, 0.1), ("clean",), np.full((2, 6), 2, np.float32)
    yield DivideMix(config, 6, 3, 0.1), ("step",), -1
    yield Forward(config, 6, 3, 0.1), ("transition",), np.full((3, 3), 0.5)
    yield Forward(config, 6, 3, 0.1), ("transition",), np.full((2, 3), 1 / 3)
    yield Forward(config, 6, 3, 0.1), ("seen",), np.full((2, 3), 7, np.float32)
    table = TrainingStatistics(6, 3).state_dict()["table"]
    for column, value in ((kernels.OTHER_CLASS, 3), (kernels.SEEN, -1), (kernels.MARGIN_SUM, np.nan)):
        wrong = table.copy()
        wrong[2, column] = value
        yield TrainingStatistics(6, 3), ("table",), wrong
    yield TrainingStatistics(6, 3), ("table",), table.astype(np.float32)


@pytest.mark.parametrize(("memory", "path", "value"), list(memories()), ids=lambda one: str(one)[:40])
def test_no_memory_takes_what_is_none_of_it(memory, path, value):
    state = memory.state_dict()
    memory.load_state_dict(state)
    with pytest.raises(ValueError, match=path[-1] if path != ("table",) else "statistics"):
        memory.load_state_dict(spoiled(state, path, value))


def forge(folder, change, arrays=None):
    """Change the one checkpoint of a run, and its digests with it."""
    (path,) = (folder / "checkpoints").glob("step-*.json")
    checkpoint = read_checkpoint(path)
    kept = dict(checkpoint.arrays)
    if arrays is not None:
        arrays(kept)
    values = json.loads(json.dumps(checkpoint.values))
    change(values)
    write_checkpoint(path.parent, int(path.stem.removeprefix("step-")), kept, values)
    return path


def test_a_forged_checkpoint_is_refused_in_one_line_that_names_it(digits, tmp_path):
    run = tmp_path / "run"
    train(small(digits, run, method="default", epochs=1, warmup=0, batch_size=1024), quiet=True)

    def of(change, arrays=None):
        folder = tmp_path / "forged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(run, folder)
        path = forge(folder, change, arrays)
        with pytest.raises(ValueError, match=re.escape(str(path))) as caught:
            resume(folder, quiet=True)
        assert "\n" not in str(caught.value)
        with pytest.raises(ValueError, match=re.escape(str(path))):
            run_evidence(TrainConfig.read(folder), folder, None)
        return str(caught.value)

    assert "memory must be an object" in of(lambda values: values.update(memory=[]))
    assert "it lacks 'noise_rate'" in of(lambda values: values.pop("noise_rate"))
    assert "estimating must be false" in of(lambda values: values.update(estimating=True))

    def spoil(arrays):
        arrays.update({name: array * np.nan for name, array in arrays.items() if array.dtype == np.float32})

    assert "must be finite, got nan" in of(dict, spoil)
