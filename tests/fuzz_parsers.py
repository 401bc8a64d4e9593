"""Fuzzes every parser of selfie-convert with atheris, which is no dependency: pip install atheris.

    python tests/fuzz_parsers.py PARSER [--seconds 300] [flags of libFuzzer, corpus folders or inputs to try]

It begins with small true files; an input is the number of one of them, a byte, and what to put in its place.
It ends after so many seconds of processor time, or with an input that raised what no damaged file may raise,
took UNIT_SECONDS, left something behind, or grew the process beyond MEMORY_CAP_MB.
"""

import argparse
import contextlib
import io
import os
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import atheris

PARSED = ["selfie_io.convert", "selfie_io.records", "PIL", "csv", "gzip", "pickletools", "tarfile", "zipfile"]
with atheris.instrument_imports(include=PARSED):
    import numpy as np
    from converting import as_folder, as_tar, as_zip
    from PIL import Image
    from test_convert_fuzz import FOLDER, PIXELS, RNG, SOURCES, saved

    from selfie_io.convert.commands.adopt import Adopt
    from selfie_io.convert.commands.info import Info
    from selfie_io.convert.commands.pack import Pack
    from selfie_io.convert.shard_plan import read_plan
    from selfie_io.convert.subcommand import CommandError
    from selfie_io.labels.human_labels import import_human_labels
    from selfie_io.labels.overlay_writer import save_overlay
    from selfie_io.labels.transition import read_matrix
    from selfie_io.records.dataset import open_dataset
    from selfie_io.records.verify import verify_folder

MEMORY_CAP_MB = 1024
UNIT_SECONDS = 20
REFUSED = (ValueError, OSError, CommandError)


def pack(source, **options):
    """Whatever stands at `source` is packed whole, or nothing is written."""
    out = source.parent / "out"
    try:
        Pack(source=str(source), out=out, workers=1, **options).run()
        assert verify_folder(out, deep=True).ok
        shutil.rmtree(out)
    finally:
        assert [path.name for path in source.parent.iterdir()] == [source.name], "something was left"


def pack_file(folder):
    (path,) = folder.iterdir()
    path = path.rename(folder.parent / path.name)
    folder.rmdir()
    pack(path)


def pack_images(folder):
    pack(folder, test_fraction=0.0, size="4x4", skip_bad=True)


def adopt(folder):
    if Adopt(folder=folder, shape="3,6,5").run() == 0:
        assert verify_folder(folder, deep=True).ok


def read_set(folder):
    for command in (Info(folder=folder, json=True), Info(folder=folder, overlay="noisy")):
        with contextlib.suppress(*REFUSED):
            command.run()
    verify_folder(folder, deep=True)
    dataset = open_dataset(folder)
    dataset.train.images(np.arange(len(dataset.train)))
    dataset.train.labels_from("noisy")


def read_labels(folder):
    dataset = open_dataset(folder)
    for path in [*folder.glob("human*"), *folder.glob("legacy*")]:
        with contextlib.suppress(*REFUSED):
            import_human_labels(dataset, path, "worse_label")
    shutil.rmtree(folder / "labels", ignore_errors=True)


def read_other(folder):
    for reader, name in ((read_plan, "plan.json"), (read_matrix, "matrix.csv")):
        with contextlib.suppress(*REFUSED):
            reader(str(folder / name))


