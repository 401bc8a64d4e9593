"""The pages are wrapped at 100 columns, and the tree has one word for one thing."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md"))
WIDTH = 100
# What is checked for words: folders and files of the project, without what is built or downloaded.
PLACES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "CMakeLists.txt", "pyproject.toml")
PLACES += ("setup.py", "selfie_io", "selfie_train", "csrc", "tests", "benchmarks", "docs")
TEXT = {".py", ".pyi", ".h", ".cpp", ".md", ".txt", ".toml", ".cff", ".yml", ".yaml", ".html", ".css", ".js"}
TEXT |= {".svg", ".json", ".csv", ""}
# The wrong word, in parts, so that this file does not hold it; a file name such as WORD.png is the user's.
WRONG = {
    "image": r"pict" + r"ures?(?![\w-]*\.(?:png|jpe?g|gif|bmp|webp|tiff?)\b)",
    "integer": r"whole[ -]" + r"numbers?\b",
}


def prose(text):
    """(line number, visible text) of each line outside code, tables and comments."""
    text = re.sub(
        r"^```.*?^```", lambda code: "\n" * code[0].count("\n"), text, flags=re.DOTALL | re.MULTILINE
    )
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(("|", "    ", "<!--", "![", "!!!", "???")):
            continue
        yield number, re.sub(r"\]\([^)]*\)", "]", line)


def text_files():
    for place in PLACES:
        path = ROOT / place
        found = path.rglob("*") if path.is_dir() else [path]
        for file in sorted(found):
            hidden = any(
                part.startswith(".") or part == "__pycache__" for part in file.relative_to(ROOT).parts
            )
            if file.is_file() and file.suffix in TEXT and not hidden:
                yield file


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_prose_is_wrapped(page):
    long = [
        f"{page.name}:{number}: {len(line)}" for number, line in prose(page.read_text()) if len(line) > WIDTH
    ]
    assert long == []


def test_the_width_is_measured_without_code_tables_and_link_targets():
    wide = "x" * 120
    assert [line for _, line in prose(f"```\n{wide}\n```\n| {wide} |\n[a]({wide}) b\n")] == [
        "",
        "",
        "",
        "[a] b",
    ]
    assert list(prose(f"a\n{wide}\n"))[1] == (2, wide)


@pytest.mark.parametrize("right", WRONG)
def test_one_word_for_one_thing(right):
    pattern = re.compile(WRONG[right], re.IGNORECASE)
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for file in text_files()
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == [], f"say {right}"
    assert pattern.search(f"two {'pict' + 'ures' if right == 'image' else 'whole ' + 'numbers'}")
