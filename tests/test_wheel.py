"""The wheel of `make wheel` works in an empty environment, without compiler and torch (`make test-wheel`)."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

WHEEL = os.environ.get("SELFIE_WHEEL")
pytestmark = pytest.mark.skipif(WHEEL is None, reason="make test-wheel sets SELFIE_WHEEL")
PLAIN_MEGABYTES, WHEEL_MEGABYTES = 400, 2


def megabytes(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A new environment with the wheel alone, and a PATH without compilers."""
    folder = tmp_path_factory.mktemp("empty")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    before = megabytes(folder)
    path = {**os.environ, "PATH": str(folder / "venv/bin"), "CC": "/none", "CXX": "/none"}
    path.pop("PYTHONPATH", None)

    def run(*command):
        program = folder / "venv/bin" / command[0]
        return subprocess.run([program, *command[1:]], cwd=folder, env=path, capture_output=True, text=True)

    done = run("python", "-m", "pip", "install", "--only-binary", ":all:", str(Path(WHEEL).resolve()))
    assert done.returncode == 0, done.stderr
    taken = megabytes(folder) - before
    assert taken < PLAIN_MEGABYTES, f"the plain install takes {taken:.0f} MB"
    return run


@pytest.mark.timeout(600)
def test_the_converter_works_without_torch(environment):
    commands = (
        ("selfie-convert", "--version"),
        ("selfie-convert", "pack", "digits", "packed"),
        ("selfie-convert", "verify", "packed", "--deep"),
        ("selfie-convert", "preview", "packed", "grid.png"),
        ("python", "-m", "selfie_io", "info", "packed"),
        ("selfie-train", "--help"),
    )
    for command in commands:
        done = environment(*command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    listed = environment("python", "-m", "pip", "list").stdout.lower()
    for package in ("torch", "numba", "scikit-learn", "scipy", "pyarrow"):
        assert package not in listed


@pytest.mark.timeout(600)
def test_the_reader_works_and_the_rest_says_what_is_missing(environment):
    assert environment("selfie-convert", "pack", "digits", "read").returncode == 0
    code = "import selfie_io as sio; s = sio.open_dataset('read').train; print(len(s), s.images([0]).shape)"
    assert environment("python", "-c", code).stdout == "1438 (1, 1, 8, 8)\n"
    told = environment("selfie-convert", "noise", "read", "--rate", "0.4")
    assert (told.returncode, "pip install 'selfie-io[noise]'" in told.stderr) == (1, True), told.stderr
    told = environment("selfie-train", "run", "--dataset", "read", "--out", "run")
    assert "pip install 'selfie-io[train]'" in told.stderr


def test_the_wheel_is_small_and_fits_many_linuxes():
    wheel = Path(WHEEL)
    assert wheel.stat().st_size < WHEEL_MEGABYTES * 1e6
    assert sys.platform != "linux" or "manylinux" in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in ("selfie_io/py.typed", "selfie_train/py.typed", "selfie_io/_core.pyi"):
        assert wanted in names
    assert any(name.startswith("selfie_io/_core") and name.endswith(".so") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "csrc/"))]


def test_the_sdist_has_what_a_build_needs():
    (sdist,) = Path(WHEEL).parent.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for wanted in (
        "CMakeLists.txt",
        "csrc/bindings.cpp",
        "setup.py",
        "LICENSE",
        "NOTICE",
        "selfie_io/py.typed",
    ):
        assert wanted in names
