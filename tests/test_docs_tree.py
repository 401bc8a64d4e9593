"""docs/design.md lists every file of the project, and CONTRIBUTING.md names files that exist."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DESIGN = (ROOT / "docs/design.md").read_text()


def listed(text):
    """Path -> description of each line of the tree; a folder's name ends with "/", two spaces indent."""
    (block,) = re.findall(r"^## The tree\n.*?^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    paths, parents = {}, []
    for line in block.splitlines():
        indent, name, told = re.fullmatch(r"((?:  )*)(\S+)(?: +(.*))?", line).groups()
        parents = [*parents[: len(indent) // 2], name]
        paths["".join(parents)] = told or ""
    return paths


def missing_and_gone(paths, real):
    """The real files that no line covers, and the lines without a file.

    A folder without lines of its own covers all that it holds.
    """
    folders = {path for path in paths if path.endswith("/")}
    closed = tuple(
        folder for folder in folders if not any(path.startswith(folder) and path != folder for path in paths)
    )
    missing = [file for file in real if file not in paths and not file.startswith(closed)]
    gone = [path for path in paths if path not in real and not any(file.startswith(path) for file in real)]
    return missing, gone


@pytest.fixture(scope="module")
def real():
    listing = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listing.returncode:
        pytest.skip("the files of the project are known only in a git checkout")
    return [file for file in listing.stdout.splitlines() if (ROOT / file).exists()]


def test_the_tree_is_the_real_one(real):
    paths = listed(DESIGN)
    missing, gone = missing_and_gone(paths, real)
    assert (missing, gone) == ([], []), "docs/design.md must list every file: add, remove lines"
    assert [path for path, told in paths.items() if not told] == [], "each line tells what the file is for"


def test_a_missing_and_a_gone_file_are_seen():
    paths = listed(
        "## The tree\n\n```\na/  the part\n  one.py  a file\n  data/  many files\nb.py  another file\n```\n"
    )
    assert paths == {"a/": "the part", "a/one.py": "a file", "a/data/": "many files", "b.py": "another file"}
    assert missing_and_gone(paths, ["a/one.py", "a/data/x", "b.py"]) == ([], [])
    assert missing_and_gone(paths, ["a/two.py", "a/data/x", "b.py"]) == (["a/two.py"], ["a/one.py"])


def test_contributing_names_files_that_exist():
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("## How to add")[2].partition("##")[0]
    named = re.findall(r"`((?:selfie_io|selfie_train|benchmarks|tests)/[\w/.]+)`", table)
    assert len(named) >= 12
    assert [name for name in named if not (ROOT / name).exists()] == []
