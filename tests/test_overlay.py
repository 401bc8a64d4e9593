"""Label overlays: written, read back, bound to their base labels, never half written, hostile or damaged."""

import hashlib
import json
import os
import struct
from pathlib import Path

import msgspec
import numpy as np
import pytest

from selfie_io.labels import overlay_writer
from selfie_io.labels.noise import inject_noise, transition_matrix
from selfie_io.labels.overlay_writer import save_overlay
from selfie_io.records import overlay_reader
from selfie_io.records.dataset import open_dataset
from selfie_io.records.overlay_reader import list_overlays, overlay_digest, read_overlay, read_provenance

LABELS = np.array([0, 1, 2, 2, 1, 0, 0, 1])


def make_dataset(folder, labels=LABELS):
    folder.mkdir()
    for file in ("data_batch_1.bin", "test_batch.bin"):
        (folder / file).write_bytes(b"".join(struct.pack(">II4x", i, y) for i, y in enumerate(labels)))
    return open_dataset(folder, shape=(1, 2, 2), num_classes=3)


@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path / "set")


def files_of(dataset):
    return {path.name: path.read_bytes() for path in (dataset.path / "labels").iterdir()}


def test_what_is_written_is_read(dataset):
    matrix = transition_matrix("pair", 3, 0.4)
    noisy = inject_noise(LABELS, matrix, seed=5)
    provenance = {"kind": "pair", "rate": np.float64(0.4), "seed": 5, "transition_matrix": matrix}
    saved = save_overlay(dataset, "pair-0.4", noisy, {**provenance, "by": "a test"})
    got = dataset.train.labels_from("pair-0.4")
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got, noisy)
    stored = np.load(dataset.path / "labels/pair-0.4.npy")
    assert (stored.dtype, stored.shape) == (np.dtype("<i4"), (8,))
    told = json.loads((dataset.path / "labels/pair-0.4.json").read_text())
    assert told["sha256"] == saved.sha256 == overlay_digest(noisy)
    assert told["base_sha256"] == overlay_digest(LABELS)
    assert told["observed_noise_rate"] == np.mean(noisy != LABELS)
    expected = {**provenance, "rate": 0.4, "transition_matrix": matrix.tolist()}
    assert {key: told[key] for key in provenance} == expected
    assert told["provenance"] == {"by": "a test"}
    assert read_provenance(dataset.path, "pair-0.4") == {**expected, "by": "a test"}
    with pytest.raises(ValueError, match=r"overlay odd: .*\$\.rate"):
        save_overlay(dataset, "odd", noisy, {"rate": "often"})
    assert sorted(files_of(dataset)) == ["pair-0.4.json", "pair-0.4.npy"]


def test_digest_does_not_depend_on_the_dtype():
    expected = hashlib.sha256(struct.pack("<2i", 1, 2)).hexdigest()
    assert overlay_digest([1, 2]) == overlay_digest(np.array([1, 2], ">i8")) == expected


def test_list_names_what_is_complete(dataset):
    assert list_overlays(dataset.path) == []
    for name in ("b", "a", "c"):
        save_overlay(dataset, name, LABELS)
    (dataset.path / "labels/c.json").unlink()  # what a killed first writer leaves
    (dataset.path / "labels/.d.json").write_bytes(b"")
    assert list_overlays(dataset.path) == ["a", "b"]
    with pytest.raises(FileNotFoundError, match=r"c\.json: no such overlay; this data set has a, b"):
        dataset.train.labels_from("c")


def test_an_overlay_of_other_labels_is_refused(dataset, tmp_path):
    save_overlay(dataset, "mine", LABELS)
    other = make_dataset(tmp_path / "other", LABELS[::-1])
    (dataset.path / "labels").rename(other.path / "labels")
    with pytest.raises(ValueError, match=r"mine\.npy: made from other labels .*" + overlay_digest(LABELS)):
        other.train.labels_from("mine")


def killed_at_rename(count, action):
    """Run `action` in a process that ends, as if killed, before its rename number `count` (from 0)."""
    process = os.fork()
    if not process:
        done = 0
        rename = Path.replace

        def replace(path, target):
            nonlocal done
            if done == count:
                os._exit(9)
            done += 1
            return rename(path, target)

        Path.replace = replace
        try:
            action()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@pytest.mark.parametrize("renames_before_the_kill", range(4))
