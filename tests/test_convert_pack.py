"""selfie-convert, end to end: pack what an independent writer made, check it, and break it in every way."""

import gzip
import io
import json
import re
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
from converting import as_folder, as_tar, as_zip, complaint, encoded, records, run
from PIL import Image

from selfie_io.records.layout import RecordLayout
from selfie_io.records.manifest import read_manifest


@pytest.fixture
def members():
    """Twelve 5x4 colour pictures of two classes in the layout of an image folder, by file name."""
    rng = np.random.default_rng(0)
    files = {}
    for split, count in (("train", 4), ("test", 2)):
        for name in ("dog", "cat"):
            for number in range(count):
                pixels = rng.integers(0, 256, (5, 4, 3), dtype=np.uint8)
                files[f"{split}/{name}/{number}.png"] = encoded(pixels)
    return files


def expected(members, split):
    names = sorted(name for name in members if name.startswith(split))
    pixels = [np.asarray(Image.open(io.BytesIO(members[name]))).transpose(2, 0, 1) for name in names]
    return np.stack(pixels), [int("/dog/" in name) for name in names]


@pytest.mark.parametrize("form", ["folder", "zip", "tar", "tar.gz", "tar.xz", "nested"])
def test_image_folder_in_every_form(tmp_path, members, form):
    if form == "folder":
        source = as_folder(
            tmp_path / "source", {**members, "README": b"", "train/.DS_Store": b"", ".x/y/z": b""}
        )
    elif form == "zip":
        source = as_zip(tmp_path / "a.zip", {**members, "__MACOSX/train/cat/._0.png": b"?"})
    elif form == "nested":
        source = as_zip(tmp_path / "a.zip", {f"my set/data/{name}": members[name] for name in members})
    else:
        shuffled = dict(sorted(members.items(), key=lambda item: item[0][::-1]))
        source = as_tar(tmp_path / f"a.{form}", shuffled, "w:" + form.partition(".")[2])
    out = tmp_path / "out"
    assert run("pack", source, out, "--records-per-file", 3, "--workers", 1) == 0
    for split in ("train", "test"):
        pixels, labels = expected(members, split)
        stored = records(out, split)
        np.testing.assert_array_equal(stored["pixels"], pixels)
        np.testing.assert_array_equal(stored["label"], labels)
        np.testing.assert_array_equal(stored["record_id"], np.arange(len(labels)))
    manifest = read_manifest(out)
    assert manifest.class_names == ["cat", "dog"]
    assert [file.records for file in manifest.splits["train"].files] == [3, 3, 2]
    assert manifest.provenance["source"] == {"kind": "image-folder", "name": source.name}
    assert run("verify", out, "--deep") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([source.name, "out"])


def test_the_bytes_do_not_depend_on_the_workers(tmp_path, members, monkeypatch):
    monkeypatch.setattr("selfie_io.convert.decode._CHUNK_ITEMS", 16)  # more chunks than may wait
    rng = np.random.default_rng(1)
    many = {
        f"train/{name}/{number:03d}.jpg": encoded(rng.integers(0, 256, (9, 8, 3), dtype=np.uint8), ".jpg")
        for name in ("cat", "dog")
        for number in range(200)
    }
    source = as_zip(tmp_path / "a.zip", {**members, **many, "train/cat/zz.png": b"no picture"})
    options = ("--size", "8x8", "--skip-bad", "--name", "same")
    for workers in (1, 2, 3):
        assert run("pack", source, tmp_path / str(workers), *options, "--workers", workers) == 0
    contents = [
        {path.name: path.read_bytes() for path in (tmp_path / str(workers)).iterdir()}
        for workers in (1, 2, 3)
    ]
    assert contents[0] == contents[1] == contents[2]
    assert len(records(tmp_path / "1")) == 408


