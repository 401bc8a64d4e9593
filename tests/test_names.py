"""Source names of records: written, read by record, checked, and kept by every way of packing."""

import json
import tracemalloc

import numpy as np
import pytest
from converting import as_folder, as_tar, as_zip, complaint, encoded, run
from hypothesis import given
from hypothesis import strategies as st

import selfie_io as sio
from selfie_io.records.manifest import read_manifest
from selfie_io.records.names import NameFileWriter, all_names, names_path, read_names
from selfie_io.records.verify import verify_folder
from selfie_io.records.writer import DatasetWriter

NAME = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=40))


def write_names(path, names):
    path.unlink(missing_ok=True)
    writer = NameFileWriter(path)
    writer.append(names)
    return writer.close()


def known(names):
    return [name or None for name in names]


@given(st.lists(NAME, max_size=20), st.integers(0, 40))
def test_any_names_come_back(tmp_path_factory, some, repeats):
    path = tmp_path_factory.mktemp("names") / "a.names"
    names = [*some, *(f"train/cat/{i:04d}.png" for i in range(repeats * 20)), *some]
    size, _ = write_names(path, names)
    assert size == path.stat().st_size
    assert list(all_names(path, len(names))) == known(names)
    wanted = np.arange(len(names))[::-7]
    assert read_names(path, wanted, len(names)) == known(names)[::-7]


def test_appending_in_parts_changes_no_byte(tmp_path):
    names = [f"a/{i}" for i in range(1000)]
    whole = write_names(tmp_path / "whole.names", names)
    writer = NameFileWriter(tmp_path / "parts.names")
    for begin in range(0, 1000, 7):
        writer.append(names[begin : begin + 7])
    assert writer.close() == whole
    assert (tmp_path / "parts.names").read_bytes() == (tmp_path / "whole.names").read_bytes()


def test_the_bytes_are_those_of_the_format(tmp_path):
    write_names(tmp_path / "a.names", ["ab", "abc", None])
    expected = b"selfname" + b"\0\2ab" + b"\2\1c" + b"\0\0" + (8).to_bytes(8, "big") + (3).to_bytes(8, "big")
    assert (tmp_path / "a.names").read_bytes() == expected


def test_names_are_compact_and_one_is_read_in_bounded_memory(tmp_path):
    count = 100_000
    path = tmp_path / "a.names"
    write_names(path, [f"train/airplane/{i:06d}.png" for i in range(count)])
    assert path.stat().st_size < 9 * count
    read_names(path, np.array([0]), count)  # what NumPy imports on first use does not count
    tracemalloc.start()
    assert read_names(path, np.array([77_777]), count) == ["train/airplane/077777.png"]
    assert tracemalloc.get_traced_memory()[1] < 1 << 18
    tracemalloc.stop()


@pytest.mark.parametrize("seed", range(8))
def test_damage_is_an_error_never_a_crash(tmp_path, seed):
    names = [f"class {i % 7}/{i}.png" for i in range(700)]
    path = tmp_path / "a.names"
    write_names(path, names)
    content = path.read_bytes()
    rng = np.random.default_rng(seed)
    for _ in range(100):
        damaged = bytearray(content[: rng.integers(1, len(content) + 1)])
        damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        said = f"{path}: byte"
        try:
            list(all_names(path, len(names)))
        except ValueError as error:
            said = str(error)
        assert said.startswith(f"{path}: byte")


def images_of(*names):
    rng = np.random.default_rng(3)
    return {name: encoded(rng.integers(0, 256, (4, 4, 3), "u1")) for name in names}


MEMBERS = images_of(
    *(f"train/{c}/{i}.png" for c in ("cat", "dog") for i in range(5)), "test/cat/x.png", "test/dog/y.png"
)
TRAIN = sorted(name for name in MEMBERS if name.startswith("train"))


@pytest.mark.parametrize("layout", [as_folder, as_zip, as_tar])
def test_pack_keeps_the_path_of_each_record(tmp_path, layout):
    source = layout(tmp_path / "source", MEMBERS)
    assert run("pack", source, tmp_path / "out", "--records-per-file", 4, "--workers", 2) == 0
    dataset = sio.open_dataset(tmp_path / "out")
    assert dataset.train.names(np.arange(10)) == TRAIN
    assert dataset.train.names([9, 0, 9]) == [TRAIN[9], TRAIN[0], TRAIN[9]]
    assert dataset.test.names([1, 0]) == ["test/dog/y.png", "test/cat/x.png"]
    assert dataset.train.names([]) == []
    with pytest.raises(IndexError, match=r"must be in 0\.\.9"):
        dataset.train.names([10])
    assert run("verify", tmp_path / "out", "--deep") == 0


