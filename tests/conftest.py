"""Record folders for tests, written byte by byte from the format's definition, without the package."""

import os
import shutil
import struct
import sys

import numpy as np
import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is imported, as `selfie-train` does


def write_records(path, record_ids, labels, images):
    """One record file: big-endian id and label, then the pixels, for each record."""
    with path.open("wb") as file:
        for record_id, label, image in zip(record_ids, labels, images, strict=True):
            file.write(struct.pack(">II", record_id, label) + image.astype(np.uint8).tobytes())


def make_folder(folder, *, shape=(3, 32, 32), train_files=(40, 33), test=20, num_classes=10, seed=0):
    """A folder of the authors' format: no manifest, shuffled ids. Returns train's (ids, labels, images)."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    total = sum(train_files)
    record_ids = random.permutation(total)
    labels = random.integers(0, num_classes, total)
    labels[:num_classes] = np.arange(num_classes)[:total]
    images = random.integers(0, 256, (total, *shape)).astype(np.uint8)
    begin = 0
    for number, count in enumerate(train_files, 1):
        part = slice(begin, begin + count)
        write_records(folder / f"data_batch_{number}.bin", record_ids[part], labels[part], images[part])
        begin += count
    if test:
        write_records(
            folder / "test_batch.bin",
            np.arange(test),
            random.integers(0, num_classes, test),
            random.integers(0, 256, (test, *shape)),
        )
    return record_ids, labels, images


@pytest.fixture
def authors_folder(tmp_path):
    """73 + 20 records of 3x32x32 in the authors' format."""
    make_folder(tmp_path / "set")
    return tmp_path / "set"


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """scikit-learn's digits as records, 1,438 + 359 of 1x8x8 in 10 classes. Not to be written to."""
    from selfie_io.convert.commands.pack import Pack  # only the tests of the trainer pay for it

    folder = tmp_path_factory.mktemp("data") / "digits"
    Pack(source="digits", out=folder, workers=1).run()
    return folder


@pytest.fixture
def members():
    """Twelve 5x4 colour images of two classes in the layout of an image folder, by file name."""
    from converting import encoded

    rng = np.random.default_rng(0)
    files = {}
    for split, count in (("train", 4), ("test", 2)):
        for name in ("dog", "cat"):
            for number in range(count):
                pixels = rng.integers(0, 256, (5, 4, 3), dtype=np.uint8)
                files[f"{split}/{name}/{number}.png"] = encoded(pixels)
    return files


@pytest.fixture
def shared_embeddings(monkeypatch, tmp_path_factory):
    """Embeddings of the same images are made once for all tests: those of the digits take 15 s."""
    from selfie_train.evidence import embedding

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # of this session, too
    make = embedding._fill

    def take_or_make(path, split, network, size, advance):
        kept = folder / path.name  # it names the digest of images and network
        if not kept.exists():
            make(path, split, network, size, advance)
            copy = folder / f"{path.name}.{os.getpid()}"
            shutil.copyfile(path, copy)
            copy.replace(kept)
        else:
            shutil.copyfile(kept, path)
            advance(len(split))

    monkeypatch.setattr(embedding, "_fill", take_or_make)


@pytest.fixture(autouse=True)
def quick_noise_rate(request, monkeypatch):
    """No embeddings in a test that only trains: an unknown noise rate comes from the warm-up."""
    if "embeddings" not in request.keywords and "selfie_train" in sys.modules:
        from selfie_train.training import components

        monkeypatch.setattr(components, "rate_before_training", lambda *_: (None, "a test asks for none"))
