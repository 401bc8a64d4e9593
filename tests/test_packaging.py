"""The distribution: one name in every text, extras that exist, one version."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import selfie_io

tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
ROOT = Path(__file__).parents[1]
NAME = "selfie-io"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
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
    dev = [Requirement(line) for line in EXTRAS["dev"]]
    own = set().union(*(one.extras for one in dev if one.name == NAME))
    assert own == set(EXTRAS) - {"dev", "dali", "timm"}


def test_the_version_is_written_once():
    assert PROJECT["dynamic"] == ["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", selfie_io.__version__)
    assert f"\n## {selfie_io.__version__}" in (ROOT / "CHANGELOG.md").read_text()