def test_a_decoding_process_that_dies_is_told(tmp_path, members, monkeypatch, capsys):
    class Dying(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.kill()

    monkeypatch.setattr("selfie_io.convert.decode._CHUNK_ITEMS", 2)
    monkeypatch.setattr("selfie_io.convert.worker.subprocess.Popen", Dying)
    source = as_zip(tmp_path / "a.zip", members)
    said = complaint(capsys, 1, "pack", source, tmp_path / "out", "--workers", 2)
    assert re.search(r"a decoding process died at one of train/\S+\.png \.\. train/\S+\.png", said)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_classes_come_in_the_order_of_their_sorted_names(tmp_path):
    names = ["10", "9", "Zebra", "apple", "bee", "ant", "émeu"]
    files = {f"train/{name}/0.png": encoded(np.full((4, 4), n, np.uint8)) for n, name in enumerate(names)}
    assert run("pack", as_zip(tmp_path / "a.zip", files), tmp_path / "out") == 0
    assert read_manifest(tmp_path / "out").class_names == sorted(names)
    stored = records(tmp_path / "out")
    assert [names[pixels[0, 0, 0]] for pixels in stored["pixels"]] == sorted(names)


def test_val_stands_for_test_and_a_third_split_is_said_to_be_left_out(tmp_path, members, capsys):
    renamed = {name.replace("test/", "val/"): content for name, content in members.items()}
    assert run("pack", as_zip(tmp_path / "a.zip", renamed), tmp_path / "a") == 0
    assert len(records(tmp_path / "a", "test")) == 4
    assert run("pack", as_zip(tmp_path / "b.zip", {**renamed, **members}), tmp_path / "b") == 0
    assert "note: val/ is left out: test/ is the test split" in capsys.readouterr().err


def test_a_single_tree_is_split_by_class_and_name(tmp_path, members, capsys):
    tree = {name.removeprefix("train/"): content for name, content in members.items() if "train" in name}
    source = as_folder(tmp_path / "source", tree)
    assert "needs --test-fraction" in complaint(capsys, 1, "pack", source, tmp_path / "out")
    assert run("pack", source, tmp_path / "out", "--test-fraction", 0.25) == 0
    assert np.bincount(records(tmp_path / "out", "test")["label"]).tolist() == [1, 1]
    assert np.bincount(records(tmp_path / "out")["label"]).tolist() == [3, 3]
    assert run("pack", source, tmp_path / "none", "--test-fraction", 0) == 0
    assert list(read_manifest(tmp_path / "none").splits) == ["train"]
    assert "below 1, got 1.0" in complaint(capsys, 1, "pack", source, tmp_path / "x", "--test-fraction", 1)


def test_size_and_channels(tmp_path, capsys):
    rng = np.random.default_rng(2)
    colour = rng.integers(0, 256, (12, 10, 3), dtype=np.uint8)
    grey = rng.integers(0, 256, (12, 10), dtype=np.uint8)
    small = rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)
    source = as_folder(
        tmp_path / "mixed",
        {"train/a/0.png": encoded(colour), "train/a/1.png": encoded(grey), "train/b/0.png": encoded(small)},
    )
    said = complaint(capsys, 1, "pack", source, tmp_path / "out")
    assert "train/b/0.png: has 6x5 pixels, the first has 12x10 (--size 12x10 scales all)" in said
    assert not (tmp_path / "out").exists()
    assert run("pack", source, tmp_path / "out", "--size", "6x5") == 0
    pixels = records(tmp_path / "out")["pixels"]
    bilinear = Image.Resampling.BILINEAR
    np.testing.assert_array_equal(
        pixels[0], np.asarray(Image.fromarray(colour).resize((5, 6), bilinear)).transpose(2, 0, 1)
    )
    np.testing.assert_array_equal(pixels[1][0], np.asarray(Image.fromarray(grey).resize((5, 6), bilinear)))
    np.testing.assert_array_equal(pixels[1][0], pixels[1][2])
    np.testing.assert_array_equal(pixels[2], small.transpose(2, 0, 1))
    assert run("pack", source, tmp_path / "grey", "--size", "6x5", "--channels", 1) == 0
    assert read_manifest(tmp_path / "grey").layout == RecordLayout(1, 6, 5)