def test_rows_have_names_too(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (4, 3, 3), "u1")
    np.savez(tmp_path / "d.npz", x_train=x, y_train=[0, 1, 0, 1])
    assert run("pack", tmp_path / "d.npz", tmp_path / "out") == 0
    assert sio.open_dataset(tmp_path / "out").train.names([3]) == ["x_train.npy#3"]


def test_a_skipped_image_shifts_no_name(tmp_path):
    source = as_folder(tmp_path / "source", {**MEMBERS, "train/cat/2.png": b"no image"})
    assert run("pack", source, tmp_path / "out", "--skip-bad") == 0
    expected = [name for name in TRAIN if name != "train/cat/2.png"]
    assert sio.open_dataset(tmp_path / "out").train.names(np.arange(9)) == expected


def test_plan_run_and_merge_keep_them_bit_for_bit(tmp_path):
    source = as_zip(tmp_path / "source.zip", MEMBERS)
    options = ("--records-per-file", 3, "--name", "set")
    assert run("pack", source, tmp_path / "packed", *options) == 0
    assert (
        run("plan", source, tmp_path / "p.json", "--shards", 3, "--out", tmp_path / "merged", *options) == 0
    )
    for shard in range(3):
        assert run("run", tmp_path / "p.json", "--shard", shard) == 0
    assert run("merge", tmp_path / "p.json") == 0
    packed = sorted(path.name for path in (tmp_path / "packed").iterdir())
    assert sum(name.endswith(".names") for name in packed) == 5
    for name in packed:
        assert (tmp_path / "merged" / name).read_bytes() == (tmp_path / "packed" / name).read_bytes(), name


def test_verify_finds_damaged_missing_and_strange_names(tmp_path):
    assert run("pack", as_folder(tmp_path / "source", MEMBERS), tmp_path / "out") == 0
    path = names_path(tmp_path / "out" / "data_batch_1.bin")
    content = path.read_bytes()
    path.write_bytes(content[:20] + bytes([content[20] ^ 1]) + content[21:])
    assert verify_folder(tmp_path / "out").ok
    (defect,) = verify_folder(tmp_path / "out", deep=True).defects
    assert str(defect).startswith("data_batch_1.names: SHA-256 is")
    path.write_bytes(content[:-1])
    (defect,) = verify_folder(tmp_path / "out").defects
    assert "dataset.json says" in str(defect)
    path.unlink()
    (defect,) = verify_folder(tmp_path / "out").defects
    assert str(defect) == "data_batch_1.names: is missing"
    path.write_bytes(content)
    (tmp_path / "out" / "data_batch_2.names").write_bytes(content)
    (defect,) = verify_folder(tmp_path / "out").defects
    assert str(defect) == "data_batch_2.names: is not in dataset.json"


def test_older_and_adopted_sets_have_none(tmp_path, capsys):
    assert run("pack", as_folder(tmp_path / "source", MEMBERS), tmp_path / "out") == 0
    manifest = json.loads((tmp_path / "out" / "dataset.json").read_text())
    for split in manifest["splits"].values():
        for file in split["files"]:
            del file["names"]
            (tmp_path / "out" / file["name"]).with_suffix(".names").unlink()
    (tmp_path / "out" / "dataset.json").write_text(json.dumps(manifest))
    assert read_manifest(tmp_path / "out").splits["train"].files[0].names is None
    assert sio.open_dataset(tmp_path / "out").train.names([0, 9]) == [None, None]
    (tmp_path / "out" / "dataset.json").unlink()
    assert run("adopt", tmp_path / "out", "--shape", "3,4,4") == 0
    assert sio.open_dataset(tmp_path / "out").train.names([1]) == [None]
    assert complaint(capsys, 2, "adopt", tmp_path / "out")


def test_names_given_for_some_records_alone(tmp_path):
    images = np.zeros((3, 1, 2, 2), np.uint8)
    with DatasetWriter(tmp_path, sio.RecordLayout(1, 2, 2), 2, records_per_file=4) as writer:
        writer.append("train", images, [0, 0, 0])
        writer.append("train", images, [1, 1, 1], ["a", None, "b"])
        writer.finish(name="x", class_names=["c", "d"], provenance={})
    names = sio.open_dataset(tmp_path).train.names(np.arange(6))
    assert names == [None, None, None, "a", None, "b"]
    (tmp_path / "x").mkdir()
    with DatasetWriter(tmp_path / "x", sio.RecordLayout(1, 2, 2), 2) as writer:  # noqa: SIM117
        with pytest.raises(ValueError, match="one name"):
            writer.append("train", images, [0, 0, 0], ["a"])
