"""Processes that the packages start take nothing from the current folder, nor from PYTHONPATH."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numba  # noqa: F401 - has been imported when a command begins
import pytest
from torch._inductor.runtime.cache_dir_utils import cache_dir

import selfie_io
from selfie_io.convert.cli import main as convert
from selfie_io.isolated_python import isolated_python
from selfie_train.cli import main as train
from selfie_train.training.machine import own_compile_cache

ROOT = Path(selfie_io.__file__).parents[1]


def test_it_runs_main_of_the_module_with_the_paths_of_this_process(monkeypatch):
    monkeypatch.setattr(sys, "path", ["", "/somewhere", *sys.path])
    paths = json.loads(isolated_python("this")[-1])
    assert paths == [path for path in sys.path if path]


def test_settings_of_libraries_in_the_current_folder_are_not_read(tmp_path):
    """numba's name a cache of pickles; matplotlib's let it run LaTeX."""
    (tmp_path / ".numba_config.yaml").write_text("cache_dir: /planted")
    (tmp_path / "matplotlibrc").write_text("text.usetex: True")
    (tmp_path / "task.py").write_text(
        "import os, matplotlib\nfrom numba.core import config\n"
        "def main():\n    config.reload_config()\n"
        "    print(repr(config.CACHE_DIR), matplotlib.rcParams['text.usetex'], os.getcwd())\n"
    )
    command = isolated_python("task")
    command[-1] = json.dumps([*sys.path, str(tmp_path)])
    ended = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
    assert ended.stdout == f"'' False {tmp_path}\n", ended.stderr


@pytest.mark.parametrize("main", [convert, train])
def test_a_command_says_which_settings_it_does_not_read(tmp_path, monkeypatch, capsys, main):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys.modules["numba.core.config"], "_config_fname", ".numba_config.yaml")
    Path(".numba_config.yaml").symlink_to("nothing")
    with pytest.raises(SystemExit):
        main(["nonsense"])
    assert "note: .numba_config.yaml of this folder is not read" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["current folder", "PYTHONPATH"])
def test_a_download_that_holds_a_module_of_the_library_is_not_run(tmp_path, place):
    (tmp_path / "json.py").write_text("print('ran'); raise SystemExit(0)")
    (tmp_path / "task.py").write_text(
        "import json\ndef main():\n    print(len(json.dumps([])))\n    return 3\n"
    )
    command = isolated_python("task")
    command[-1] = json.dumps([*sys.path, str(tmp_path)])
    environment = {"PYTHONPATH": str(tmp_path)} if place == "PYTHONPATH" else {}
    folder = tmp_path if place == "current folder" else ROOT
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (3, "2\n"), ended.stderr


def test_no_module_starts_python_in_another_way():
    starts = [
        path.relative_to(ROOT)
        for package in ("selfie_io", "selfie_train")
        for path in (ROOT / package).rglob("*.py")
        if "sys.executable" in path.read_text() and path.name != "isolated_python.py"
    ]
    assert starts == []


def test_compiled_code_lies_in_the_users_own_cache(tmp_path, monkeypatch):
    """torch runs what it finds in its cache, which by default others of the machine can make first."""
    monkeypatch.setenv("SELFIE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    own_compile_cache()
    place = tmp_path / "cache" / "compiled"
    assert cache_dir() == str(place)
    assert place.stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/chosen")
    own_compile_cache()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/chosen"
