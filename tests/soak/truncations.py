"""Part `truncations`: record files are cut, replaced, deleted or grown under loaders that read them.

Each trial is a forked child: a signal ends it alone, and is the failure that is looked for. No pixel and no
label of the records is 0, so zeros in place of lost bytes are seen.
"""

import json
import os
import re
import signal

import numpy as np
from conftest import write_records

import selfie_io as sio
from selfie_io.loading import reading
from soak.trial import Failure, Trial, expect

SHAPE, CLASSES, CUTS = (3, 8, 8), 10, 25
RECORD_BYTES = 8 + 3 * 8 * 8
MODES = ["auto", "ahead", "mmap", "pread"]
TOLD = re.compile(r"record \d+ \(byte \d+\) can no longer be read.*data_batch_\d\.bin|data_batch_\d\.bin")


def pixels_of(indices):
    """The byte that all pixels of a record have: never 0."""
    return np.asarray(indices) * 7 % 254 + 1


def labels_of(indices):
    """The label of a record: never 0."""
    return np.asarray(indices) % (CLASSES - 1) + 1


def write(folder, counts):
    """Record files of so many records each."""
    begin = 0
    for number, count in enumerate(counts, 1):
        indices = np.arange(begin, begin + count)
        images = np.broadcast_to(pixels_of(indices)[:, None, None, None], (count, *SHAPE))
        write_records(folder / f"data_batch_{number}.bin", indices, labels_of(indices), images)
        begin += count


def check(indices, labels, images):
    """Every byte as it was written."""
    images = images.reshape(len(indices), -1)
    wrong = (images != pixels_of(indices)[:, None]).any(axis=1)
    expect(not wrong.any(), f"records {indices[wrong][:5]}: pixels {images[wrong][:1, :5]} are not theirs")
    wrong = labels != labels_of(indices)
    expect(not wrong.any(), f"records {indices[wrong][:5]}: labels {labels[wrong][:5]} are not theirs")


def cut(random, path, kind):
    """Damage a file. Returns whether reading all of it must now end in an OSError."""
    size = path.stat().st_size
    if kind == "replace":
        other = path.with_suffix(".new")
        other.write_bytes(bytes(size))
        other.replace(path)
        return False  # what is open stays as it was
    if kind == "delete":
        path.unlink()
        return False
    if kind == "grow":
        with path.open("ab") as file:
            file.write(bytes(random.randrange(1, 3 * RECORD_BYTES)))
        return False
    left = {
        "all": 0,
        "anywhere": random.randrange(size),
        "in the last page": max(0, size - random.randrange(1, 4096)),
        "records": size - RECORD_BYTES * random.randrange(1, size // RECORD_BYTES),
        "pages": random.randrange(size) // 4096 * 4096,
    }[kind]
    os.truncate(path, left)
    return True


KINDS = ["all", "anywhere", "in the last page", "records", "pages"]


def one_cut(trial, folder):
    """Write, open, read on while a file is cut: correct bytes, or an OSError with the file's name."""
    random = trial.random
    for path in folder.iterdir():
        path.unlink()
    counts = [random.randrange(30, 400) for _ in range(random.randrange(1, 4))]
    write(folder, counts)
    split = sio.open_dataset(folder, shape=SHAPE, num_classes=CLASSES).train
    mode, order = random.choice(MODES), random.choice(["sequential", "permutation", "independent", "quasi"])
    fits = reading.fits_in_memory
    reading.fits_in_memory = (lambda _: False) if mode == "ahead" else fits
    loader = sio.Loader(
        split, batch_size=random.choice([1, 8, 50]), shuffle=order != "sequential",
        order="permutation" if order == "sequential" else order, normalize=None, dtype="uint8",
        seed=random.randrange(1000), io=mode if mode in ("mmap", "pread") else "auto",
        num_threads=random.choice([1, 2, 4]), prefetch_batches=random.choice([1, 4]),
    )  # fmt: skip
    reading.fits_in_memory = fits
    kind = random.choice(KINDS if random.random() < 0.8 else ["replace", "delete", "grow"])
    moment = random.choice([0, 0, 1, random.randrange(len(loader))])
    victim = random.choice(split.files)
    whole = random.random() < 0.7  # else the split itself is read, not by a loader
    must_fail = False
    try:
        for number, batch in enumerate(loader):
            check(batch.indices.numpy(), batch.labels.numpy(), batch.images.numpy())
            if number == moment:
                must_fail = cut(random, victim, kind)
                if not whole:
                    check(np.arange(sum(counts)), split.labels, split.images(np.arange(sum(counts))))
        # Batches that were decoded before the cut may be all there are; the next look must see it.
        if must_fail:
            check(np.arange(sum(counts)), split.labels, split.images(np.arange(sum(counts))))
            raise Failure(f"{victim.name} was cut ({kind}, {mode}, {order}), and nobody said so")
    except OSError as error:
        expect(must_fail, f"{kind} gave {error}")
        expect(bool(TOLD.search(str(error))), f"the error must name the file, got {error}")
        trial.counts["cuts told by an OSError"] += 1
    trial.counts["truncations" if must_fail else "replaced, deleted, grown"] += 1


def run(trial: Trial) -> None:
    """CUTS cuts in a forked child."""
    folder = trial.folder("truncations")
    read, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        signal.alarm(120)
        try:
            told = None
            try:
                for _ in range(CUTS):
                    one_cut(trial, folder)
            except BaseException as error:
                told = f"{type(error).__name__}: {error}"
            os.write(write_end, json.dumps([told, trial.counts]).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read, "rb") as file:
        content = file.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    expect(code >= 0 and bool(content), f"reading a file that was cut ended by signal {-code}")
    told, counts = json.loads(content)
    expect(told is None, str(told))
    trial.counts.update(counts)
