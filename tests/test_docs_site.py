"""The site: every page is reachable, every public name has an entry, every parameter is described."""

import ast
import inspect
import re
import textwrap
from pathlib import Path

import pytest

import selfie_io
import selfie_train

ROOT = Path(__file__).parents[1]
PUBLIC = [(module, name) for module in (selfie_io, selfie_train) for name in module.__all__]


def described_fields(public):
    """The fields of a class that a docstring below or a comment behind them describes."""
    source = textwrap.dedent(inspect.getsource(public))
    lines = source.splitlines()
    body = ast.parse(source).body[0].body
    for field, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign):
            text = isinstance(after, ast.Expr) and isinstance(getattr(after.value, "value", None), str)
            if text or "  # " in lines[field.end_lineno - 1]:
                yield field.target.id


@pytest.mark.parametrize(("module", "name"), PUBLIC, ids=lambda value: getattr(value, "__name__", value))
def test_a_public_name_is_described_with_all_parameters(module, name):
    page = (ROOT / f"docs/api/{module.__name__}.md").read_text()
    assert f"::: {module.__name__}.{name}\n" in page
    public = getattr(module, name)
    if not callable(public):
        return
    told = inspect.getdoc(public)
    fields = set(described_fields(public)) if inspect.isclass(public) else set()
    try:
        parameters = inspect.signature(public).parameters
    except ValueError:  # an exception has none
        return
    missing = [
        parameter
        for parameter in parameters
        if parameter not in {"args", "kwargs", *fields} and not re.search(rf"\b{parameter}\b", told)
    ]
    assert missing == []


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text()
    named = set(re.findall(r"^ +- [^:]+: (\S+\.md)$", text, re.MULTILINE))
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert pages - named == set(), "mkdocs.yml must name every page"
    assert named - pages == {"contributing.md", "changelog.md", "api/commands.md"}  # docs/site/pages.py
