"""Sources, plans and targets behind a URL: in memory, in files, in S3 (a moto server of this machine)."""

import os
from concurrent.futures import ThreadPoolExecutor

import fsspec
import numpy as np
import pytest
from converting import as_zip, complaint, encoded, run

from selfie_io.convert.storage.locations import open_url
from selfie_io.convert.storage.source_cache import find_source
from selfie_io.records.manifest import read_manifest


@pytest.fixture
def s3(monkeypatch):
    """The URL of an empty bucket."""
    moto = pytest.importorskip("moto.server").ThreadedMotoServer(port=0)
    s3fs = pytest.importorskip("s3fs")
    moto.start()
    host, port = moto.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir(f"bucket-{port}")  # moto remembers those of other tests
    yield f"s3://bucket-{port}"
    s3fs.S3FileSystem.clear_instance_cache()
    moto.stop()


@pytest.fixture(params=["memory", "file", pytest.param("s3", marks=pytest.mark.slow)])
def root(request, tmp_path, monkeypatch):
    """The URL of an empty folder of each kind; the cache is empty, too."""
    monkeypatch.setenv("SELFIE_CACHE", str(tmp_path / "cache"))
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    urls = {"memory": "memory://bucket", "file": f"file://{tmp_path}/bucket"}
    return urls.get(request.param) or request.getfixturevalue("s3")


in_memory = pytest.mark.parametrize("root", ["memory"], indirect=True)
pytestmark = pytest.mark.filterwarnings("ignore:.*:ResourceWarning", "ignore:.*:DeprecationWarning")


@pytest.fixture
def source(tmp_path):
    """A zip of images, 12 for training in files of 5 and 6 for testing."""
    rng = np.random.default_rng(0)
    members = {
        f"{split}/{name}/{number}.png": encoded(rng.integers(0, 256, (5, 4, 3), "u1"))
        for split, count in (("train", 6), ("test", 3))
        for name in ("cat", "dog")
        for number in range(count)
    }
    return as_zip(tmp_path / "images.zip", members)


@pytest.fixture
def packed(tmp_path, source):
    """What pack makes of the images, by file name."""
    assert run("pack", source, tmp_path / "set", "--records-per-file", 5) == 0
    return {path.name: path.read_bytes() for path in (tmp_path / "set").iterdir()}


def put(url, content):
    system, path = fsspec.core.url_to_fs(url)
    system.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
    system.pipe_file(path, content)
    return url


def contents(url):
    """Every file below a URL, by its path."""
    system, path = fsspec.core.url_to_fs(url)
    system.invalidate_cache()
    return {name[len(path) :].strip("/"): system.cat_file(name) for name in system.find(path)}


def test_pack_from_and_to_a_url(root, source, packed, tmp_path, capsys):
    url, out = put(f"{root}/images.zip", source.read_bytes()), f"{root}/set"
    assert run("pack", url, out, "--records-per-file", 5) == 0
    assert contents(out) == packed
    assert "holds a data set" in complaint(capsys, 2, "pack", url, out)
    assert run("noise", tmp_path / "set", "--rate", 0.5, "--name", "old") == 0
    for overlay in (tmp_path / "set" / "labels").iterdir():
        put(f"{out}/labels/{overlay.name}", overlay.read_bytes())
    mine = {"notes.txt", "labels/my.txt", "labels/my.json", "labels/my.npy", "my_batch_1.bin"}
    for name in mine:
        put(f"{out}/{name}", b"{}")
    assert run("pack", url, out, "--force", "--size", "2x2") == 0
    expected = {f"{stem}{suffix}" for stem in ("data_batch_1", "test_batch") for suffix in (".bin", ".names")}
    assert set(contents(out)) == expected | {"dataset.json"} | mine
    assert b'"height": 2' in contents(out)["dataset.json"]


def test_other_files_behind_a_url_are_left_alone(root, source, capsys):
    put(f"{root}/set/my_batch.bin", b"mine")
    for force in ([], ["--force"]):
        said = complaint(capsys, 2, "pack", source, f"{root}/set", *force)
        assert "OUT must be absent, empty or a data set" in said
    url = put(f"{root}/cifar/data_batch_1.bin", b"a source")
    assert "OUT must not hold SOURCE" in complaint(capsys, 2, "pack", url, f"{root}/cifar", "--force")
    assert "OUT must be a folder" in complaint(capsys, 2, "pack", source, url, "--force")
    assert contents(root) == {"set/my_batch.bin": b"mine", "cifar/data_batch_1.bin": b"a source"}


