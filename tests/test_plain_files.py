"""What stands where a file is expected: a FIFO or a device is refused at once, a huge file has bounds."""

import json
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from converting import as_folder, encoded

import selfie_io as sio
from selfie_io.convert.cli import main
from selfie_io.convert.shard_plan import MAX_SHARDS
from selfie_io.records import quick_json
from selfie_io.records.layout import RecordLayout
from selfie_io.records.overlay_reader import load_overlay
from selfie_io.records.plain_files import check_json_size, check_plain, open_plain, read_json, read_plain
from selfie_io.records.writer import DatasetWriter


@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    with DatasetWriter(folder, RecordLayout(1, 4, 4), 4) as writer:
        names = [f"{i}.png" for i in range(8)]
        writer.append("train", np.zeros((8, 1, 4, 4), np.uint8), np.arange(8) % 4, names)
        writer.append("test", np.zeros((2, 1, 4, 4), np.uint8), np.array([0, 1]))
        writer.finish(name="set", class_names=list("abcd"), provenance={})
    sio.save_overlay(sio.open_dataset(folder), "n", np.zeros(8, int))
    return folder


def in_place_of(path, kind):
    path.unlink(missing_ok=True)
    if kind == "FIFO":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")


def labels(folder, file):
    return sio.import_human_labels(sio.open_dataset(folder), file, "k")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["FIFO", "device"])
def test_all_files_of_a_data_set_must_be_plain(dataset, kind):
    """Each would wait for ever, or fill the memory."""
    kept = {path: path.read_bytes() for path in sorted(dataset.rglob("*.*")) if path.is_file()}
    uses = {
        "dataset.json": lambda: sio.open_dataset(dataset),
        "data_batch_1.bin": lambda: sio.open_dataset(dataset).train.labels,
        "test_batch.bin": lambda: sio.open_dataset(dataset),
        "data_batch_1.names": lambda: sio.open_dataset(dataset).train.names([0]),
        "n.json": lambda: sio.open_dataset(dataset).train.labels_from("n"),
        "n.npy": lambda: sio.open_dataset(dataset).train.labels_from("n"),
    }
    assert {path.name for path in kept} == set(uses)
    for path, content in kept.items():
        in_place_of(path, kind)
        with pytest.raises((OSError, ValueError), match=path.name):
            uses[path.name]()
        for command in (["info", dataset], ["verify", dataset, "--deep"]):
            assert main([str(word) for word in command]) in (0, 1)
        path.unlink()
        path.write_bytes(content)


@pytest.mark.timeout(20)
@pytest.mark.usefixtures("dataset")
@pytest.mark.parametrize("kind", ["FIFO", "device"])
@pytest.mark.parametrize(
    "words",
    [
        ["pack", "FILE.zip", "out"],
        ["pack", "FILE.parquet", "out"],
        ["labels", "set", "FILE.csv", "--key", "k"],
        ["labels", "set", "FILE.npy", "--key", "k"],
        ["labels", "set", "FILE.pt", "--key", "k"],
        ["noise", "set", "--matrix", "FILE.csv", "--name", "q"],
        ["pack", "digits", "out", "--class-names", "FILE.txt"],
        ["run", "FILE.json", "--shard", "0"],
        ["merge", "FILE.json"],
        ["apply", "source", "FILE.csv", "out"],
    ],
    ids=" ".join,
)
def test_all_files_of_a_command_line_must_be_plain(tmp_path, monkeypatch, capsys, kind, words):
    monkeypatch.chdir(tmp_path)
    good = encoded(np.zeros((4, 4, 3), np.uint8))
    as_folder(tmp_path / "source", {f"{split}/a/1.png": good for split in ("train", "test")})
    name = next(word for word in words if word.startswith("FILE"))
    in_place_of(Path(name), kind)
    assert main(words) in (1, 2)
    assert "plain file" in capsys.readouterr().err