def test_a_killed_replacement_leaves_the_old_or_the_new(dataset, renames_before_the_kill):
    old, new = LABELS, (LABELS + 1) % 3
    save_overlay(dataset, "name", old, {"kind": "old"})
    status = killed_at_rename(
        renames_before_the_kill, lambda: save_overlay(dataset, "name", new, {"kind": "new"})
    )
    assert status == (9 if renames_before_the_kill < 3 else 0)
    expected, kind = (old, "old") if renames_before_the_kill < 2 else (new, "new")
    np.testing.assert_array_equal(dataset.train.labels_from("name"), expected)
    assert read_provenance(dataset.path, "name")["kind"] == kind
    # The next writer puts it right.
    save_overlay(dataset, "name", new)
    np.testing.assert_array_equal(dataset.train.labels_from("name"), new)
    assert b'"previous": null' in files_of(dataset)["name.json"]
    assert sorted(files_of(dataset)) == ["name.json", "name.npy"]


@pytest.mark.parametrize("renames_before_the_kill", [0, 1])
def test_the_next_writer_removes_what_a_killed_first_one_left(dataset, renames_before_the_kill):
    assert killed_at_rename(renames_before_the_kill, lambda: save_overlay(dataset, "first", LABELS)) == 9
    assert len(files_of(dataset)) == 2
    assert list_overlays(dataset.path) == []
    save_overlay(dataset, "other", LABELS)
    assert sorted(files_of(dataset)) == ["other.json", "other.npy"]
    assert not (dataset.path / ".lock").exists()


def test_files_that_are_no_overlays_are_never_replaced(dataset):
    labels = dataset.path / "labels"
    labels.mkdir()
    for name, content in (("a.npy", b"mine"), ("b.json", b'{"my": "notes"}')):
        (labels / name).write_bytes(content)
        with pytest.raises(FileExistsError, match=name):
            save_overlay(dataset, name[0], LABELS)
    assert files_of(dataset) == {"a.npy": b"mine", "b.json": b'{"my": "notes"}'}
    save_overlay(dataset, "c", LABELS)
    (labels / "c.npy").write_bytes(b"damaged")  # an overlay still: written again
    save_overlay(dataset, "c", LABELS)
    np.testing.assert_array_equal(dataset.train.labels_from("c"), LABELS)


def test_a_reader_finds_the_old_or_the_new_while_both_files_are_replaced(dataset, monkeypatch):
    """A writer steps in between the reading of the JSON file and of the array."""
    save_overlay(dataset, "name", LABELS, {"kind": "old"})
    decode, replaced = overlay_reader._decode, []

    def step_in(*arguments):
        if not replaced:
            replaced.append(True)
            save_overlay(dataset, "name", (LABELS + 1) % 3, {"kind": "new"})
        return decode(*arguments)

    monkeypatch.setattr(overlay_reader, "_decode", step_in)
    entry, labels = overlay_reader.load_overlay(dataset.path, "name")
    assert entry.kind == "new"
    np.testing.assert_array_equal(labels, (LABELS + 1) % 3)


def test_labels_beyond_the_classes_of_the_data_set_are_refused(dataset):
    save_overlay(dataset, "name", LABELS)
    json_path = dataset.path / "labels/name.json"
    beyond = np.full(8, 8, "<i4")
    np.save(dataset.path / "labels/name.npy", beyond)
    told = json.loads(json_path.read_text())
    json_path.write_text(json.dumps({**told, "num_classes": 9, "sha256": overlay_digest(beyond)}))
    with pytest.raises(ValueError, match=r"labels must be in -1\.\.2, the data set has 3 classes; got 8"):
        dataset.train.labels_from("name")


