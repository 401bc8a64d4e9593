"""What is no part of a source, or is bad: refused by name, or left out with a line that says so."""

import io
import json
import os
import warnings
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from converting import as_folder, as_tar, as_zip, complaint, encoded, records, run
from PIL import Image

import selfie_io as sio


def image(value=0, shape=(4, 4, 3), suffix=".png", **options):
    return encoded(np.full(shape, value, np.uint8), suffix, **options)


PNG = image()
MEMBERS = {f"{s}/{c}/{i}.png": PNG for s in ("train", "test") for c in ("cat", "dog") for i in range(2)}


def notes(out):
    return json.loads((out / "dataset.json").read_text())["provenance"].get("notes", [])


def sizes(out):
    return {name: len(split) for name, split in sio.open_dataset(out).splits.items()}


STRAYS = [
    "train/cat/notes.txt",
    "train/dog/dog_boxes.txt",
    "test/cat/info.json",
    "train/cat/README",
    "test/dog/a.heic",
]


@pytest.mark.parametrize("stray", STRAYS)
@pytest.mark.parametrize("layout", [as_folder, as_zip, as_tar])
def test_a_stray_file_is_named_and_can_be_left_out(tmp_path, stray, layout, capsys):
    source = layout(tmp_path / "source", {**MEMBERS, stray: b"x"})
    said = complaint(capsys, 1, "pack", source, tmp_path / "out")
    assert (
        f"image-folder: {stray} is no image (--skip-bad or --kind image-folder leaves such files out)" in said
    )
    for number, options in enumerate((["--skip-bad"], ["--kind", "image-folder"])):
        out = tmp_path / f"out{number}"
        assert run("pack", source, out, *options) == 0
        assert sizes(out) == {"train": 4, "test": 4}
        assert f"1 file without an image left out ({stray})" in " ".join(notes(out))
        assert stray in capsys.readouterr().err


@pytest.mark.parametrize(
    "name",
    [
        "Thumbs.db",
        "ehthumbs.db",
        "thumbs.db",
        "desktop.ini",
        "Icon\r",
        ".DS_Store",
        "0.png:Zone.Identifier",
        "._0.png",
    ],
)
def test_what_operating_systems_leave_behind_is_left_out_and_counted(tmp_path, name):
    source = as_folder(tmp_path / "s", {**MEMBERS, f"train/cat/{name}": b"x", f"test/{name}": b"x"})
    assert run("pack", source, tmp_path / "out") == 0
    assert sizes(tmp_path / "out") == {"train": 4, "test": 4}
    assert any("2 hidden or system files left out" in note for note in notes(tmp_path / "out"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.jfif", image(suffix=".jpg")),
        ("x.JPE", image(suffix=".jpg")),
        ("x", PNG),
        ("x.dat", image(suffix=".jpg")),
        ("x.img", b"P6 4 4 255\n" + bytes(48)),
    ],
)
def test_an_image_is_told_by_its_content(tmp_path, name, content):
    source = as_folder(tmp_path / "s", {**MEMBERS, f"train/cat/{name}": content})
    assert run("pack", source, tmp_path / "out") == 0
    assert sizes(tmp_path / "out") == {"train": 5, "test": 4}


def test_a_file_that_only_ends_like_an_image_is_bad_and_named(tmp_path, capsys):
    source = as_folder(tmp_path / "s", {**MEMBERS, "train/cat/x.jpg": b"<html>"})
    assert "train/cat/x.jpg: is not an image" in complaint(capsys, 1, "pack", source, tmp_path / "out")


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"pred/1.png": PNG}, "pred/ is left out: its name is no split"),
        (
            {"train/loose.png": PNG, "more.png": PNG},
            "2 images beside the class folders left out (more.png, train/loose.png)",
        ),
        ({"README.md": b"x"}, "1 other file beside the class folders left out (README.md)"),
        ({"dev/cat/0.png": PNG}, "dev/ is left out: test/ is the test split"),
        ({"train/ant/0.png": PNG}, "test/ has no image of 1 class (ant)"),
        ({"labels/a.csv": b"x,y\n"}, "labels/ is left out: it holds no images"),
    ],
)
def test_each_thing_left_out_has_a_line(tmp_path, extra, said, capsys):
    assert run("pack", as_folder(tmp_path / "s", {**MEMBERS, **extra}), tmp_path / "out", "--json") == 0
    told = capsys.readouterr()
    assert said in notes(tmp_path / "out")
    assert said in json.loads(told.out)["notes"]
    assert f"note: {said}" in told.err


