"""Parquet as Hugging Face writes it (by pyarrow), and WebDataset shards."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from converting import as_folder, as_tar, complaint, encoded, records, run

from selfie_io.convert.sources import open_source
from selfie_io.convert.sources.source import SourceOptions
from selfie_io.records.manifest import read_manifest

PIXELS = np.random.default_rng(0).integers(0, 256, (150, 6, 5, 3), "u1")
LABELS = np.random.default_rng(0).integers(0, 3, 150).tolist()
ENCODED = [encoded(pixels) for pixels in PIXELS]


def check(out, split, rows):
    stored = records(out, split)
    np.testing.assert_array_equal(stored["pixels"], PIXELS[rows].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(stored["label"], np.array(LABELS)[rows])


def table(rows, *, image="img", label="label", names=("ant", "bee", "cow"), **columns):
    """The columns and the metadata of `datasets.Dataset.to_parquet`."""
    features = {image: {"_type": "Image"}, label: {"names": list(names), "_type": "ClassLabel"}}
    made = pa.table({
        image: [{"bytes": ENCODED[row], "path": f"{row}.png"} for row in rows],
        label: pa.array([LABELS[row] for row in rows], pa.int64()),
        **columns,
    })  # fmt: skip
    return made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def write(path, made, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(made, path, **options)
    return path


@pytest.mark.parametrize("layout", ["data/{}-0000{}-of-00002.parquet", "plain_text/{}/000{}.parquet"])
@pytest.mark.parametrize("label", ["label", "fine_label"])
def test_parquet(tmp_path, layout, label):
    source = tmp_path / "source"
    write(source / layout.format("train", 0), table(range(70), label=label), row_group_size=16)
    write(source / layout.format("train", 1), table(range(70, 100), label=label, image="img"))
    write(source / layout.format("test", 0), table(range(100, 150), label=label))
    (source / "README.md").touch()
    assert run("pack", source, tmp_path / "out") == 0
    check(tmp_path / "out", "train", range(100))
    check(tmp_path / "out", "test", range(100, 150))
    assert read_manifest(tmp_path / "out").class_names == ["ant", "bee", "cow"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_text_labels_become_classes(tmp_path, kind, capsys):
    source, names = tmp_path / "source", np.array(["bee", " ant", "12"])
    of_text = [table(rows).drop_columns(["label"]) for rows in (range(70), range(70, 100), range(100, 150))]
    texts = [
        pa.array(names[LABELS[first:stop]], pa.string()).cast(kind)
        for first, stop in ((0, 70), (70, 100), (100, 150))
    ]
    for path, rows, text in zip(("train-0", "train-1", "test-0"), of_text, texts, strict=True):
        write(source / f"{path}.parquet", rows.append_column("label", text), row_group_size=16)
    assert run("pack", source, tmp_path / "out") == 0
    assert read_manifest(tmp_path / "out").class_names == ["12", "ant", "bee"]
    for split, rows in (("train", range(100)), ("test", range(100, 150))):
        assert records(tmp_path / "out", split)["label"].tolist() == [2 - LABELS[row] for row in rows]
    write(source / "train-1.parquet", table(range(70, 100)))
    refusal = complaint(capsys, 1, "pack", source, tmp_path / "again")
    assert "train-1.parquet: has the columns img and label of integers" in refusal
    odd = pa.array(["bee", None, "", "wasp"]).cast(kind)
    write(source / "train-1.parquet", table(range(4)).drop_columns(["label"]).append_column("label", odd))
    assert "train-1.parquet#1: there is no label" in complaint(capsys, 1, "pack", source, tmp_path / "again")
    (source / "train-1.parquet").rename(source / "test-1.parquet")
    assert run("pack", source, tmp_path / "again", "--skip-bad") == 0
    assert "the class 'wasp' is in no training row" in capsys.readouterr().err
    assert len(records(tmp_path / "again", "test")) == 51


def test_one_parquet_file_is_split(tmp_path, capsys):
    source = write(tmp_path / "images.parquet", table(range(150)))
    assert "--test-fraction is needed" in complaint(capsys, 1, "pack", source, tmp_path / "out")
    assert run("pack", source, tmp_path / "out", "--test-fraction", 0.2) == 0
    stored = [records(tmp_path / "out", split) for split in ("train", "test")]
    assert [len(one) for one in stored] == [120, 30]
    together = sorted(map(bytes, np.concatenate(stored)["pixels"]))
    assert together == sorted(map(bytes, PIXELS.transpose(0, 3, 1, 2)))


def test_validation_is_the_test_split_where_there_is_no_other(tmp_path, capsys):
    source = tmp_path / "source"
    write(source / "train.parquet", table(range(10)))
    write(source / "validation.parquet", table(range(10, 20)))
    assert run("pack", source, tmp_path / "a") == 0
    check(tmp_path / "a", "test", range(10, 20))
    write(source / "test.parquet", table(range(20, 30)))
    assert run("pack", source, tmp_path / "b") == 0
    check(tmp_path / "b", "test", range(20, 30))
    assert "validation.parquet is left out: test.parquet is the test split" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (pa.table({"x": [1], "label": [2]}), "an image column (img or image)"),
        (pa.table({"img": [{"bytes": b"", "path": ""}], "label": [0.5]}), "got img, label"),
        (
            pa.table({"img": [{"bytes": None, "path": "a.png"}], "label": [0]}),
            "train.parquet#0: there are no bytes",
        ),
        (pa.table({"img": ["a.png"], "label": [0]}), "train.parquet#0: there are no bytes"),
        (
            pa.table({"img": [{"bytes": b"?", "path": ""}], "label": [0]}),
            "train.parquet#0: is not an image",
        ),
        (
            pa.table({"img": [{"bytes": b"?"}], "label": pa.array([None], pa.int64())}),
            "train.parquet#0: there is no label",
        ),
        (table([0, 1], names=("ant",)), "must be in 0..0"),
        (
            pa.table({"img": [{"bytes": b"?"}], "label": [1 << 56]}),
            "row 0: a label must be below 65536, got 72057594037927936",
        ),
    ],
)
def test_wrong_parquet_is_named(tmp_path, made, reason, capsys):
    source = tmp_path / "source"
    write(source / "train.parquet", made)
    said = complaint(capsys, 1, "pack", source, tmp_path / "out")
    assert reason in said
    assert "train.parquet" in said


def test_files_that_disagree_are_named(tmp_path, capsys):
    source = tmp_path / "source"
    write(source / "train-0.parquet", table([0]))
    write(source / "train-1.parquet", table([1], names=("bee", "ant", "cow")))
    assert "train-1.parquet: has other class names" in complaint(capsys, 1, "pack", source, tmp_path / "out")
    write(source / "train-1.parquet", table([1], image="image"))
    assert "train-1.parquet: has the columns" in complaint(capsys, 1, "pack", source, tmp_path / "out")


def test_damaged_parquet_is_named(tmp_path, capsys):
    source = tmp_path / "source"
    path = write(source / "train.parquet", table(range(50)))
    content = path.read_bytes()
    for damaged in (b"", b"PAR1", content[:-10], content[: len(content) // 2], content[100:]):
        path.write_bytes(damaged)
        assert "train.parquet" in complaint(capsys, 1, "pack", source, tmp_path / "out")
    flipped = bytearray(content)
    flipped[2000:2100] = bytes(100)
    path.write_bytes(flipped)
    assert "train.parquet" in complaint(capsys, 1, "pack", source, tmp_path / "out")


def test_more_rows_than_bytes_are_refused(tmp_path, capsys):
    made = pa.table(
        {"img": pa.array([{"bytes": b""}] * 100_000), "label": pa.array([0] * 100_000, pa.int64())}
    )
    source = write(tmp_path / "train.parquet", made)
    assert source.stat().st_size < 100_000
    assert "train.parquet: has more than" in complaint(capsys, 1, "pack", source, tmp_path / "out")


def test_a_flipped_bit_of_parquet_is_seen_or_does_no_harm(tmp_path):
    path = write(tmp_path / "train.parquet", table(range(5)))
    whole, rng, refusals = path.read_bytes(), np.random.default_rng(0), []
    for position in range(len(whole) - 1600, len(whole)):  # the metadata, and some pages before them
        flipped = bytearray(whole)
        flipped[position] ^= 1 << rng.integers(8)
        path.write_bytes(flipped)
        try:
            with open_source(str(path), "parquet", SourceOptions(0.0)) as (source, _):
                assert all(item.label < 65536 for item in source.items("train"))
        except ValueError as error:
            refusals.append(str(error))
    assert len(refusals) > 100
    assert all("train.parquet" in refusal for refusal in refusals)


def shard(rows, suffix="png"):
    members = {}
    for row in rows:
        members[f"{row:06d}.{suffix}"] = ENCODED[row]
        members[f"{row:06d}.json"] = b"{}"
        members[f"{row:06d}.cls"] = str(LABELS[row]).encode()
    return members


def test_webdataset_shards_in_stored_order(tmp_path):
    source = as_folder(tmp_path / "source", {"classnames.txt": b"ant\nbee\ncow\n"})
    order = np.random.default_rng(1).permutation(60)
    as_tar(source / "train-000000.tar", shard(order))
    as_tar(source / "train-000001.tar", shard(range(60, 100)))
    as_tar(source / "test-000000.tar", shard(range(100, 150)))
    assert run("pack", source, tmp_path / "out") == 0
    check(tmp_path / "out", "train", [*order, *range(60, 100)])
    check(tmp_path / "out", "test", range(100, 150))
    assert read_manifest(tmp_path / "out").class_names == ["ant", "bee", "cow"]


@pytest.mark.parametrize("name", ["images.tar", "images.tar.gz"])
def test_one_shard(tmp_path, name):
    source = as_tar(tmp_path / name, shard(range(40)), "w:gz" if name.endswith("gz") else "w")
    assert run("pack", source, tmp_path / "out", "--test-fraction", 0) == 0
    check(tmp_path / "out", "train", range(40))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"x.cls": b"1"}, "x.cls: there is no image of this key"),
        ({"x.png": b""}, "x.png: there is no x.cls"),
        ({"000003.jpg": b""}, "the key '000003' has another image"),
        ({"000003.cls": b"cat"}, "000003.cls: a label must be an integer, got b'cat'"),
        ({"000003.cls": b"1" * 1000}, "000003.cls: a label must be an integer"),
        ({"000003.cls": b"1" * 20}, "000003.cls: a label must be below 65536, got 11111111111111111111"),
        ({"000003.cls": b"-1"}, "a label must be an integer, got b'-1'"),
        ({"000003.png": b"?"}, "000003.png: is not an image"),
    ],
)
def test_wrong_shards_are_named(tmp_path, changes, reason, capsys):
    source = tmp_path / "source"
    source.mkdir()
    as_tar(source / "train.tar", {**shard(range(5)), **changes})
    said = complaint(capsys, 1, "pack", source, tmp_path / "out")
    assert reason in said
    assert "train.tar" in said


def test_hostile_shards_are_refused(tmp_path, capsys):
    source = tmp_path / "source"
    source.mkdir()
    as_tar(source / "train.tar", {"../x.png": b"", "../x.cls": b"0"})
    assert "'../x.png' leads out" in complaint(capsys, 1, "pack", source, tmp_path / "out")
    (source / "train.tar").write_bytes(b"no tar")
    assert "train.tar" in complaint(capsys, 1, "pack", source, tmp_path / "out")
