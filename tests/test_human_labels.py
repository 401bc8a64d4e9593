"""Labels that people gave: by record id, held against the clean labels, refused where they do not fit."""

import os
import struct

import numpy as np
import pytest
import torch

from selfie_io.labels.human_labels import import_human_labels
from selfie_io.records.dataset import open_dataset
from selfie_io.records.overlay_reader import read_provenance

CLEAN = np.array([0, 1, 2, 2, 1, 0, 0, 1])
WORSE = np.array([0, 2, 2, 1, 1, 0, 1, 1])
IDS = np.array([3, 0, 1, 2, 7, 6, 5, 4])


def make_dataset(folder, labels, record_ids, num_classes):
    folder.mkdir()
    records = b"".join(struct.pack(">IIx", i, y) for i, y in zip(record_ids, labels, strict=True))
    for file in ("data_batch_1.bin", "test_batch.bin"):
        (folder / file).write_bytes(records)
    return open_dataset(folder, shape=(1, 1, 1), num_classes=num_classes)


@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path / "set", CLEAN[IDS], IDS, 3)


def save(path, columns):
    if path.suffix == ".pt":
        torch.save(columns, path)
    elif path.suffix == ".npy":
        np.save(path, columns["worse_label"])
    else:
        rows = zip(*columns.values(), strict=True)
        path.write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n")


@pytest.mark.parametrize("suffix", [".pt", ".csv", ".npy"])
def test_rows_follow_the_record_ids(dataset, tmp_path, suffix):
    path = tmp_path / f"human{suffix}"
    save(path, {"clean_label": CLEAN, "worse_label": WORSE})
    overlay = import_human_labels(dataset, path, "worse_label")
    assert overlay.name == "worse_label"
    assert overlay.observed_noise_rate == np.mean(CLEAN != WORSE)
    np.testing.assert_array_equal(dataset.train.labels_from("worse_label"), WORSE[IDS])
    told = read_provenance(dataset.path, "worse_label")
    assert (told["kind"], told["source"], told["key"]) == ("human", path.name, "worse_label")
    assert told["clean_labels_checked"] is (suffix != ".npy")


def test_ids_that_are_no_rows_mean_positions(tmp_path):
    dataset = make_dataset(tmp_path / "set", CLEAN, IDS + 100, 3)
    save(tmp_path / "human.pt", {"clean_label": CLEAN, "worse_label": WORSE})
    import_human_labels(dataset, tmp_path / "human.pt", "worse_label", name="worse")
    np.testing.assert_array_equal(dataset.train.labels_from("worse"), WORSE)


def test_coarse_labels_are_held_against_coarse_ones(dataset, tmp_path):
    columns = {"clean_label": CLEAN[::-1].copy(), "clean_coarse_label": CLEAN, "noisy_coarse_label": WORSE}
    save(tmp_path / "human.pt", {key: value.tolist() for key, value in columns.items()})
    overlay = import_human_labels(dataset, tmp_path / "human.pt", "noisy_coarse_label")
    assert overlay.observed_noise_rate == np.mean(CLEAN != WORSE)


def test_another_data_set_is_refused_by_its_first_row(dataset, tmp_path):
    other = CLEAN.copy()
    other[[1, 6]] = 0, 2
    save(tmp_path / "human.pt", {"clean_label": other, "worse_label": WORSE})
    with pytest.raises(
        ValueError, match=r"human\.pt: row 1: clean_label is 0, the label of this record is 1"
    ):
        import_human_labels(dataset, tmp_path / "human.pt", "worse_label")
    assert not (dataset.path / "labels").exists()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"clean_label": CLEAN}, r"--key must be one of \['clean_label'\], got 'worse_label'"),
        ({"worse_label": WORSE[:-1]}, "worse_label must have 8 values, got 7"),
        ({"worse_label": WORSE + 1}, r"0..2, got 3 at position 1"),
        ({"worse_label": WORSE / 2}, "float64"),
        ({"worse_label": "text"}, r"worse_label must be a vector of integers"),
        ({"worse_label": WORSE, "clean_label": CLEAN[1:]}, "clean_label must have 8 values, got 7"),
        ([WORSE], "dict of arrays, got list"),
        ({"worse_label": torch.tensor(WORSE)}, r"torch\._utils"),
    ],
)
def test_files_that_do_not_fit(dataset, tmp_path, columns, message):
    torch.save(columns, tmp_path / "human.pt")
    with pytest.raises(ValueError, match=r"human\.pt: .*" + message):
        import_human_labels(dataset, tmp_path / "human.pt", "worse_label")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("h.csv", b"worse_label\n1\nx\n", r"h\.csv: row 3, column worse_label: must be a class name"),
        ("h.csv", b"worse_label,more\n1,2\n1\n", r"h\.csv: row 3 has 1 cells, the header 2"),
        ("h.csv", b"", r"--key must be one of \[\], got"),
        ("h.csv", b"worse_label\n" + b"9" * 30, r"h\.csv"),
        ("h.csv", b"\xff\xfe", r"h\.csv"),
        ("h.npy", b"nothing", r"h\.npy"),
        ("h.npy", b"\x93NUMPY\x01\x00\x10\x00" + b"(" * 16, r"h\.npy"),
        ("h.pt", b"nothing", r"h\.pt"),
        ("h.pt", b"PK\x03\x04nothing", r"h\.pt"),
    ],
)
def test_damaged_files(dataset, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        import_human_labels(dataset, tmp_path / name, "worse_label")


@pytest.mark.skipif("CIFAR100N" not in os.environ, reason="CIFAR100N does not name a CIFAR-100_human.pt")
def test_cifar100n_itself(tmp_path):
    from selfie_io.labels.safe_pickle import load_torch

    path = os.environ["CIFAR100N"]
    clean = load_torch(path)["clean_label"]
    dataset = make_dataset(tmp_path / "fits", clean, range(50_000), 100)
    assert import_human_labels(dataset, path, "noisy_label").observed_noise_rate == 0.402
    other = make_dataset(tmp_path / "other", np.roll(clean, 1), range(50_000), 100)
    with pytest.raises(ValueError, match="row 0: clean_label is 19"):
        import_human_labels(other, path, "noisy_label")
