"""Fuzzes the parsers in Python: damaged files of every kind, label tables, overlays, plans, states, configs.

    PYTHONPATH=tests python -m fuzz.parsers PARSER [--seconds 300] [--mutate] [flags of libFuzzer, corpus
        folders or inputs to try]

It begins with small true files; an input is the number of one of them, a byte, and what to put in its place.
It ends after so many seconds, or with an input that raised what no damaged file may raise,
took UNIT_SECONDS, left something behind, or grew the process beyond MEMORY_CAP_MB. The parser `all` takes
another parser for each input. Without atheris, or with --mutate, inputs are changed at random and not by
coverage.
"""

import argparse
import contextlib
import io
import json
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

try:
    import atheris
except ImportError:  # no wheel for this Python or processor
    atheris = None

PARSED = ["selfie_io.convert", "selfie_io.records", "selfie_io.labels", "selfie_train.config"]
PARSED += ["PIL", "csv", "gzip", "pickletools", "tarfile", "zipfile"]
BY_COVERAGE = atheris is not None and "--mutate" not in sys.argv
with atheris.instrument_imports(include=PARSED) if BY_COVERAGE else contextlib.nullcontext():
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
    for path in [*folder.glob("human*"), *folder.glob("legacy*"), *folder.glob("decisions*")]:
        with contextlib.suppress(*REFUSED):
            import_human_labels(dataset, path, None if path.stem == "decisions" else "worse_label")
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


def load_state(folder):
    """A loader's state as a program would keep it, in a JSON file."""
    import selfie_io as sio

    loader = sio.Loader(open_dataset(folder).train, batch_size=2, shuffle=True)
    loader.load_state_dict(json.loads((folder / "state.json").read_bytes()))
    sum(len(batch.labels) for batch in loader)


def read_config(folder):
    from selfie_train.config import TrainConfig

    TrainConfig.read(folder)


def read_run(folder):
    """Its newest checkpoint."""
    from selfie_train.training.checkpoint import latest_checkpoint

    latest_checkpoint(folder)


def set_with_state():
    import selfie_io as sio

    files = {name: content for name, content in data_set().items() if "/" not in name}
    with tempfile.TemporaryDirectory() as temporary:
        folder = as_folder(Path(temporary), files)
        loader = sio.Loader(open_dataset(folder).train, batch_size=2, shuffle=True)
        next(iter(loader))
        return {**files, "state.json": json.dumps(loader.state_dict()).encode()}


def config():
    from selfie_train.config import TrainConfig

    return {"config.json": json.dumps(TrainConfig("data", method="selfie").to_json()).encode()}


def checkpoint():
    from selfie_train.training.checkpoint import write_checkpoint

    with tempfile.TemporaryDirectory() as temporary:
        write_checkpoint(Path(temporary), 3, {"a": np.arange(3.0)}, {"b": {"c": 1}})
        return {path.name: path.read_bytes() for path in Path(temporary).iterdir()}


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
        "decisions.csv": b"name,record_id,index,given_label,decision,label,note\n"
        b"train/a/1.png,1,1,a,relabel,b,sure\n,3,3,b,drop,,\n",
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
    "state": (load_state, set_with_state),
    "config": (read_config, config),
    "checkpoint": (read_run, checkpoint),
}  # fmt: skip


class Target:
    """One parser and its true files; counts what is done with inputs."""

    def __init__(self, parser, place):
        self.parser, self.place = parser, place
        self.use, make = PARSERS[parser]
        self.files = make()
        self.names = sorted(self.files)
        self.seeds = [bytes([i]) + self.files[name] for i, name in enumerate(self.names)]
        self.runs = self.refused = 0

    def __call__(self, content):
        """Put the input in the place of a file, and parse; it may be refused."""
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
        seconds = time.process_time() - begin
        assert seconds < UNIT_SECONDS, f"took {seconds:.0f} seconds"