def data_set():
    """A small packed data set with an overlay."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "set"
        Pack(source=str(as_folder(Path(temporary) / "source", FOLDER)), out=folder, workers=1).run()
        dataset = open_dataset(folder)
        told = {"kind": "pair", "rate": 1.0, "transition_matrix": np.eye(2)[::-1]}
        save_overlay(dataset, "noisy", 1 - dataset.train.labels, told)
        return {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*.*")}


def record_files():
    return {name: content for name, content in data_set().items() if name.endswith(".bin")}


def set_with_human_labels():
    import torch  # the other parsers need not wait for it

    columns = {"clean_label": np.array([0, 0, 1, 1]), "worse_label": np.array([0, 1, 0, 1])}
    return {
        **{name: content for name, content in data_set().items() if "/" not in name},
        "human.pt": saved(lambda file: torch.save(columns, file)),
        "legacy.pt": saved(lambda file: torch.save(columns, file, _use_new_zipfile_serialization=False)),
        "human.npy": saved(np.save, columns["worse_label"]),
        "human.csv": b"clean_label,worse_label\n0,0\n0,1\n1,0\n1,1\n",
    }


def plan_and_matrix():
    from selfie_io.convert.commands.plan import Plan

    with tempfile.TemporaryDirectory() as temporary:
        plan = Path(temporary) / "plan.json"
        Plan(source=str(as_folder(Path(temporary) / "source", FOLDER)), plan=str(plan), shards=2).run()
        return {"plan.json": plan.read_bytes(), "matrix.csv": b"0.5,0.5\n0,1e0\n"}


def images():
    colour, grey = Image.fromarray(RNG.integers(0, 256, (6, 5, 3), "u1")), Image.new("L", (5, 6), 7)
    forms = {
        "PNG": "png",
        "JPEG": "jpg",
        "BMP": "bmp",
        "GIF": "gif",
        "WEBP": "webp",
        "TIFF": "tif",
        "PPM": "ppm",
    }
    made = {f"a/{suffix}.{suffix}": saved(colour.save, form) for form, suffix in forms.items()}
    return {
        **made,
        "a/grey.jpg": saved(grey.save, "JPEG", progressive=True),
        "a/colours.png": saved(colour.convert("P").save, "PNG"),
        "a/lzw.tif": saved(colour.save, "TIFF", compression="tiff_lzw"),
    }


def as_file(form, name, *arguments):
    def made():
        with tempfile.TemporaryDirectory() as temporary:
            return {name: form(Path(temporary) / name, FOLDER, *arguments).read_bytes()}

    return made


def npy_files():
    return {
        "x_train.npy": saved(np.save, PIXELS),
        "y_train.npy": saved(np.save, np.arange(4)),
        "class_names.npy": saved(np.save, np.array(list("abcd"))),
    }


def shards():
    with tempfile.TemporaryDirectory() as temporary:
        shard = as_tar(Path(temporary) / "train.tar", SOURCES["webdataset"])
        return {"train.tar": shard.read_bytes(), "classnames.txt": b"a\nb\nc\n"}


# What is done with a folder of damaged files, and the files.
PARSERS = {
    **{kind: (pack, SOURCES[kind].copy) for kind in (
        "cifar10", "cifar10-bin", "cifar100", "cifar100-bin", "tiny-imagenet", "animal10n", "image-folder",
        "idx", "svhn", "parquet",
    )},
    "npy": (pack, npy_files),
    "npz": (pack_file, lambda: {"source.npz": SOURCES["npz compressed"][""]}),
    "webdataset": (pack, shards),
    "zip": (pack_file, as_file(as_zip, "source.zip")),
    "tar": (pack_file, as_file(as_tar, "source.tar")),
    "tar.gz": (pack_file, as_file(as_tar, "source.tar.gz", "w:gz")),
    "images": (pack_images, images),
    "adopt": (adopt, record_files),
    "manifest": (read_set, data_set),
    "labels": (read_labels, set_with_human_labels),
    "plan": (read_other, plan_and_matrix),
}  # fmt: skip


class Target:
    """What libFuzzer calls; it counts, and ends when the processor time is used up."""

    def __init__(self, parser, seconds, place):
        self.parser, self.seconds, self.place = parser, seconds, place
        self.use, make = PARSERS[parser]
        self.files = make()
        self.names = sorted(self.files)
        seeds = {str(i): bytes([i]) + self.files[name] for i, name in enumerate(self.names)}
        self.corpus = as_folder(place / "corpus", seeds)
        self.runs = self.refused = 0
        self.start = time.process_time()

    def __call__(self, content):
        if not content:
            return
        name = self.names[content[0] % len(self.names)]
        folder = as_folder(self.place / "unit" / "set", {**self.files, name: content[1:]})
        begin = time.process_time()
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                self.use(folder)
        except REFUSED:
            self.refused += 1
        shutil.rmtree(self.place / "unit")
        self.runs += 1
        now = time.process_time()
        assert now - begin < UNIT_SECONDS, f"took {now - begin:.0f} seconds"
        if now - self.start > self.seconds:
            self.end(now - self.start)

    def end(self, seconds):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        counts = f"{self.runs} inputs, {self.refused} refused"
        print(f"{self.parser}: {counts}, {seconds:.0f} seconds, at most {peak:.0f} MB")
        shutil.rmtree(self.place)
        os._exit(0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parser", choices=PARSERS)
    parser.add_argument("--seconds", type=float, default=300)
    options, flags = parser.parse_known_args()
    target = Target(options.parser, options.seconds, Path(tempfile.mkdtemp()))
    longest = max(map(len, target.files.values()))
    limits = [f"-rss_limit_mb={MEMORY_CAP_MB}", "-timeout=300", f"-max_len={2 * longest}"]
    if not any(Path(flag).is_file() for flag in flags):  # else these alone are tried
        limits += ["-keep_seed=1", "-len_control=0", str(target.corpus)]
    atheris.Setup([sys.argv[0], *limits, *flags], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