def test_a_grey_set_stays_grey_and_refuses_colour(tmp_path, capsys):
    grey = encoded(np.arange(20, dtype=np.uint8).reshape(5, 4))
    colour = encoded(np.zeros((5, 4, 3), np.uint8))
    source = as_folder(tmp_path / "grey", {"train/a/0.png": grey, "train/b/0.png": grey})
    assert run("pack", source, tmp_path / "out") == 0
    assert read_manifest(tmp_path / "out").layout == RecordLayout(1, 5, 4)
    (source / "train/b/1.png").write_bytes(colour)
    said = complaint(capsys, 1, "pack", source, tmp_path / "out2")
    assert "b/1.png: has colours, the first is grey (--channels 3 makes all of them colour)" in said
    assert run("pack", source, tmp_path / "out2", "--channels", 3) == 0


def bomb():
    """A PNG that says 30000x30000 and has next to no data."""
    content = bytearray(encoded(np.zeros((5, 4, 3), np.uint8)))
    content[16:24] = struct.pack(">II", 30_000, 30_000)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    return bytes(content)


BAD_PICTURES = {
    "is not a picture of a known format": b"not a picture",
    "is not a picture of a known format (": b"",
    "truncated": encoded(np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8), ".jpg")[:-10],
    "pixels": bomb(),
    "pixels have 8 bits a channel, got those of mode I;16": encoded(np.zeros((5, 4), np.uint16)),
}


@pytest.mark.parametrize("reason", BAD_PICTURES)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_bad_picture_fails_the_pack_or_is_left_out(tmp_path, members, reason, workers, capsys):
    source = as_zip(tmp_path / "a.zip", {**members, "train/cat/1b.png": BAD_PICTURES[reason]})
    out = tmp_path / "out"
    said = complaint(capsys, 1, "pack", source, out, "--workers", workers)
    assert "train/cat/1b.png: " in said
    assert reason in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip"]
    assert run("pack", source, out, "--workers", workers, "--skip-bad") == 0
    np.testing.assert_array_equal(records(out)["pixels"], expected(members, "train")[0])
    (skipped,) = read_manifest(out).provenance["skipped"]
    assert (skipped["split"], skipped["name"]) == ("train", "train/cat/1b.png")
    assert reason in skipped["reason"]


def test_many_bad_pictures_are_listed_up_to_twenty(tmp_path, capsys):
    source = as_zip(tmp_path / "a.zip", {
        **{f"train/a/{number:03d}.png": b"?" for number in range(300)},
        "train/a/-.png": encoded(np.zeros((5, 4, 3), np.uint8)),
    })  # fmt: skip
    said = complaint(capsys, 1, "pack", source, tmp_path / "out", "--workers", 1)
    assert said.count("is not a picture") == 20
    assert "perhaps more after these 20" in said


def hostile_tar(name, **attributes):
    member = tarfile.TarInfo(name)
    for key, value in attributes.items():
        setattr(member, key, value)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(member)
    return file.getvalue()