def mutated(content, rng):
    """One to four changes: a byte, a huge number or zeros, a piece that is cut off or put in or doubled."""
    content = bytearray(content)
    for _ in range(rng.randrange(1, 5)):
        position = rng.randrange(1, len(content) + 1)  # the first byte chooses the file
        kind = rng.choice(["set", "set", "cut", "insert", "double", "huge", "zero", "text"])
        if kind == "set" and position < len(content):
            content[position] = rng.randrange(256)
        elif kind == "cut":
            del content[position : position + rng.randrange(1, 64)]
        elif kind == "insert":
            content[position:position] = rng.randbytes(rng.randrange(1, 16))
        elif kind == "double":
            content[position:position] = content[position : position + rng.randrange(1, 64)]
        elif kind == "huge":
            content[position : position + 4] = b"\xff\xff\xff\x7f"
        elif kind == "zero":
            content[position : position + 8] = bytes(8)
        elif kind == "text":
            words = [
                b"-1",
                b"1e999",
                b"null",
                b"{}",
                b"[]",
                b'"',
                b"NaN",
                b"../",
                b"99999999999999999999",
                b"\xc3(",
            ]
            content[position : position + rng.randrange(4)] = rng.choice(words)
    return bytes(content)


def told(name, targets, seconds):
    """The line of counts that `python -m fuzz` adds up."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    runs, refused = sum(one.runs for one in targets), sum(one.refused for one in targets)
    print(
        f"{name}: {runs} inputs, {refused} refused, {seconds:.0f} seconds, at most {peak:.0f} MB", flush=True
    )


def mutate(name, targets, seconds, seed):
    """Random changes, until the time is over or an input raises what it must not."""
    rng = random.Random(seed)
    begin = time.monotonic()
    while time.monotonic() - begin < seconds:
        target = rng.choice(targets)
        content = mutated(rng.choice(target.seeds), rng)
        try:
            target(content)
        except BaseException:
            kept = Path(f"crash-{target.parser}")
            kept.write_bytes(content)
            print(f"FAILED: {target.parser}, seed {seed}; the input is in {kept}", file=sys.stderr)
            print(f"try it: PYTHONPATH=tests python -m fuzz.parsers {target.parser} {kept}", file=sys.stderr)
            raise
    told(name, targets, time.monotonic() - begin)


def by_coverage(target, seconds, flags):
    """atheris, until the time is over; does not return."""
    corpus = as_folder(target.place / "corpus", {str(i): seed for i, seed in enumerate(target.seeds)})
    begin = time.monotonic()

    def one(content):
        target(content)
        now = time.monotonic()
        if now - begin > seconds:
            told(target.parser, [target], now - begin)
            shutil.rmtree(target.place)
            os._exit(0)

    longest = max(map(len, target.seeds))
    limits = [f"-rss_limit_mb={MEMORY_CAP_MB}", "-timeout=300", f"-max_len={2 * longest}", "-keep_seed=1"]
    atheris.Setup([sys.argv[0], *limits, "-len_control=0", str(corpus), *flags], one)
    atheris.Fuzz()


def main():
    """Parse the options and fuzz."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parser", choices=[*PARSERS, "all"])
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=0, help="of random changes")
    parser.add_argument("--mutate", action="store_true", help="random changes, also where atheris is")
    options, flags = parser.parse_known_args()
    place = Path(tempfile.mkdtemp())
    names = list(PARSERS) if options.parser == "all" else [options.parser]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        targets = [Target(name, place / name) for name in names]
    inputs = [Path(flag) for flag in flags if Path(flag).is_file()]
    if inputs:  # these alone are tried
        for path in inputs:
            targets[0](path.read_bytes())
        told(options.parser, targets, 0)
    elif options.mutate or not BY_COVERAGE or len(targets) > 1:
        mutate(options.parser, targets, options.seconds, options.seed)
    else:
        by_coverage(targets[0], options.seconds, flags)
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
