"""Builds `selfie_io._core` with CMake and ninja; pyproject.toml has everything else."""

import shutil
import subprocess
import sys
from pathlib import Path

import pybind11
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


class CMakeBuild(build_ext):
    """Configures with the tools of THIS build, whatever the cache of another build names."""

    def build_extension(self, ext: Extension) -> None:
        """Configure, build and put the extension where setuptools wants it."""
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        build_dir = Path(self.build_temp).resolve()
        build_dir.mkdir(parents=True, exist_ok=True)
        configure = [
            self._tool("cmake"), "-S", str(ROOT), "-B", str(build_dir), "-G", "Ninja",
            f"-DCMAKE_MAKE_PROGRAM={self._tool('ninja')}",
            f"-DCMAKE_BUILD_TYPE={'Debug' if self.debug else 'Release'}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            f"-DSELFIE_OUTPUT_DIRECTORY={target.parent}",
            f"-DSELFIE_OUTPUT_NAME={target.name}",
        ]  # fmt: skip
        if subprocess.run(configure).returncode:
            # A cache of another source folder, generator or compiler: remove it and try once more.
            shutil.rmtree(build_dir)
            build_dir.mkdir(parents=True)
            subprocess.run(configure, check=True)
        subprocess.run([configure[0], "--build", str(build_dir), "--target", "_core"], check=True)

    @staticmethod
    def _tool(name: str) -> str:
        path = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
        if path is None:
            raise RuntimeError(f"building selfie-io needs {name}: pip install {name}")
        return path


setup(ext_modules=[Extension("selfie_io._core", sources=[])], cmdclass={"build_ext": CMakeBuild})