def zip_link():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        link = zipfile.ZipInfo("train/cat/link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    return file.getvalue()


def zip_of(*names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return file.getvalue()


def zip_without_name():
    content = bytearray(zip_of("x"))
    lengths = content.index(b"PK\x01\x02") + 28
    content[lengths : lengths + 4] = b"\0\0\1\0"  # the name is an extra field now
    return bytes(content)


def zip_that_lies(offset, value):
    """A zip whose directory says something else about its member: 20, its compressed size; 42, its place."""
    content = bytearray(zip_of("train/a/0.png"))
    place = content.index(b"PK\x01\x02") + offset
    content[place : place + 4] = value.to_bytes(4, "little")
    return bytes(content)


HOSTILE = {
    "'../../etc/x' leads out": hostile_tar("../../etc/x"),
    "'/etc/x' leads out": hostile_tar("/etc/x"),
    "'train/a/b' is a link, a device": hostile_tar("train/a/b", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "'train/a/c' is a link, a device": hostile_tar("train/a/c", type=tarfile.LNKTYPE, linkname="x"),
    "'train/a/d' is a link, a device": hostile_tar("train/a/d", type=tarfile.CHRTYPE),
    "'train/a/e' is a link, a device": hostile_tar("train/a/e", type=tarfile.FIFOTYPE),
    "the archive ends at": hostile_tar("train/a/0.png", size=0)[:512].replace(
        b"00000000000", b"00000077777", 1
    ),
    "'train/cat/link.png' is a link": zip_link(),
    "'../x.png' leads out": zip_of("../x.png"),
    "'C:/x.png' leads out": zip_of("C:/x.png"),
    "'..\\\\x.png' leads out": zip_of("..\\x.png"),
    "a member without a name": zip_without_name(),
    "is not UTF-8": hostile_tar("train/a/\udcff.png"),
    "File is not a zip file": b"PK\x03\x04" + bytes(100),
    "no kind fits": b"neither this nor that",
}


@pytest.mark.parametrize("reason", HOSTILE)
def test_hostile_archives_are_refused_by_name(tmp_path, reason, capsys):
    content = bytearray(HOSTILE[reason])
    if reason == "the archive ends at":  # a header that promises more than is there, with a right checksum
        content[148:156] = b" " * 8
        content[148:156] = b"%06o\0 " % sum(content)
    source = tmp_path / "archive"
    source.write_bytes(content)
    said = complaint(capsys, 1, "pack", source, tmp_path / "out")
    assert reason in said
    assert str(source) in said
    assert len(said.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


@pytest.mark.parametrize(("offset", "value"), [(20, (1 << 31) - 1), (42, 1 << 30)])
def test_a_zip_that_lies_about_a_member_is_refused(tmp_path, offset, value, capsys):
    (tmp_path / "archive").write_bytes(zip_that_lies(offset, value))
    said = complaint(capsys, 1, "pack", tmp_path / "archive", tmp_path / "out")
    assert re.search(f"train/a/0.png: .*{value} (bytes at byte|of an archive)", said)
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_name_twice_is_refused(tmp_path, capsys):
    source = tmp_path / "a.zip"
    source.write_bytes(zip_of("train/a/0.png", "train/a/0.png"))
    assert "'train/a/0.png' is there twice" in complaint(capsys, 1, "pack", source, tmp_path / "out")


@pytest.mark.parametrize("trouble", ["damaged", "too large"])
def test_an_archive_member_that_cannot_be_read_is_one_bad_picture(
    tmp_path, members, trouble, monkeypatch, capsys
):
    if trouble == "too large":
        monkeypatch.setattr("selfie_io.convert.sources.tree.MAX_FILE_BYTES", 1000)
        monkeypatch.setattr("selfie_io.convert.sources.archives.MAX_FILE_BYTES", 1000)
        members["train/dog/2.png"] += bytes(1000)
    source = as_zip(tmp_path / "a.zip", members)
    content = bytearray(source.read_bytes())
    if trouble == "damaged":
        content[content.index(members["train/dog/2.png"]) + 50] ^= 255
    source.write_bytes(content)
    reason = {"damaged": "Bad CRC-32", "too large": "a file has at most 1000 bytes"}[trouble]
    said = complaint(capsys, 1, "pack", source, tmp_path / "out")
    assert f"a.zip: train/dog/2.png: {reason}" in said
    assert run("pack", source, tmp_path / "out", "--skip-bad") == 0
    (skipped,) = read_manifest(tmp_path / "out").provenance["skipped"]
    assert skipped["reason"].startswith(reason)
    assert len(records(tmp_path / "out")) == 7


def test_a_gzip_bomb_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("selfie_io.convert.sources.archives._TAR_FREE_BYTES", 1 << 16)
    source = tmp_path / "bomb.tar.gz"
    with gzip.open(source, "wb") as file:
        file.write(hostile_tar("train/a/0.png") + bytes(1 << 22))
    assert "grows beyond" in complaint(capsys, 1, "pack", source, tmp_path / "out")


def test_targets(tmp_path, members, capsys):
    source = as_folder(tmp_path / "source", members)
    out = tmp_path / "out"
    out.mkdir()
    assert run("pack", source, out) == 0, "an empty folder is taken"
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert "--force replaces it" in complaint(capsys, 2, "pack", source, out)
    (source / "test/cat/0.png").write_bytes(b"?")
    assert "test/cat/0.png" in complaint(capsys, 1, "pack", source, out, "--force")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before, "the old state stays"
    (source / "test/cat/0.png").unlink()
    assert run("pack", source, out, "--force") == 0
    assert len(records(out, "test")) == 3
    assert "holds SOURCE" in complaint(capsys, 2, "pack", source, source, "--force")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "precious.txt").touch()
    assert "neither empty nor a data set" in complaint(
        capsys, 2, "pack", source, tmp_path / "notes", "--force"
    )
    assert "is not a folder" in complaint(capsys, 2, "pack", source, tmp_path / "notes" / "precious.txt")
    assert "there is no SOURCE" in complaint(capsys, 2, "pack", tmp_path / "absent", tmp_path / "x")
    assert "a size is HEIGHTxWIDTH" in complaint(capsys, 2, "pack", source, tmp_path / "x", "--size", "8")


def test_a_full_disk_leaves_the_old_state(tmp_path, members):
    """A limit on the size of files stands for the disk: writing fails in the same way but for the number."""
    source = as_folder(tmp_path / "source", members)
    out = tmp_path / "out"
    assert run("pack", source, out) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))\n"
        "from selfie_io.convert.cli import main\n"
        f"sys.exit(main(['pack', {str(source)!r}, {str(out)!r}, '--force']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert ".bin'" in done.stderr, "the file is named"
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]