def test_a_plain_file_is_read_up_to_its_bound(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    check_plain(file)
    assert read_plain(file, 5) == b"12345"
    with pytest.raises(ValueError, match="at most 4 bytes"):
        read_plain(file, 4)
    with pytest.raises(IsADirectoryError):
        open_plain(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_plain(tmp_path / "none")


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '"\\ud800', "{}{}", "\ufeff[", "nul", "1" * 5000])
def test_what_is_no_json_is_a_value_error(tmp_path, text):
    file = tmp_path / "file.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"file\.json"):
        read_json(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not UTF-8"):
        read_json(file)


def grown(call):
    """The most memory that a call holds at once, and what it raises."""
    tracemalloc.start()
    try:
        call()
    except (ValueError, OSError) as error:
        return tracemalloc.get_traced_memory()[1], str(error)
    finally:
        tracemalloc.stop()
    return tracemalloc.get_traced_memory()[1], ""


def test_memory_follows_a_hostile_manifest(dataset):
    """Of 6 MB: two million empty lists would take twenty times as much."""
    path = dataset / "dataset.json"
    fields = json.dumps(json.loads(path.read_text()))[:-1]
    for tiny in ("[]", "{}", "0"):
        path.write_text(f'{fields}, "x": [{",".join([tiny] * 2_000_000)}]}}')
        size = path.stat().st_size
        peak, complaint = grown(lambda: sio.open_dataset(dataset))
        assert "must hold at most" in complaint
        assert peak < 3 * size


def test_a_manifest_of_many_digests_is_read():
    check_json_size(json.dumps(["0" * 64] * 500_000).encode(), "manifest")


def test_memory_follows_a_hostile_overlay(dataset):
    path = dataset / "labels" / "n.json"
    fields = json.loads(path.read_text())
    fields.pop("transition_matrix", None)
    text = json.dumps(fields)[:-1]
    path.write_text(f'{text}, "transition_matrix": [{",".join(["[]"] * 2_000_000)}]}}')
    peak, complaint = grown(lambda: sio.open_dataset(dataset).train.labels_from("n"))
    assert "n.json: must hold at most" in complaint
    assert peak < 3 * path.stat().st_size


def test_the_labels_of_an_overlay_need_no_matrix(dataset):
    """Its numbers would take eight times the memory of their text, and hostile ones a minute."""
    path = dataset / "labels" / "n.json"
    fields = json.loads(path.read_text()) | {"transition_matrix": [[0.5] * 1000] * 1000}
    path.write_text(json.dumps(fields))
    peak, complaint = grown(lambda: sio.open_dataset(dataset).train.labels_from("n"))
    assert not complaint
    assert peak < 2 * path.stat().st_size
    assert load_overlay(dataset, "n")[0].transition_matrix == fields["transition_matrix"]


def test_json_of_many_values_is_not_left_to_msgspec(monkeypatch):
    """It takes 7 microseconds for a float such as 2.47e-324."""
    loads, used = json.loads, []
    monkeypatch.setattr(quick_json, "QUICK_VALUES", 10)
    monkeypatch.setattr(quick_json.json, "loads", lambda text: used.append(text) or loads(text))
    few, many = [[0.25, "a"]], [[2.47e-324] * 12]
    for values in (few, many):
        assert quick_json.decode_json(json.dumps(values).encode(), list[list[float | str]]) == values
    assert used == [json.dumps(many)]
    for end in (b'"x"', b"NaN", b"01", b'"\\ud800"', b'"\xff"'):
        text = json.dumps(many).encode()[:-2] + b", " + end + b"]]"
        with pytest.raises(ValueError, match=r"JSON|float|truncated|utf-8"):
            quick_json.decode_json(text, list[list[float]])


def test_memory_follows_the_data_set_and_not_a_table_of_labels(dataset, tmp_path):
    file = tmp_path / "labels.csv"
    file.write_text("k\n" + "1\n" * 1_000_000)
    peak, complaint = grown(lambda: labels(dataset, file))
    assert "at most 1016 rows" in complaint
    assert peak < 4_000_000
    file.write_text("k," + "x" * 2_000_000)
    assert "a line must have at most" in grown(lambda: labels(dataset, file))[1]


def test_memory_follows_the_classes_and_not_a_matrix(dataset, tmp_path, capsys):
    file = tmp_path / "matrix.csv"
    for text in (",".join(["1"] * 2_000_000), "1,0\n" * 500_000):
        file.write_text(text)
        words = ["noise", str(dataset), "--matrix", str(file), "--name", "q"]
        peak, _ = grown(lambda words=words: main(words))
        assert peak < 8_000_000
        assert "matrix.csv" in capsys.readouterr().err


def test_a_plan_of_a_billion_shards_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["plan", "digits", "plan.json", "--shards", "1000000000"]) == 2
    assert main(["plan", "digits", "plan.json", "--shards", "2"]) == 0
    plan = json.loads(Path("plan.json").read_text())
    one = plan["files"][0]
    hostile = [
        {"num_shards": 10**9},
        {"num_shards": MAX_SHARDS + 1},
        {"num_shards": 0},
        {"files": []},
        {"files": [{**one, "position": -1}]},
        {"files": [{**one, "start": -5}]},
        {"files": [{**one, "start": 3, "stop": 1}]},
        {"files": [one, one]},
        {"rule": {**plan["rule"], "channels": "3"}},
        {"rule": {**plan["rule"], "height": 2**22}},
        {"rule": {}},
        {"rule": {**plan["rule"], "more": 1}},
        {"options": {"test_fraction": "x"}},
        {"class_names": []},
        {"class_names": ["a", "a"]},
        *({"out": out} for out in ("", "/", ".", "..")),
        {"source": "\0"},
        {"provenance": 5},
        {"files": 5},
    ]
    capsys.readouterr()
    for change in hostile:
        Path("plan.json").write_text(json.dumps({**plan, **change}))
        for words in (["run", "plan.json", "--shard", "0"], ["merge", "plan.json"]):
            assert main(words) in (1, 2), change
            assert "plan.json" in capsys.readouterr().err


def test_merge_waits_for_no_shard_that_has_nothing_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["plan", "digits", "plan.json", "--shards", "50"]) == 0
    for shard in {file["shard"] for file in json.loads(Path("plan.json").read_text())["files"]}:
        assert main(["run", "plan.json", "--shard", str(shard), "--workers", "1"]) == 0
    assert main(["merge", "plan.json"]) == 0
