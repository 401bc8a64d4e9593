"""No input ends in an exception outside the documented kinds, or in a traceback at the command line.

About 190 inputs are generated; GENERATED_INPUTS=5000 asks for so many, make soak GENERATED_INPUTS=5000 too.
"""

import copy
import json
import math
import os
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import selfie_io as sio
from selfie_io.convert.cli import main as convert
from selfie_io.records.layout import RecordLayout
from selfie_io.records.manifest import decode_manifest
from selfie_io.records.writer import DatasetWriter
from selfie_train.cli import main as train
from selfie_train.config import TrainConfig

DOCUMENTED = (ValueError, TypeError, IndexError, OSError)
FAMILIES = 7 + 1 / 5 + 1 / 3  # two of them are slow, and have a share of the others' number
EACH = max(25, math.ceil(int(os.environ.get("GENERATED_INPUTS", "188")) / FAMILIES))
generated = settings(
    max_examples=EACH, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)

ODD_NUMBERS = st.sampled_from(
    [
        *(0, 1, -1, 2, 3, 7, 64, 255, 256, 2**31, 2**32, 2**63, 2**64, 2**70, -(2**63), 10**400, 0.5, -0.0),
        *(1e308, 1e-320, float("nan"), float("inf"), True, False),
        *(np.int8(100), np.uint64(2**64 - 1), np.float32(0.5), np.bool_(1)),
    ]
)
ODD_TEXTS = st.text(max_size=8) | st.sampled_from(
    [
        *(
            "",
            "x",
            "0",
            "64",
            "random",
            "zeros",
            "../x",
            "/etc",
            "a\0b",
            "\x1b[31m",
            "[/red]",
            "=1+1",
            "\u202e",
        ),
        *("\ud800", "$\\bad{$", "a\nb", "\r", ",", '"', "pair:nan", "overlay:..", "cuda:99", "nan", "None"),
        *("é" * 300, "x" * 2000),
    ]
)
LEAVES = st.none() | ODD_NUMBERS | ODD_TEXTS
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD_TEXTS, inner, max_size=2)
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | ODD_TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
)


@pytest.fixture(scope="module", autouse=True)
def _tracebacks():
    """What no command foresees is raised instead of told in a line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFIE_TRACEBACK", "1")
        yield


def write(folder, names):
    folder.mkdir(parents=True)
    with DatasetWriter(folder, RecordLayout(1, 4, 4), len(names)) as writer:
        labels = np.arange(12) % len(names)
        writer.append("train", np.arange(192, dtype=np.uint8).reshape(12, 1, 4, 4), labels, names[:1] * 12)
        writer.append("test", np.zeros((2, 1, 4, 4), np.uint8), labels[:2])
        writer.finish(name="set", class_names=names, provenance={"source": {"kind": "x"}})
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("any") / "set", list("abcd"))


@pytest.fixture(scope="module")
def split(folder):
    return sio.open_dataset(folder).train


def tolerated(call):
    """Run `call`; only documented kinds of exceptions may come out."""
    try:
        return call()
    except DOCUMENTED:
        return None


def status(main, *words):
    """The exit status of a command, which must be one of those documented."""
    try:
        code = main([str(word) for word in words])
    except SystemExit as ended:
        code = ended.code
    assert code in (0, 1, 2)
    return code


LOADER = [
    *("batch_size", "shuffle", "drop_last", "seed", "labels", "indices", "weights", "views", "augment"),
    *("normalize", "dtype", "layout", "order", "num_threads", "prefetch_batches", "io", "backend", "device"),
    *("rank", "world_size"),
]
AUGMENT = sorted(sio.Augment.__dataclass_fields__)


@generated
@given(st.dictionaries(st.sampled_from(LOADER), VALUES, min_size=1, max_size=3))
def test_options_of_a_loader(split, options):
    def use():
        with sio.Loader(split, **options) as loader:
            loader.state_dict()
            repr(loader)
            next(iter(loader), None)

    tolerated(use)


@generated
@given(st.dictionaries(st.sampled_from(AUGMENT), VALUES, min_size=1, max_size=3), VALUES, VALUES)
def test_options_of_images(split, augment, mean, std):
    tolerated(lambda: next(iter(sio.Loader(split, augment=sio.Augment(**augment), batch_size=2)), None))
    tolerated(lambda: sio.Loader(split, normalize=sio.PerChannel(mean, std)))


@generated
@given(data=st.data())
def test_states_of_a_loader(split, data):
    loader = sio.Loader(split, batch_size=5, shuffle=True)
    state = loader.state_dict()
    for key in data.draw(st.lists(st.sampled_from([*state, "more"]), max_size=3)):
        state[key] = data.draw(VALUES)
    whole = data.draw(st.just(state) | VALUES)
    tolerated(lambda: loader.load_state_dict(whole))
    assert sum(len(batch.labels) for batch in loader) <= 12


def places(value, path=()):
    """The paths of all values in a JSON value."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places(one, (*path, key))


def changed(value, path, new):
    """A JSON value with another value at a path."""
    if not path:
        return new
    value = copy.deepcopy(value)
    place = value
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = new
    return value