def test_the_kind_must_be_plain(tmp_path, members, capsys):
    idx = {"train-images-idx3-ubyte": b"", "train-labels-idx1-ubyte": b""}
    source = as_folder(tmp_path / "source", {**members, **idx})
    said = complaint(capsys, 1, "pack", source, tmp_path / "out")
    assert "choose with --kind: image-folder (train/cat/0.png); idx (train-images-idx3-ubyte)" in said
    assert run("pack", source, tmp_path / "out", "--kind", "image-folder") == 0
    assert "got 'nonsense'" in complaint(capsys, 1, "pack", source, tmp_path / "x", "--kind", "nonsense")


def test_json_and_digits(tmp_path, capsys):
    assert run("pack", "digits", tmp_path / "digits", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["shape"], said["records"]) == ([1, 8, 8], {"train": 1438, "test": 359})
    from sklearn.datasets import load_digits

    stored = np.concatenate([records(tmp_path / "digits", split) for split in ("train", "test")])
    original = np.rint(load_digits().images * 255 / 16).astype(np.uint8)
    assert sorted(map(bytes, stored["pixels"])) == sorted(map(bytes, original))
    assert run("info", tmp_path / "digits", "--json") == 0
    info = json.loads(capsys.readouterr().out)
    assert info["splits"]["train"]["records"] == 1438
    assert sum(info["splits"]["test"]["records_per_class"]) == 359
    assert info["defects"] == []