@pytest.mark.parametrize("layout", [as_folder, as_zip])
def test_an_empty_class_folder_is_said(tmp_path, layout):
    if layout is as_folder:
        source = as_folder(tmp_path / "s", MEMBERS)
        (source / "train" / "cow").mkdir()
    else:
        source = as_zip(tmp_path / "s.zip", MEMBERS)
        with zipfile.ZipFile(source, "a") as archive:
            archive.writestr("train\\cow\\", b"")
    assert run("pack", source, tmp_path / "out") == 0
    assert any("train/cow/ is empty and is no class" in note for note in notes(tmp_path / "out"))
    assert sio.open_dataset(tmp_path / "out").class_names == ["cat", "dog"]


def test_a_flat_test_folder_is_said(tmp_path):
    members = {name: PNG for name in MEMBERS if name.startswith("train")} | {
        "test/1.png": PNG,
        "val/cat/1.png": PNG,
    }
    assert run("pack", as_folder(tmp_path / "s", members), tmp_path / "out") == 0
    assert any("test/ is left out: it has no class folders" in note for note in notes(tmp_path / "out"))
    assert any("val/ becomes the test split" in note for note in notes(tmp_path / "out"))


def test_mostly_loose_images_are_refused(tmp_path, capsys):
    members = {f"{i}.png": PNG for i in range(9)} | {"thumbs/0.png": PNG, "thumbs/1.png": PNG}
    said = complaint(
        capsys, 1, "pack", as_folder(tmp_path / "s", members), tmp_path / "out", "--test-fraction", 0
    )
    assert "9 images stand beside the class folders" in said


def test_labels_that_count_from_one_are_said(tmp_path):
    np.savez(tmp_path / "d.npz", x_train=np.zeros((4, 3, 3), np.uint8), y_train=[1, 2, 3, 1])
    assert run("pack", tmp_path / "d.npz", tmp_path / "out") == 0
    assert "no training record has label 0: the labels are 1..3 and class 0 is empty" in notes(
        tmp_path / "out"
    )


def test_links_are_followed_and_said(tmp_path, capsys):
    pool = as_folder(tmp_path / "pool", {f"{c}/{i}.png": PNG for c in "ab" for i in range(2)})
    (tmp_path / "s").mkdir()
    for split in ("train", "val"):
        (tmp_path / "s" / split).symlink_to(pool)
    said = complaint(capsys, 1, "pack", tmp_path / "s", tmp_path / "out")
    assert "val/ is the same folder as train/ (a link)" in said
    assert run("pack", tmp_path / "s", tmp_path / "out", "--kind", "image-folder") == 0
    assert sizes(tmp_path / "out") == {"train": 4, "test": 4}
    assert any("are the same folder (a link)" in note for note in notes(tmp_path / "out"))
    (pool / "a" / "up").symlink_to(pool)  # a circle ends by itself
    assert run("pack", pool, tmp_path / "circle", "--test-fraction", 0) == 0
    assert sizes(tmp_path / "circle") == {"train": 4}


def test_class_folders_linked_to_one_pool_do_not_train_and_test_alike(tmp_path, capsys):
    source = as_folder(tmp_path / "s", {f"pool/{c}/{i}.png": PNG for c in "ab" for i in range(2)})
    for split in ("train", "dev"):
        (source / split).mkdir()
        for name in "ab":
            (source / split / name).symlink_to(source / "pool" / name)
    said = complaint(capsys, 1, "pack", source, tmp_path / "out")
    assert "train/a/ is the same folder as dev/a/ (a link): the same images would train and test" in said
    (source / "dev" / "a").unlink()
    (source / "dev" / "b").unlink()
    as_folder(source / "dev", {"a/9.png": PNG, "b/9.png": PNG})  # links of one split alone are its own
    assert run("pack", source, tmp_path / "out") == 0
    assert sizes(tmp_path / "out") == {"train": 4, "test": 2}


