"""The distribution: one name in every text, extras that exist, one version."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import selfie_io.convert.cli
import selfie_train.cli
from selfie_io import _extras

tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
ROOT = Path(__file__).parents[1]
NAME = "selfie-io"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
CONVERT = "from selfie_io.convert.cli import main; main"
TRAIN = "from selfie_train.cli import main; main"
PLACES = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "Makefile",
    "pyproject.toml",
    "setup.py",
)
PLACES += ("selfie_io", "selfie_train", "docs", "benchmarks", "tests", ".github", ".ci")
SUFFIXES = {".py", ".md", ".toml", ".yml", ".yaml", ".html", ""}
# A name with extras in brackets, and the words after `pip install`.
WITH_EXTRAS = re.compile(r"(?<![\w.-])(selfie[\w-]*)\[([a-z0-9, -]+)\]")
INSTALL = re.compile(r"(?:pip|pipx|uv|uvx)\s+(?:tool\s+)?install\b([^`\n]*)")


def texts():
    for place in PLACES:
        path = ROOT / place
        files = sorted(path.rglob("*")) if path.is_dir() else [path] * path.exists()
        for file in files:
            if file.is_file() and file.suffix in SUFFIXES and "__pycache__" not in file.parts:
                yield file.relative_to(ROOT), file.read_text()


def advised(text):
    """(distribution, extras) of every mention with brackets, and of every project name after `install`."""
    mentions = [(name, re.split(r"[, ]+", extras.strip())) for name, extras in WITH_EXTRAS.findall(text)]
    for arguments in INSTALL.findall(text):
        mentions += [(name, []) for name in re.findall(r"(?<![\w./-])(selfie[\w-]*)", arguments)]
    return mentions


def test_every_text_advises_this_distribution_and_extras_that_exist():
    seen = set()
    for file, text in texts():
        for name, extras in advised(text):
            assert name == NAME, f"{file} advises {name}"
            assert set(extras) <= set(EXTRAS), f"{file} advises {extras}, the extras are {sorted(EXTRAS)}"
            seen |= set(extras)
    assert {"report", "sources", "remote"} <= seen


def test_another_name_and_an_unknown_extra_are_seen():
    other = "self" + "ie"
    assert advised(f"run pip install '{other}[report]'") == [(other, ["report"]), (other, [])]
    assert advised(f"uv pip install -U {other}") == [(other, [])]
    assert advised("pip install 'selfie-io[sources,report]'")[0] == (NAME, ["sources", "report"])


def test_the_extras_are_those_of_the_contract_and_dev_has_them():
    """Without DALI, which takes 620 MB, and timm, which brings torchvision."""
    wanted = {"train", "dali", "sources", "report", "features", "timm", "remote", "ray", "dev"}
    assert wanted <= set(EXTRAS)
    assert extras_of("dev") == set(EXTRAS) - {"dali", "timm"}


def extras_of(extra):
    """The extra and all that it includes."""
    own = [one.extras for line in EXTRAS[extra] if (one := Requirement(line)).name == NAME]
    return {extra}.union(*(extras_of(other) for extras in own for other in extras))


@pytest.mark.parametrize(("module", "extra"), _extras._EXTRAS.items())
def test_a_missing_module_is_named_with_an_extra_that_exists(module, extra):
    assert extra in EXTRAS
    error = ModuleNotFoundError(f"No module named '{module}.part'", name=f"{module}.part")
    assert _extras.advice(error) == (
        f"this needs {module}, which is not installed: pip install 'selfie-io[{extra}]'"
    )


def in_a_plain_install(code, folder):
    """Run Python code in `folder` as if nothing but the plain install were there."""
    modules = tuple({*_extras._EXTRAS, "pandas", "jax"})
    program = f"""
import sys
class Absent:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {modules}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent)
{code}"""
    return subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import selfie_io; selfie_io.inject_noise", "selfie_io.inject_noise: this needs numba"),
        ("import selfie_io; selfie_io.Loader", "selfie_io.Loader: this needs torch"),
        ("import selfie_train; selfie_train.train", "selfie_train.train: this needs torch"),
        (f"{CONVERT}(['pack', 'digits', 'd']); main(['noise', 'd', '--rate', '0.4'])", "this needs numba"),
        (f"{TRAIN}(['run', '--dataset', 'none'])", "pip install 'selfie-io[train]'"),
    ],
)
def test_without_torch_and_numba_the_way_out_is_told(code, told, tmp_path):
    result = in_a_plain_install(code, tmp_path)
    assert told in result.stderr
    assert "pip install 'selfie-io[" in result.stderr
    assert not (tmp_path / "d/labels").exists()


def test_a_plain_install_packs_checks_and_shows_the_digits(tmp_path):
    commands = (["pack", "digits", "d"], ["verify", "d", "--deep"], ["preview", "d", "d.png"], ["info", "d"])
    code = f"assert [main(command) for command in {commands}] == [0] * 4"
    result = in_a_plain_install(f"from selfie_io.convert.cli import main; {code}", tmp_path)
    assert result.returncode == 0, result.stderr


def test_both_commands_tell_the_version(capsys):
    assert (selfie_io.convert.cli.main(["--version"]), selfie_train.cli.main(["--version"])) == (0, 0)
    version = selfie_io.__version__
    assert capsys.readouterr().out == f"selfie-convert {version}\nselfie-train {version}\n"


def test_the_version_is_written_once():
    assert PROJECT["dynamic"] == ["version"]
    assert f"\nversion: {selfie_io.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.fullmatch(r"\d+\.\d+\.\d+", selfie_io.__version__)
    assert f"\n## {selfie_io.__version__}" in (ROOT / "CHANGELOG.md").read_text()
