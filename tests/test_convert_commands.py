"""selfie-convert beside pack: adopt, info, verify, noise, preview, and the cost of --help."""

import json
import struct
import subprocess
import sys

import numpy as np
from converting import as_folder, complaint, records, run
from PIL import Image

from selfie_io.records.manifest import read_manifest


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
    assert "has one; --force" in complaint(capsys, 2, "adopt", tmp_path)
    names = tmp_path / "names.txt"
    names.write_text("a\nb\nc\nd\ne\nf\ng\n")
    assert manifest.labels == "unknown"
    named = ("--class-names", names, "--shape", "3,32,32", "--labels-are-clean")
    assert run("adopt", tmp_path, "--force", *named) == 0
    manifest = read_manifest(tmp_path)
    assert (manifest.class_names, manifest.labels) == (list("abcdefg"), "clean")


def test_adopt_refuses_defects_and_writes_nothing(tmp_path, capsys):
    with (tmp_path / "data_batch_1.bin").open("wb") as file:
        for record_id in (0, 1, 1):
            file.write(struct.pack(">II", record_id, record_id) + bytes(4))
    said = complaint(capsys, 1, "adopt", tmp_path, "--shape", "1,2,2")
    assert "record 2: byte 24: record id 1 is also that of data_batch_1.bin record 1" in said
    said = complaint(capsys, 1, "adopt", tmp_path, "--shape", "1,2,2", "--num-classes", 1)
    assert "record 1: byte 16: a label must be in 0..0, got 1" in said
    assert run("adopt", tmp_path, "--shape", "1,2,2", "--json") == 1
    assert json.loads(capsys.readouterr().out)["defects"][0]["record"] == 2
    assert "a shape must be CHANNELS,HEIGHT,WIDTH" in complaint(
        capsys, 2, "adopt", tmp_path, "--shape", "1x2x2"
    )
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
    assert "FOLDER must be a folder" in complaint(capsys, 2, "verify", tmp_path / "absent")


def test_noise_and_preview(tmp_path, members, capsys):
    out = tmp_path / "out"
    assert run("pack", as_folder(tmp_path / "source", members), out) == 0
    before = (out / "data_batch_1.bin").read_bytes()
    assert run("noise", out, "--kind", "pair", "--rate", 1, "--name", "all") == 0
    assert (out / "data_batch_1.bin").read_bytes() == before
    assert "exactly one of --rate and --matrix" in complaint(capsys, 2, "noise", out)
    assert run("info", out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["overlays"] == ["all"]
    assert run("preview", out, tmp_path / "plain.png", "--columns", 4) == 0
    assert run("preview", out, tmp_path / "noisy.png", "--columns", 4, "--noisy", "all") == 0
    with Image.open(tmp_path / "plain.png") as plain, Image.open(tmp_path / "noisy.png") as noisy:
        assert plain.width == noisy.width
        legend = noisy.height - plain.height - 2 * 14
        assert legend in (14, 28, 42), "a few lines that tell what is red"
        red = [np.all(np.asarray(image) == (200, 30, 30), axis=2).sum() for image in (plain, noisy)]
        shown = {tuple(pixel) for pixel in np.asarray(plain).reshape(-1, 3).tolist()}
    assert red[0] == 0
    assert red[1] > 8 * 4 * 48, "eight marked images of 60x48 have a red frame of two pixels"
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