def test_a_folder_behind_a_url(root, tmp_path):
    for split in ("train", "test"):
        for label in ("a", "b"):
            put(f"{root}/data/{split}/{label}/0.png", encoded(np.full((4, 4), ord(label), np.uint8)))
    assert run("pack", f"{root}/data", tmp_path / "out") == 0
    assert read_manifest(tmp_path / "out").splits["test"].records == 2
    (cached,) = (tmp_path / "cache" / "sources").glob("*/content/data/train/a")
    (cached / "planted.png").write_bytes((cached / "0.png").read_bytes())
    assert run("pack", f"{root}/data", tmp_path / "again") == 0
    assert read_manifest(tmp_path / "again").splits["train"].records == 2


@pytest.mark.parametrize("plan_here", [False, True])
def test_a_plan_that_reads_and_writes_urls(root, tmp_path, source, packed, plan_here, capsys):
    url, out = put(f"{root}/images.zip", source.read_bytes()), f"{root}/set"
    plan = tmp_path / "plan.json" if plan_here else f"{root}/plans/plan.json"
    options = ("--shards", 3, "--records-per-file", 5, "--out", out)
    assert run("plan", url, plan, *options) == 0
    assert run("run", plan, "--shard", 2) == 0
    assert "not written yet: shard 0, 1" in complaint(capsys, 1, "merge", plan)
    for shard in (2, 0, 1):
        assert run("run", plan, "--shard", shard) == 0
    assert "is written already" in capsys.readouterr().out
    assert run("merge", plan) == 0
    assert contents(out) == packed
    assert not [name for name in contents(root) if ".shards" in name]
    if plan_here:  # within the second of the manifest, whose fractions an object store drops
        system, path = open_url(f"{out}/dataset.json")
        written = int(system.modified(path).timestamp()) + 0.9
        os.utime(plan, (written, written))
    assert run("merge", plan) == 0, "what is merged is merged"
    assert run("plan", source, plan, *options, "--size", "3x3") == 0
    assert "holds a data set" in complaint(capsys, 2, "merge", plan)
    for shard in range(3):
        assert run("run", plan, "--shard", shard) == 0
    assert run("merge", plan, "--force") == 0
    assert b'"height": 3' in contents(out)["dataset.json"]
    assert set(contents(out)) == set(packed)


@in_memory
def test_a_plan_beside_what_it_writes(root, source, packed):
    plan = f"{root}/set.json"
    assert run("plan", source, plan, "--shards", 2, "--records-per-file", 5) == 0
    for shard in range(2):
        assert run("run", plan, "--shard", shard) == 0
    assert run("merge", plan) == 0
    assert contents(f"{root}/set") == packed


@in_memory
def test_the_cache_is_used_checked_and_renewed(root, tmp_path, source, packed, capsys):
    url = put(f"{root}/images.zip", source.read_bytes())
    for number in range(2):
        assert run("pack", url, tmp_path / str(number)) == 0
    (cached,) = (tmp_path / "cache" / "sources").glob("*/content/images.zip")
    content = bytearray(cached.read_bytes())
    content[100] ^= 1
    cached.write_bytes(content)
    assert run("pack", url, tmp_path / "2", "--name", "set", "--records-per-file", 5) == 0
    assert f"is damaged, {url} is fetched again" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (tmp_path / "2").iterdir()} == packed
    (cached.parent.parent / "sha256.json").write_text("[")
    assert run("pack", url, tmp_path / "3") == 0
    assert f"is damaged, {url} is fetched again" in capsys.readouterr().err
    (cached.parent.parent / "sha256.json").write_text("{}")  # tells of no file: it was not written by us
    cached.write_bytes(content[:100])
    assert run("pack", url, tmp_path / "again") == 0
    assert f"is damaged, {url} is fetched again" in capsys.readouterr().err
    other = as_zip(tmp_path / "other.zip", {"train/x/0.png": encoded(np.zeros((2, 2), np.uint8))})
    put(url, other.read_bytes())
    assert run("pack", url, tmp_path / "4") == 0
    assert read_manifest(tmp_path / "4").class_names == ["x"]


@in_memory
def test_many_fetch_one_source_at_once(root, source):
    url = put(f"{root}/images.zip", source.read_bytes())
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(find_source, [url] * 8))
    assert len(paths) == 1


@in_memory
def test_what_is_not_there_is_said(root, tmp_path, capsys):
    assert "SOURCE must exist, there is none at memory://no" in complaint(
        capsys, 2, "pack", "memory://no", tmp_path / "x"
    )
    assert "nonsense" in complaint(capsys, 2, "pack", "nonsense://a", tmp_path / "x")
    assert f"there is none at {root}/p.json" in complaint(capsys, 2, "merge", f"{root}/p.json")
    bad = put(f"{root}/bad.zip", b"PK\x03\x04")
    assert "bad.zip" in complaint(capsys, 1, "pack", bad, f"{root}/out")
    assert set(contents(root)) == {"bad.zip"}
