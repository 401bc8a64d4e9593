"""Methods and models of the user's own: --import finds them, also from another folder; --version."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from training import pack, pixels_and_labels

import selfie_io
import selfie_io.convert.cli
from selfie_train import TrainConfig, registry
from selfie_train.cli import main
from selfie_train.plugins import import_plugin
from selfie_train.runs.grid import expand_grid

MODULE = """
import numpy as np
from selfie_train import Choice, Method, register_method

@register_method("{name}")
class Mine(Method):
    needs_noise_rate = False

    def choose(self, scores):
        return [Choice(scores.labels, np.ones(len(scores.labels), np.float32))]
"""
QUICK = ["--model=convnet", "--noise=pair:0.4", "--epochs=1", "--batch-size=16"]


@pytest.fixture(autouse=True)
def forgets(monkeypatch):
    """What the modules register and import is forgotten afterwards."""
    monkeypatch.setattr(registry, "METHODS", dict(registry.METHODS))
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("mine_"):
            del sys.modules[name]


@pytest.fixture
def data(tmp_path):
    pack(tmp_path / "data", *pixels_and_labels())
    return tmp_path / "data"


def write(path, name):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(MODULE.format(name=name))
    return path


def call(folder, *arguments):
    """The command in a process of its own, which has imported nothing of the user's."""
    command = [sys.executable, "-m", "selfie_train", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_every_command_finds_the_module_from_anywhere(data, tmp_path):
    write(tmp_path / "code" / "mine_a.py", "mine-a")
    other = tmp_path / "other"
    other.mkdir()
    run = tmp_path / "run"
    options = ["run", f"--dataset={data}", "--method=mine-a", *QUICK, f"--out={run}"]
    without = call(tmp_path / "code", *options)
    assert without.returncode == 2
    assert "method must be one of" in " ".join(without.stderr.split())
    done = call(tmp_path / "code", *options, "--import", "mine_a")
    assert done.returncode == 0, done.stderr
    assert json.loads((run / "config.json").read_text())["imports"] == [str(tmp_path / "code" / "mine_a.py")]
    for arguments in (
        ["resume", run],
        ["audit", run, "--out", tmp_path / "audit"],
        ["compare", run, "--out", tmp_path / "table"],
    ):
        done = call(other, *arguments)
        assert done.returncode == 0, done.stderr
    assert "mine-a" in (tmp_path / "table" / "table.csv").read_text()


def test_a_comparison_runs_no_code_of_a_run(data, tmp_path, monkeypatch):
    path = write(tmp_path / "mine_b.py", "mine-b")
    monkeypatch.chdir(tmp_path)
    assert main(["run", f"--dataset={data}", "--method=mine-b", *QUICK, "--import=mine_b", "--out=run"]) == 0
    path.write_text("raise SystemExit('it ran')")
    del sys.modules["mine_b"]
    registry.METHODS.pop("mine-b")
    assert main(["compare", "run", "--out=table"]) == 0
    assert TrainConfig.read(Path("run"), import_modules=False).method == "mine-b"


def test_a_run_must_not_bring_code_along(data, tmp_path, capsys, monkeypatch):
    write(tmp_path / "mine_c.py", "mine-c")
    run = tmp_path / "run"
    options = [f"--dataset={data}", "--method=mine-c", *QUICK, f"--import={tmp_path / 'mine_c.py'}"]
    assert main(["run", *options, f"--out={run}"]) == 0
    config = json.loads((run / "config.json").read_text())
    config["imports"] = [str(write(run / "mine_d.py", "mine-d"))]
    (run / "config.json").write_text(json.dumps(config))
    assert main(["resume", str(run)]) == 1
    assert "must lie outside of the run's folder" in capsys.readouterr().err
    write(tmp_path / "mine_d.py", "mine-d")  # beside the run, as in an archive that somebody sent
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", str(tmp_path))])
    for name in ("mine_d", "mine_d.py", "./mine_d.py", "run/../mine_d.py", ".mine_d", ""):
        config["imports"] = [name]
        (run / "config.json").write_text(json.dumps(config))
        assert main(["resume", str(run)]) == 1
        assert "imports must be" in capsys.readouterr().err
    assert "mine-d" not in registry.METHODS
    assert str(tmp_path) not in sys.path
    config["imports"] = ["mine_d"]
    (run / "config.json").write_text(json.dumps(config))
    assert main(["resume", str(run), "--import", "mine_d"]) in (0, 1)
    assert "mine-d" in registry.METHODS


def test_a_grid_brings_no_code_along(tmp_path):
    for place in ("base", "axes"):
        with pytest.raises(ValueError, match="a grid brings no code along"):
            expand_grid(
                {"base": {"dataset": "x"}, "axes": {}} | {place: {"imports": ["mine_d.py"]}}, tmp_path
            )


def test_a_module_is_named_by_name_file_or_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = write(tmp_path / "mine_e.py", "mine-e")
    package = write(tmp_path / "deep" / "mine_f" / "__init__.py", "mine-f").parent
    inner = write(package / "inner.py", "mine-g")
    assert import_plugin("mine_e") == str(file)
    assert import_plugin(str(file)) == str(file)
    assert import_plugin("deep/mine_f") == str(package)
    assert import_plugin(str(inner)) == str(inner)
    assert "mine_f.inner" in sys.modules
    assert {"mine-e", "mine-f", "mine-g"} <= set(registry.METHODS)
    assert import_plugin("json") == "json"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mine_no_such", "--import must name a module that Python finds, got 'mine_no_such'"),
        ("no/such.py", "--import must name a Python module, file or package, got 'no/such.py'"),
        ("no.such.module", "--import must name a module"),
    ],
)
def test_a_module_that_is_not_there_is_named(name, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        import_plugin(name)


def test_two_modules_of_one_name_are_told_apart(tmp_path):
    import_plugin(str(write(tmp_path / "a" / "mine_h.py", "mine-h")))
    with pytest.raises(ValueError, match="another module called mine_h is imported already"):
        import_plugin(str(write(tmp_path / "b" / "mine_h.py", "mine-i")))


def test_a_file_beside_the_data_does_not_hide_an_installed_module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "symtable.py").write_text("raise SystemExit('hidden')")
    assert import_plugin("symtable") == "symtable"


@pytest.mark.parametrize("name", ["selfie_io.convert.cli", "selfie_train.cli"])
def test_both_commands_tell_their_version(name, capsys):
    command = {"selfie_io.convert.cli": "selfie-convert", "selfie_train.cli": "selfie-train"}[name]
    assert sys.modules[name].main(["--version"]) == 0
    assert capsys.readouterr().out == f"{command} {selfie_io.__version__}\n"