@generated
@given(data=st.data())
def test_manifests(folder, data, tmp_path_factory):
    whole = json.loads((folder / "dataset.json").read_text())
    path = data.draw(st.sampled_from(list(places(whole))))
    text = json.dumps(changed(whole, path, data.draw(JSON_VALUES))).encode("utf-8", "surrogatepass")
    cut = data.draw(st.integers(0, len(text)) | st.just(len(text)))
    try:
        decode_manifest(text[:cut], "place")
    except ValueError:
        return
    other = tmp_path_factory.mktemp("manifest")
    shutil.copytree(folder, other, dirs_exist_ok=True)
    (other / "dataset.json").write_bytes(text[:cut])
    for words in (
        ["info", other],
        ["verify", other, "--deep"],
        ["noise", other, "--rate", "0.3", "--name", "n"],
    ):
        status(convert, *words)
    tolerated(lambda: next(iter(sio.Loader(sio.open_dataset(other).train))))


CELLS = st.sampled_from(
    ["", "0", "1", "-1", "a", "=1", "3.0", "9" * 40, "nan", '"', "\0", "x" * 200]
) | st.text(max_size=5)
HEADERS = st.lists(
    st.sampled_from(["record_id", "index", "name", "label", "k", "decision", "given_label", "é"]), max_size=4
)


@generated
@given(
    HEADERS,
    st.lists(st.lists(CELLS, max_size=4), max_size=5),
    st.sampled_from([",", ";", "\t", "\0"]),
    st.booleans(),
)
def test_tables_of_labels(folder, tmp_path_factory, header, rows, separator, wide):
    text = "\n".join(separator.join(row) for row in [header, *rows])
    file = tmp_path_factory.mktemp("table") / "t.csv"
    file.write_bytes(text.encode("utf-16" if wide else "utf-8", "surrogatepass"))
    for key in ("k", None):
        tolerated(lambda key=key: sio.import_human_labels(sio.open_dataset(folder), file, key, name="t"))


@settings(generated, max_examples=max(8, EACH // 5))
@given(st.lists(ODD_TEXTS, min_size=2, max_size=4, unique=True))
def test_names(tmp_path_factory, capsys, names):
    other = tmp_path_factory.mktemp("names")
    made = tolerated(lambda: write(other / "set", names))
    capsys.readouterr()
    for words in (
        ["info", "set"],
        ["noise", "set", "--rate", "0.3", "--name", "n"],
        ["info", "set", "--overlay", "n"],
        ["check", "set", "--all"],
        ["preview", "set", "p.png", "--noisy", "n"],
        ["export", "set", "out"],
        ["export", "set", "out.npz", "--to", "npz"],
    ):
        code = status(
            convert,
            *(str(other / word) if word in ("set", "out", "out.npz", "p.png") else word for word in words),
        )
        shown = "".join(capsys.readouterr())
        assert all(letter.isprintable() or letter == "\n" for letter in shown)
        assert made is None or words[0] in ("export", "noise", "info", "preview") or code == 0


@generated
@given(
    st.dictionaries(st.sampled_from(sorted(TrainConfig.__dataclass_fields__)), VALUES, min_size=1, max_size=3)
)
def test_settings_of_a_run(options):
    options.pop("imports", None)
    tolerated(lambda: TrainConfig.from_json({"dataset": "data", **options}).check_method())


RUN_FILES = ["config.json", "summary.json", "log.csv", "failure.json"]


@generated
@given(st.sampled_from(RUN_FILES), JSON_VALUES, st.binary(max_size=30), st.integers(0, 300), st.booleans())
def test_files_of_a_run(tmp_path_factory, name, value, junk, cut, whole):
    from selfie_train.runs.log import COLUMNS

    run = tmp_path_factory.mktemp("run") / "r"
    run.mkdir()
    row = ",".join("1" for _ in COLUMNS)
    files = {
        "config.json": json.dumps(TrainConfig("data").to_json()).encode(),
        "summary.json": b'{"best_test_error": 5.0}',
        "log.csv": f"{','.join(COLUMNS)}\r\n{row}\r\n".encode(),
    }
    old = files.get(name, b"{}")
    files[name] = (
        json.dumps(value).encode("utf-8", "surrogatepass") if whole else old[:cut] + junk + old[cut:]
    )
    for file, content in files.items():
        (run / file).write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("selfie_train.commands.compare.try_report", lambda *_, **__: None)  # takes its time
        status(train, "compare", run, "--out", run.parent / "table")


WORDS = ODD_TEXTS | st.sampled_from(
    [
        *("pack", "info", "verify", "noise", "export", "plan", "run", "merge", "labels", "apply", "check"),
        *(
            "digits",
            "set",
            "--rate",
            "0.4",
            "--kind",
            "--name",
            "--shard",
            "-1",
            "--size",
            "8x8",
            "0x0",
            "--to",
        ),
        *("--workers", "--json", "x.json"),
    ]
)


@settings(generated, max_examples=max(10, EACH // 3))
@given(st.lists(WORDS, max_size=5))
def test_command_lines(tmp_path_factory, words):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("here"))
        status(convert, *words)