def test_adopt(tmp_path, capsys):
    rng = np.random.default_rng(3)
    ids = rng.permutation(120)
    for number in range(12):
        with (tmp_path / f"data_batch_{number + 1}.bin").open("wb") as file:
            for record_id in ids[number * 10 : number * 10 + 10]:
                file.write(struct.pack(">II", record_id, record_id % 7) + rng.bytes(3 * 32 * 32))
    assert run("info", tmp_path) == 0
    assert run("adopt", tmp_path, "--name", "old", "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["num_classes"] == 7
    manifest = read_manifest(tmp_path)
    assert manifest.layout.shape == (3, 32, 32)
    assert manifest.class_names == list("0123456")
    assert manifest.provenance["contiguous_ids"] == {"train": True}
    assert [file.name for file in manifest.splits["train"].files][8:] == [
        f"data_batch_{number}.bin" for number in (9, 10, 11, 12)
    ]
    assert run("verify", tmp_path, "--deep") == 0
    assert "has a manifest; --force" in complaint(capsys, 2, "adopt", tmp_path)
    names = tmp_path / "names.txt"
    names.write_text("a\nb\nc\nd\ne\nf\ng\n")
    assert run("adopt", tmp_path, "--force", "--class-names", names, "--shape", "3,32,32") == 0
    assert read_manifest(tmp_path).class_names == list("abcdefg")


def test_adopt_refuses_defects_and_writes_nothing(tmp_path, capsys):
    with (tmp_path / "data_batch_1.bin").open("wb") as file:
        for record_id in (0, 1, 1):
            file.write(struct.pack(">II", record_id, record_id) + bytes(4))
    said = complaint(capsys, 1, "adopt", tmp_path, "--shape", "1,2,2")
    assert "record 2: byte 24: record id 1 is also that of data_batch_1.bin record 1" in said
    said = complaint(capsys, 1, "adopt", tmp_path, "--shape", "1,2,2", "--num-classes", 1)
    assert "record 1: byte 16: label 1 is outside 0..0" in said
    assert run("adopt", tmp_path, "--shape", "1,2,2", "--json") == 1
    assert json.loads(capsys.readouterr().out)["defects"][0]["record"] == 2
    assert "a shape is CHANNELS,HEIGHT,WIDTH" in complaint(capsys, 2, "adopt", tmp_path, "--shape", "1x2x2")
    assert "must be given: the files fit none" in complaint(capsys, 1, "adopt", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["data_batch_1.bin"]


def test_info_shows_names_as_they_are(tmp_path, members, capsys):
    renamed = {name.replace("/dog/", "/[red]dog[/]/"): content for name, content in members.items()}
    assert run("pack", as_folder(tmp_path / "source", renamed), tmp_path / "out") == 0
    assert run("info", tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "[red]dog[" in said
    assert "8 records in 1 files, ids 0..N-1, 4 to 4 a class" in " ".join(said.replace("│", " ").split())


def test_verify_says_what_is_wrong(tmp_path, members, capsys):
    out = tmp_path / "out"
    assert run("pack", as_folder(tmp_path / "source", members), out) == 0
    path = out / "data_batch_1.bin"
    path.write_bytes(path.read_bytes()[:-1])
    said = complaint(capsys, 1, "verify", out)
    assert "data_batch_1.bin: record 7: byte 476: ends after 67 of the 68 bytes of a record" in said
    assert run("verify", out, "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["ok"], report["defects"][0]["byte"]) == (False, 476)
    (out / "dataset.json").write_text("{")
    assert "dataset.json" in complaint(capsys, 1, "verify", out)
    assert "there is no folder" in complaint(capsys, 2, "verify", tmp_path / "absent")


def test_noise_and_preview(tmp_path, members, capsys):
    out = tmp_path / "out"
    assert run("pack", as_folder(tmp_path / "source", members), out) == 0
    before = (out / "data_batch_1.bin").read_bytes()
    assert run("noise", out, "--kind", "pair", "--rate", 1, "--name", "all") == 0
    assert (out / "data_batch_1.bin").read_bytes() == before
    assert "either --rate or --matrix" in complaint(capsys, 2, "noise", out)
    assert run("info", out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["overlays"] == ["all"]
    assert run("preview", out, tmp_path / "plain.png", "--columns", 4) == 0
    assert run("preview", out, tmp_path / "noisy.png", "--columns", 4, "--noisy", "all") == 0
    with Image.open(tmp_path / "plain.png") as plain, Image.open(tmp_path / "noisy.png") as noisy:
        assert plain.size == (noisy.width, noisy.height - 2 * 14)
        red = [np.all(np.asarray(image) == (200, 30, 30), axis=2).sum() for image in (plain, noisy)]
        shown = {tuple(pixel) for pixel in np.asarray(plain).reshape(-1, 3).tolist()}
    assert red[0] == 0
    assert red[1] > 8 * 4 * 48, "eight marked pictures of 60x48 have a red frame of two pixels"
    stored = records(out)["pixels"].transpose(0, 2, 3, 1).reshape(-1, 3)
    assert {tuple(pixel) for pixel in stored.tolist()} <= shown


def test_help_pays_for_neither_torch_nor_numba():
    code = (
        "import sys; from selfie_io.convert.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "loaded = {'torch', 'numba', 'sklearn', 'PIL', 'scipy', 'pyarrow'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
