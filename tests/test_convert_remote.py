"""Sources and targets behind a URL, by fsspec's memory and local file systems."""

import fsspec
import numpy as np
import pytest
from converting import as_zip, complaint, encoded, run

from selfie_io.records.manifest import read_manifest


@pytest.fixture
def packed(tmp_path, monkeypatch):
    """A zip of pictures and what pack makes of it; an empty memory file system and an empty cache."""
    monkeypatch.setenv("SELFIE_CACHE", str(tmp_path / "cache"))
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    rng = np.random.default_rng(0)
    members = {
        f"{split}/{name}/{number}.png": encoded(rng.integers(0, 256, (5, 4, 3), "u1"))
        for split in ("train", "test")
        for name in ("cat", "dog")
        for number in range(3)
    }
    source = as_zip(tmp_path / "pictures.zip", members)
    assert run("pack", source, tmp_path / "set") == 0
    return source, {path.name: path.read_bytes() for path in (tmp_path / "set").iterdir()}


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_from_and_to_a_url(tmp_path, packed, kind, capsys):
    source, expected = packed
    root = "memory://bucket" if kind == "memory" else f"file://{tmp_path}/bucket"
    system, path = fsspec.core.url_to_fs(root)
    system.makedirs(path)
    system.put_file(str(source), f"{path}/pictures.zip")
    assert run("pack", f"{root}/pictures.zip", f"{root}/set") == 0
    found = {
        name.rsplit("/", 1)[-1]: system.cat_file(name) for name in system.ls(f"{path}/set", detail=False)
    }
    assert found == expected
    assert "holds a data set" in complaint(capsys, 2, "pack", f"{root}/pictures.zip", f"{root}/set")
    assert run("pack", f"{root}/pictures.zip", f"{root}/set", "--force", "--size", "2x2") == 0
    assert b'"height": 2' in system.cat_file(f"{path}/set/dataset.json")


@pytest.mark.usefixtures("packed")
def test_a_folder_behind_a_url(tmp_path):
    system = fsspec.filesystem("memory")
    for split in ("train", "test"):
        for label in ("a", "b"):
            system.pipe_file(f"/data/{split}/{label}/0.png", encoded(np.full((4, 4), ord(label), np.uint8)))
    assert run("pack", "memory://data", tmp_path / "out") == 0
    assert read_manifest(tmp_path / "out").splits["test"].records == 2


def test_the_cache_is_used_checked_and_renewed(tmp_path, packed, capsys):
    source, expected = packed
    system = fsspec.filesystem("memory")
    system.put_file(str(source), "/bucket/pictures.zip")
    for number in range(2):
        assert run("pack", "memory://bucket/pictures.zip", tmp_path / str(number)) == 0
    (cached,) = (tmp_path / "cache" / "sources").glob("*/content/pictures.zip")
    content = bytearray(cached.read_bytes())
    content[100] ^= 1
    cached.write_bytes(content)
    assert run("pack", "memory://bucket/pictures.zip", tmp_path / "2", "--name", "set") == 0
    assert "is damaged, memory://bucket/pictures.zip is fetched again" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (tmp_path / "2").iterdir()} == expected
    as_zip(tmp_path / "other.zip", {"train/x/0.png": encoded(np.zeros((2, 2), np.uint8))})
    system.put_file(str(tmp_path / "other.zip"), "/bucket/pictures.zip")
    assert run("pack", "memory://bucket/pictures.zip", tmp_path / "3") == 0
    assert read_manifest(tmp_path / "3").class_names == ["x"]


@pytest.mark.usefixtures("packed")
def test_what_is_not_there_is_said(tmp_path, capsys):
    assert "there is no SOURCE memory://no" in complaint(capsys, 2, "pack", "memory://no", tmp_path / "x")
    assert "nonsense" in complaint(capsys, 2, "pack", "nonsense://a", tmp_path / "x")
    fsspec.filesystem("memory").pipe_file("/bad.zip", b"PK\x03\x04")
    assert "bad.zip" in complaint(capsys, 1, "pack", "memory://bad.zip", "memory://out")
    assert not fsspec.filesystem("memory").exists("/out")