def test_a_chain_of_links_does_not_multiply_without_end(tmp_path, capsys):
    for level in range(12):
        (tmp_path / "s" / f"{level}").mkdir(parents=True)
    for level in range(11):
        for name in "xy":
            (tmp_path / "s" / f"{level}" / name).symlink_to(tmp_path / "s" / f"{level + 1}")
    (tmp_path / "s" / "11" / "0.png").write_bytes(PNG)
    assert "more than 100 times" in complaint(capsys, 1, "pack", tmp_path / "s", tmp_path / "out")


@pytest.mark.parametrize("bad", ["dangling", "fifo", "text"])
def test_skip_bad_skips_what_cannot_be_read(tmp_path, bad, capsys):
    source = as_folder(tmp_path / "s", MEMBERS)
    path = source / "train" / "cat" / "x.png"
    {
        "dangling": lambda: path.symlink_to("nowhere"),
        "fifo": lambda: os.mkfifo(path),
        "text": lambda: path.write_text("?"),
    }[bad]()
    assert "train/cat/x.png: is" in complaint(capsys, 1, "pack", source, tmp_path / "out")
    assert run("pack", source, tmp_path / "out", "--skip-bad") == 0
    assert sizes(tmp_path / "out") == {"train": 4, "test": 4}
    manifest = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert [one["name"] for one in manifest["provenance"]["skipped"]] == ["train/cat/x.png"]
    assert any("1 bad image left out (train/cat/x.png: is" in note for note in notes(tmp_path / "out"))


def test_skip_bad_in_tables_and_shards(tmp_path, capsys):
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [
        {"bytes": PNG, "path": None},
        None,
        {"bytes": None, "path": "x"},
        {"bytes": PNG, "path": None},
        {"bytes": PNG, "path": None},
    ]
    table = pa.table({"image": pa.array(rows, struct), "label": pa.array([0, 0, 1, None, 1], pa.int64())})
    (tmp_path / "p").mkdir()
    pq.write_table(table, tmp_path / "p" / "train.parquet")
    said = complaint(capsys, 1, "pack", tmp_path / "p", tmp_path / "out")
    assert "train.parquet#1: there are no bytes" in said
    assert "--skip-bad" in said
    assert run("pack", tmp_path / "p", tmp_path / "out", "--skip-bad") == 0
    assert sio.open_dataset(tmp_path / "out").train.names([0, 1]) == ["train.parquet#0", "train.parquet#4"]
    assert "3 bad images left out" in " ".join(notes(tmp_path / "out"))
    members = {
        "0.png": PNG,
        "0.cls": b"0",
        "1.png": PNG,
        "2.png": PNG,
        "2.cls": b"cat",
        "3.cls": b"1",
        "4.png": b"?",
        "4.cls": b"0",
    }
    shard = as_tar(tmp_path / "train.tar", members)
    assert run("pack", shard, tmp_path / "w", "--skip-bad") == 0
    assert sizes(tmp_path / "w") == {"train": 1}
    assert "3 bad images left out" in " ".join(notes(tmp_path / "w"))
    assert "1 label without an image left out" in notes(tmp_path / "w")
    np.savez(tmp_path / "d.npz", x_train=np.zeros((4, 3, 3), np.uint8), y_train=[0, -1, 1, 0])
    assert "x_train.npy#1: a label must be in 0..1, got -1" in complaint(
        capsys, 1, "pack", tmp_path / "d.npz", tmp_path / "n"
    )
    assert run("pack", tmp_path / "d.npz", tmp_path / "n", "--skip-bad") == 0
    assert sizes(tmp_path / "n") == {"train": 3}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_images_are_turned_as_viewers_show_them(tmp_path, orientation, form):
    from PIL import ImageOps

    made = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8))
    exif = made.getexif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    made.save(file, form, exif=exif, **({"lossless": True} if form == "WEBP" else {}))
    source = as_folder(tmp_path / "s", {"train/a/0.png": file.getvalue()})
    assert run("pack", source, tmp_path / "out") == 0
    with Image.open(file) as opened:
        shown = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    np.testing.assert_array_equal(records(tmp_path / "out")["pixels"][0].transpose(1, 2, 0), shown)
    assert shown.shape[:2] == ((9, 6) if orientation > 4 else (6, 9))
    turned = any("1 image turned upright" in note for note in notes(tmp_path / "out"))
    assert turned == (orientation > 1) or form == "TIFF"


