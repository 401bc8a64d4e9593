"""Runs and loaders belong to their data: on other records or labels they stop, and name what differs."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import make_folder, write_records
from training import SMALL, assert_same_result, pack, pixels_and_labels, small, stop_after

import selfie_io as sio
from selfie_train import Stopped, TrainConfig, resume, train
from selfie_train.commands.audit import audit
from selfie_train.commands.compare import compare
from selfie_train.commands.reproduce import complete
from selfie_train.runs.data_identity import differences, read_identity

QUICK = {"epochs": 2, "warmup": 1, "history": 1, "batch_size": 16, "noise_rate": 0.2}


def overlay(folder, seed):
    labels = sio.open_dataset(folder).train.labels
    noisy = np.where(np.random.default_rng(seed).random(len(labels)) < 0.3, (labels + 1) % 4, labels)
    sio.save_overlay(sio.open_dataset(folder), "mine", noisy, {"kind": "pair"})


@pytest.fixture
def run(tmp_path):
    """A finished run on an overlay, and its data."""
    pixels, labels = pixels_and_labels()
    data = tmp_path / "data"
    pack(data, pixels, labels)
    overlay(data, 1)
    result = train(small(data, tmp_path / "run", noise="overlay:mine", **QUICK), quiet=True)
    return SimpleNamespace(result=result, folder=result.folder, data=data, pixels=pixels, labels=labels)


def test_a_run_keeps_digests_of_its_data_and_reads_back_as_its_config(run):
    identity = read_identity(run.folder)
    for name in ("shape", "class_names"):  # what the data looks like
        identity.pop(name, None)
    assert set(identity) == {
        "train_files", "train_records", "train_content", "train_labels",
        "test_files", "test_records", "test_content", "given_labels",
    }  # fmt: skip
    assert all(len(digest) == 64 for digest in identity.values())
    assert TrainConfig.read(run.folder) == run.result.config


def permute(run):
    order = np.random.default_rng(5).permutation(len(run.labels))
    pack(run.data, run.pixels[order], run.labels[order])
    overlay(run.data, 1)


def other_pixels(run):
    pack(run.data, pixels_and_labels(seed=9)[0], run.labels)
    overlay(run.data, 1)


def relabel(run):
    labels = run.labels.copy()
    labels[17] = (labels[17] + 1) % 4
    pack(run.data, run.pixels, labels)
    overlay(run.data, 1)


def other_test(run):
    pack(run.data, run.pixels, run.labels, test=11)
    overlay(run.data, 1)


def one_pixel(run):
    pixels = run.pixels.copy()
    pixels[-1, 0, 7, 7] ^= 1
    pack(run.data, pixels, run.labels)
    overlay(run.data, 1)


def one_pixel_in_place(run):
    """The manifest stays as it is; the record is none of the 64 that are looked at in a large split."""
    path = run.data / "data_batch_2.bin"
    content = bytearray(path.read_bytes())
    content[5 * 72 + 40] ^= 1
    path.write_bytes(content)


def replace_overlay(run):
    overlay(run.data, 2)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (permute, "the training records, the stored training labels, .*"),
        (other_pixels, "the training records, the test records differ"),
        (relabel, "the stored training labels, the labels to learn"),
        (other_test, "learnt from: the test records differ"),
        (one_pixel, "learnt from: the training record"),
        (one_pixel_in_place, "learnt from: the (content of the )?training records differ"),
        (replace_overlay, r"learnt from: the labels to learn \(noise overlay:mine\) differ"),
    ],
)
def test_resume_audit_and_a_skipped_run_refuse_other_data_by_name(run, tmp_path, change, named):
    change(run)
    for go_on in (
        lambda: resume(run.folder, quiet=True),
        lambda: audit(run.folder, tmp_path / "audit"),
        lambda: complete(run.result.config, quiet=True),
    ):
        with pytest.raises(ValueError, match=named):
            go_on()
    assert not (tmp_path / "audit").exists()


def test_data_that_moved_is_found_where_it_is_said_to_be(run, tmp_path, monkeypatch):
    run.data.rename(tmp_path / "elsewhere")
    for go_on in (resume, lambda folder: audit(folder, tmp_path / "audit")):
        with pytest.raises(FileNotFoundError, match="--dataset FOLDER"):
            go_on(run.folder)
    monkeypatch.chdir(tmp_path)
    audit(run.folder, tmp_path / "audit", dataset=tmp_path / "elsewhere")
    again = resume("run", dataset="elsewhere", quiet=True)
    assert again.log == run.result.log
    monkeypatch.chdir("/")
    assert resume(run.folder, quiet=True).log == run.result.log  # it is kept, and absolute
    other = tmp_path / "other"
    pack(other, run.pixels[::-1], run.labels[::-1])
    overlay(other, 1)
    with pytest.raises(ValueError, match=f"{other} is not what"):
        resume(run.folder, dataset=other, quiet=True)
    assert TrainConfig.read(run.folder).dataset == str(tmp_path / "elsewhere")


def test_a_relative_data_set_is_found_from_another_folder(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = TrainConfig("data", out="relative", **{**SMALL, **QUICK, "noise": "overlay:mine"})
    with monkeypatch.context() as patched:
        stop_after(patched, 3)
        with pytest.raises(Stopped):
            train(config, quiet=True)
    monkeypatch.chdir("/")
    assert_same_result(resume(tmp_path / "relative", quiet=True), run.result)


def test_a_manifest_that_is_written_later_changes_nothing(tmp_path):
    pixels, labels = pixels_and_labels()
    folder = tmp_path / "plain"
    pack(folder, pixels, labels)
    (folder / "dataset.json").rename(tmp_path / "dataset.json")
    result = train(small(folder, tmp_path / "run", shape=(1, 8, 8), **QUICK), quiet=True)
    (tmp_path / "dataset.json").rename(folder / "dataset.json")
    assert resume(result.folder, quiet=True).log == result.log
    (folder / "dataset.json").unlink()
    labels[20] = (labels[20] + 1) % 4  # in the record file alone: no manifest tells of it
    pack(folder, pixels, labels)
    (folder / "dataset.json").unlink()
    with pytest.raises(ValueError, match="the stored training labels"):
        resume(result.folder, quiet=True)


def test_a_run_of_before_the_digests_still_resumes(run):
    config = TrainConfig.read(run.folder)
    (run.folder / "config.json").write_text(json.dumps(config.to_json()))
    assert resume(run.folder, quiet=True).log == run.result.log


def test_differences_name_each_thing_once():
    stored = {"train_files": "a", "train_records": "b", "test_files": None, "given_labels": "c"}
    assert differences(stored, {**stored, "train_files": "x"}) == ["the training record files"]
    assert differences(stored, {**stored, "train_files": "x", "train_records": "y"}) == [
        "the training records"
    ]
    assert differences(stored, {**stored, "test_files": "x"}) == []
    assert differences({}, stored) == []


def test_runs_on_data_sets_of_one_name_are_not_averaged(tmp_path):
    folders = []
    for number, seed in enumerate((0, 0, 3)):
        data = tmp_path / str(number) / "data"
        pack(data, *pixels_and_labels(seed=seed))
        out = tmp_path / f"run{number}"
        folders.append(train(small(data, out, seed=number, **QUICK), quiet=True).folder)
    groups = compare(folders, tmp_path / "out", say=lambda _: None)
    names = [[stored.folder.name for stored in group.runs] for group in groups]
    assert names == [["run0", "run1"], ["run2"]]


def loader(folder, **options):
    return sio.Loader(
        sio.open_dataset(folder, shape=(3, 32, 32)).train, **{"batch_size": 8, "shuffle": True, **options}
    )


def test_the_state_of_a_loader_belongs_to_its_data(tmp_path):
    ids, labels, images = make_folder(tmp_path / "one")
    state = loader(tmp_path / "one").state_dict()
    loader(tmp_path / "one", num_threads=2, prefetch_batches=1).load_state_dict(state)
    make_folder(tmp_path / "two", seed=1)
    shutil.copytree(tmp_path / "one", tmp_path / "swapped")
    write_records(tmp_path / "swapped" / "data_batch_1.bin", ids[39::-1], labels[39::-1], images[39::-1])
    for other in ("two", "swapped"):
        with pytest.raises(ValueError, match=r"the state must have records '[0-9a-f]{64}' as this loader"):
            loader(tmp_path / other).load_state_dict(state)


def test_a_manifest_tells_a_loader_of_one_changed_pixel(tmp_path):
    pixels, labels = pixels_and_labels(count=500)
    pack(tmp_path / "one", pixels, labels)
    changed = pixels.copy()
    changed[3, 0, 0, 0] ^= 1
    pack(tmp_path / "two", changed, labels)
    splits = [sio.open_dataset(tmp_path / name).train for name in ("one", "two")]
    one, two = (sio.Loader(split, batch_size=8) for split in splits)
    with pytest.raises(ValueError, match="the state must have files"):
        two.load_state_dict(one.state_dict())


@pytest.mark.parametrize(
    "change",
    [
        {"labels": np.zeros(73, np.int64)},
        {"augment": sio.Augment(pad=4, crop=(32, 32))},
        {"normalize": None},
        {"normalize": sio.PerChannel((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))},
        {"dtype": "float16"},
        {"layout": "NHWC"},
        {"drop_last": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_state_of_a_loader_belongs_to_every_option_that_changes_batches(authors_folder, change):
    state = loader(authors_folder).state_dict()
    with pytest.raises(ValueError, match=f"the state must have {next(iter(change))} "):
        loader(authors_folder, **change).load_state_dict(state)
    loader(authors_folder, **change).load_state_dict(loader(authors_folder, **change).state_dict())


def test_a_state_of_version_1_is_still_read(authors_folder):
    old = {"version": 1, "epoch": 2, "position": 8, "seed": 0, "order": "permutation", "num_records": 73}
    resumed = loader(authors_folder)
    resumed.load_state_dict(old)
    assert resumed.state_dict()["position"] == 8
    with pytest.raises(ValueError, match="num_records 73"):
        resumed.load_state_dict({**old, "num_records": 74})
