"""Builds the C++ tests of tests/cpp and runs them on every instruction set, NEON through an emulator."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CROSS = {"compiler": "aarch64-linux-gnu-g++", "emulator": "qemu-aarch64"}


def build(folder, *options):
    """The path of the test program. The tools are those of this environment."""
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    cmake, ninja = shutil.which("cmake", path=search), shutil.which("ninja", path=search)
    if cmake is None or ninja is None:
        pytest.skip("needs cmake and ninja")
    settings = ["-DSELFIE_PYTHON=OFF", "-DSELFIE_TESTS=ON", f"-DCMAKE_MAKE_PROGRAM={ninja}", *options]
    for command in (
        [cmake, "-S", ROOT, "-B", folder, "-G", "Ninja", *settings],
        [cmake, "--build", folder],
    ):
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return folder / "core_test"


def run(command, isa, folder):
    """The program makes its files in the folder."""
    environment = {**os.environ, "SELFIE_IO_ISA": isa, "TMPDIR": str(folder)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert result.stdout == f"{isa}: all passed\n"


def test_every_instruction_set_of_this_processor(tmp_path):
    program = build(tmp_path / "build")
    present = subprocess.run([program, "--isas"], capture_output=True, text=True, check=True).stdout.split()
    assert "generic" in present
    for isa in present:
        run([program], isa, tmp_path)


@pytest.mark.skipif(
    not all(map(shutil.which, CROSS.values())), reason="needs g++-aarch64-linux-gnu and qemu-user"
)
def test_neon_through_an_emulator(tmp_path):
    program = build(
        tmp_path / "build",
        f"-DCMAKE_CXX_COMPILER={CROSS['compiler']}",
        "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        "-DCMAKE_EXE_LINKER_FLAGS=-static",
    )
    run([CROSS["emulator"], program], "neon", tmp_path)