def palette_with_transparency():
    file = io.BytesIO()
    made = Image.fromarray(np.random.default_rng(2).integers(0, 256, (4, 4, 3), dtype=np.uint8)).quantize(16)
    made.save(file, "PNG", transparency=bytes([0, 128] + [255] * 14))
    return file.getvalue()


def cut_exif():
    made = Image.fromarray(np.random.default_rng(5).integers(0, 256, (4, 4, 3), dtype=np.uint8))
    exif = made.getexif()
    exif[0x011A], exif[0x010E] = 72.0, "x" * 60
    file = io.BytesIO()
    made.save(file, "JPEG", exif=exif)
    content = file.getvalue()
    begin = content.index(b"Exif\0\0")
    size = int.from_bytes(content[begin - 2 : begin], "big")
    return (
        content[: begin - 2]
        + (size - 20).to_bytes(2, "big")
        + content[begin : begin + size - 22]
        + content[begin + size - 2 :]
    )


def exif_of_garbage():
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(
        file, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\0\x09" * 9
    )
    return file.getvalue()


@pytest.mark.parametrize("content", [palette_with_transparency(), cut_exif(), exif_of_garbage()])
def test_what_pillow_warns_of_is_no_damage_while_all_pixels_decode(tmp_path, content):
    source = as_folder(tmp_path / "s", {"train/a/0.png": content, "train/a/1.png": PNG})
    assert run("pack", source, tmp_path / "out") == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    np.testing.assert_array_equal(records(tmp_path / "out")["pixels"][0].transpose(1, 2, 0), expected)


def test_a_truncated_image_is_still_bad(tmp_path, capsys):
    content = encoded(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8), ".jpg")
    source = as_folder(
        tmp_path / "s", {"train/a/0.png": image(0, (32, 32, 3)), "train/a/1.jpg": content[:-300]}
    )
    assert "train/a/1.jpg: " in complaint(capsys, 1, "pack", source, tmp_path / "out")


def test_one_bad_first_image_has_the_hint_too(tmp_path, capsys):
    source = as_folder(tmp_path / "s", {"train/a/0.png": b"?", "train/a/1.png": PNG})
    said = complaint(capsys, 1, "pack", source, tmp_path / "out")
    assert "train/a/0.png: is not an image" in said
    assert "--skip-bad" in said


@pytest.mark.parametrize(
    ("magic", "name"),
    [
        (b"\x28\xb5\x2f\xfd", "Zstandard"),
        (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
        (b"Rar!\x1a\x07\x01", "RAR"),
        (b"\x04\x22\x4d\x18", "LZ4"),
    ],
)
def test_other_archives_are_named_for_what_they_are(tmp_path, magic, name, capsys):
    (tmp_path / "a.bin").write_bytes(magic + bytes(600))
    said = complaint(capsys, 1, "pack", tmp_path / "a.bin", tmp_path / "out")
    assert name in said
    assert "unpack it" in said


def test_class_names_with_a_byte_order_mark(tmp_path):
    np.savez(tmp_path / "d.npz", x_train=np.zeros((2, 3, 3), np.uint8), y_train=[0, 1])
    (tmp_path / "names.txt").write_bytes(b"\xef\xbb\xbfcat\r\ndog\r\n")
    assert run("pack", tmp_path / "d.npz", tmp_path / "out", "--class-names", tmp_path / "names.txt") == 0
    assert sio.open_dataset(tmp_path / "out").class_names == ["cat", "dog"]


@pytest.mark.parametrize(("source", "clean"), [("digits", True), ("folder", False), ("npz", False)])
def test_what_is_known_of_the_labels(tmp_path, source, clean):
    np.savez(tmp_path / "d.npz", x_train=np.zeros((2, 3, 3), np.uint8), y_train=[0, 1])
    path = {"digits": "digits", "npz": tmp_path / "d.npz"}.get(source) or as_folder(tmp_path / "s", MEMBERS)
    assert run("pack", path, tmp_path / "out") == 0
    assert sio.open_dataset(tmp_path / "out").labels_known_clean is clean
    assert run("pack", path, tmp_path / "sure", "--labels-are-clean") == 0
    assert sio.open_dataset(tmp_path / "sure").labels_known_clean
