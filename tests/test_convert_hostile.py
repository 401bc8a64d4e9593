"""selfie-convert pack of images and archives that are damaged or meant to harm."""

import gzip
import io
import re
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
from converting import as_zip, complaint, encoded, expected, records, run

from selfie_io.records.manifest import read_manifest


def bomb():
    """A PNG that says 30000x30000 and has next to no data."""
    content = bytearray(encoded(np.zeros((5, 4, 3), np.uint8)))
    content[16:24] = struct.pack(">II", 30_000, 30_000)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    return bytes(content)


BAD_IMAGES = {
    "is not an image of a known format": b"not an image",
    "is not an image of a known format (": b"",
    "truncated": encoded(np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8), ".jpg")[:-10],
    "pixels": bomb(),
    "pixels must have 8 bits a channel, got those of mode I;16": encoded(np.zeros((5, 4), np.uint16)),
}


@pytest.mark.parametrize("reason", BAD_IMAGES)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_bad_image_fails_the_pack_or_is_left_out(tmp_path, members, reason, workers, capsys):
    source = as_zip(tmp_path / "a.zip", {**members, "train/cat/1b.png": BAD_IMAGES[reason]})
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


def test_many_bad_images_are_listed_up_to_twenty(tmp_path, capsys):
    source = as_zip(tmp_path / "a.zip", {
        **{f"train/a/{number:03d}.png": b"?" for number in range(300)},
        "train/a/-.png": encoded(np.zeros((5, 4, 3), np.uint8)),
    })  # fmt: skip
    said = complaint(capsys, 1, "pack", source, tmp_path / "out", "--workers", 1)
    assert said.count("is not an image") == 20
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
def test_an_archive_member_that_cannot_be_read_is_one_bad_image(
    tmp_path, members, trouble, monkeypatch, capsys
):
    if trouble == "too large":
        monkeypatch.setattr("selfie_io.convert.sources.file_tree.MAX_FILE_BYTES", 1000)
        monkeypatch.setattr("selfie_io.convert.sources.archives.MAX_FILE_BYTES", 1000)
        members["train/dog/2.png"] += bytes(1000)
    source = as_zip(tmp_path / "a.zip", members)
    content = bytearray(source.read_bytes())
    if trouble == "damaged":
        content[content.index(members["train/dog/2.png"]) + 50] ^= 255
    source.write_bytes(content)
    reason = {"damaged": "Bad CRC-32", "too large": "a file must have at most 1000 bytes"}[trouble]
    said = complaint(capsys, 1, "pack", source, tmp_path / "out")
    assert f"a.zip: train/dog/2.png: {reason}" in said
    assert run("pack", source, tmp_path / "out", "--skip-bad") == 0
    (skipped,) = read_manifest(tmp_path / "out").provenance["skipped"]
    assert skipped["reason"].startswith(reason)
    assert len(records(tmp_path / "out")) == 7


def test_what_only_begins_like_a_gzip_file_is_no_source(tmp_path, capsys):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(b"\x1f\x8b\x08" + bytes(7) + b"\x07")  # there is no block of this type
    assert "no kind fits" in complaint(capsys, 1, "pack", path, tmp_path / "out")


def test_a_gzip_bomb_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("selfie_io.convert.sources.archives._TAR_FREE_BYTES", 1 << 16)
    source = tmp_path / "bomb.tar.gz"
    with gzip.open(source, "wb") as file:
        file.write(hostile_tar("train/a/0.png") + bytes(1 << 22))
    assert "grows beyond" in complaint(capsys, 1, "pack", source, tmp_path / "out")
