"""What the tests of selfie-convert share: run a command, read what it wrote, lay out a source."""

import io
import tarfile
import zipfile

import numpy as np
from PIL import Image

from selfie_io.convert.cli import main
from selfie_io.records.files import record_dtype, record_files
from selfie_io.records.manifest import read_manifest


def records(folder, split="train"):
    """(record_id, label, pixels) of all records of a packed folder, as one structured array."""
    dtype = record_dtype(read_manifest(folder).layout)
    return np.concatenate([np.fromfile(path, dtype) for path in record_files(folder)[split]])


def run(*arguments):
    return main([str(argument) for argument in arguments])


def complaint(capsys, status, *arguments):
    """What a command that must fail says on stderr."""
    capsys.readouterr()
    assert run(*arguments) == status
    return capsys.readouterr().err


def encoded(pixels, suffix=".png", **options):
    """The bytes of an image file of uint8 (H, W) or (H, W, 3)."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, {".png": "PNG", ".jpg": "JPEG"}[suffix], **options)
    return file.getvalue()


def expected(members, split):
    names = sorted(name for name in members if name.startswith(split))
    pixels = [np.asarray(Image.open(io.BytesIO(members[name]))).transpose(2, 0, 1) for name in names]
    return np.stack(pixels), [int("/dog/" in name) for name in names]


def as_folder(path, members):
    for name, content in members.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def as_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def as_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path