@pytest.mark.parametrize(
    "name", ["", ".hidden", "../up", "a/b", "a\\b", "-rf", "a\0", "a b", "ä", "x" * 101, "a\n"]
)
def test_names_that_are_no_file_names(dataset, name):
    with pytest.raises(ValueError, match="overlay's name"):
        save_overlay(dataset, name, LABELS)
    with pytest.raises(ValueError, match="overlay's name"):
        dataset.train.labels_from(name)
    assert not (dataset.path / "labels").exists()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS[:-1], "labels must have 8 values, got 7"),
        (np.full(8, 3), r"0..2, got 3 at position 0"),
        (-LABELS, "got -2 at position 2"),
        (np.full(8, -1), "must leave at least one record"),
        (LABELS.astype(float), "float64"),
        (LABELS[None], r"\(1, 8\)"),
        (np.where(LABELS == 2, 2**64 - 1, LABELS.astype("u8")), "below 2.63, got 18446744073709551615"),
    ],
)
def test_labels_that_do_not_fit_are_not_written(dataset, labels, message):
    with pytest.raises(ValueError, match=message):
        save_overlay(dataset, "bad", labels)
    with pytest.raises(ValueError, match="got object"):
        save_overlay(dataset, "bad", LABELS, {"classes": {object()}})
    assert not (dataset.path / "labels").exists()


def header_of(shape, dtype="<i4", magic=b"\x93NUMPY\x01\x00"):
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return magic + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "name.npy"),
        (b"not an array at all", "name.npy"),
        (header_of((8,)) + bytes(31), "8 labels must have 32 bytes, got 31"),
        (header_of((8,)) + bytes(33), "got 33"),
        (header_of((8,)) + bytes(32), "its SHA-256 is"),
        (header_of((10**12,)) + bytes(32), r"int32 \(8,\), got int32 \(1000000000000,\)"),
        (header_of((8,), "<i8") + bytes(64), "got int64"),
        (header_of((8,), "|O") + bytes(64), "got object"),
        (header_of((8,), magic=b"\x93NUMPY\x09\x00"), "name.npy"),
        (b"\x93NUMPY\x01\x00\x10\x00" + b"(" * 16, "name.npy"),
    ],
)
def test_damaged_arrays_are_refused(dataset, content, message):
    save_overlay(dataset, "name", LABELS)
    (dataset.path / "labels/name.npy").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        dataset.train.labels_from("name")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": "2.0"}, r"name\.json: format_version 2\.0 is not 1\.x"),
        ({"format_version": None}, "format_version"),
        ({"sha256": "0" * 64}, "its SHA-256 is"),
        ({"records": 9}, r"int32 \(9,\), got int32 \(8,\)"),
        ({"records": -1}, r"\(-1,\)"),
        ({"num_classes": 2}, r"labels must be in -1..1, got 0..2"),
        ({"provenance": []}, "provenance"),
    ],
)
def test_damaged_json_is_refused(dataset, change, message):
    save_overlay(dataset, "name", LABELS)
    path = dataset.path / "labels/name.json"
    path.write_bytes(msgspec.json.encode({**json.loads(path.read_bytes()), **change}))
    with pytest.raises(ValueError, match=message):
        dataset.train.labels_from("name")


def test_a_size_that_no_memory_has_is_refused(dataset):
    save_overlay(dataset, "name", LABELS)
    path = dataset.path / "labels/name.json"
    path.write_bytes(msgspec.json.encode({**json.loads(path.read_bytes()), "records": 10**15}))
    path.with_suffix(".npy").write_bytes(header_of((10**15,)) + bytes(32))
    with pytest.raises(ValueError, match="1000000000000000 labels must have 4000000000000000 bytes, got 32"):
        dataset.train.labels_from("name")


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"[" * 100_000])
def test_what_is_no_json_is_refused(dataset, content):
    save_overlay(dataset, "name", LABELS)
    (dataset.path / "labels/name.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"name\.json"):
        read_overlay(dataset.path, "name", LABELS)


def test_keys_of_a_newer_minor_version_are_ignored(dataset):
    save_overlay(dataset, "name", LABELS)
    path = dataset.path / "labels/name.json"
    path.write_bytes(
        msgspec.json.encode({**json.loads(path.read_bytes()), "format_version": "1.7", "new": 1})
    )
    np.testing.assert_array_equal(dataset.train.labels_from("name"), LABELS)


def test_an_overlay_that_could_not_be_read_is_not_written(dataset, monkeypatch):
    """Two entries must have room, while one replaces the other."""
    monkeypatch.setattr(overlay_writer, "MAX_OVERLAY_VALUES", 100)
    save_overlay(dataset, "small", LABELS, {"transition_matrix": np.eye(3)})
    with pytest.raises(ValueError, match=r"its provenance must hold at most 50 values .* got 7[0-9]"):
        save_overlay(dataset, "large", LABELS, {"transition_matrix": np.eye(8)})
    assert list_overlays(dataset.path) == ["small"]
