"""Who may know whom: the imports of the package, read from its source, and what a first import costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WINGS = ("records", "loading", "labels", "convert")
ALLOWED = {"convert": {"convert", "labels", "records"}, "loading": {"loading", "records"}}
ALLOWED |= {"labels": {"labels", "records"}, "records": {"records"}}
CORE_USERS = {"records/dataset.py", *(f"loading/{name}.py" for name in ("native", "reader", "core_pixels"))}


def imports(path):
    """Every (module, lazily?) that a file imports; lazily: inside a function or for type checkers only."""
    tree = ast.parse(path.read_text())
    lazy = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node in lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, node in lazy
            yield from ((f"{node.module}.{alias.name}", node in lazy) for alias in node.names)


def sources(package):
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", sources("selfie_io"), ids=lambda path: str(path.relative_to(ROOT)))
def test_selfie_io_keeps_its_borders(path):
    place = path.relative_to(ROOT / "selfie_io")
    wing = place.parts[0] if len(place.parts) > 1 else None
    for module, lazily in imports(path):
        assert not module.startswith("selfie_train"), module
        parts = module.split(".")
        if wing and parts[0] == "selfie_io" and len(parts) > 1 and parts[1] in WINGS:
            assert parts[1] in ALLOWED[wing], f"{place} imports {module}"
        if parts[:2] == ["selfie_io", "_core"]:
            assert place.as_posix() in CORE_USERS, f"{place} touches the native core"
        if parts[0] == "torch" and not (lazily and place.as_posix() == "records/dataset.py"):
            assert wing == "loading" or place.name == "__init__.py", f"{place} imports torch"
        if place.as_posix() == "labels/_kernels.py":
            assert parts[0] in {"numba", "numpy", *sys.stdlib_module_names}, f"the kernels import {module}"


def test_selfie_train_uses_selfie_io_alone():
    for path in sources("selfie_train"):
        for module, _ in imports(path):
            assert not module.startswith("selfie_io._core"), f"{path} imports {module}"


def test_only_the_bindings_know_python():
    for path in sorted((ROOT / "csrc").iterdir()):
        if path.name != "bindings.cpp":
            assert "pybind11" not in path.read_text().replace("-Dpybind11", ""), path.name


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import selfie_io", ("torch", "numba", "selfie_io.loading")),
        ("import selfie_io; selfie_io.open_dataset", ("torch", "numba")),
        ("import selfie_io.convert.cli", ("torch", "numba", "pyarrow", "scipy")),
        ("import selfie_io.labels.noise, selfie_io.labels.history", ("torch",)),
    ],
)
def test_nobody_pays_for_what_is_not_used(code, unwanted):
    probe = f"import sys; {code}; print(*(name for name in {unwanted!r} if name in sys.modules))"
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_every_public_name_is_there():
    import selfie_io

    for name in selfie_io.__all__:
        assert getattr(getattr(selfie_io, name), "__name__", name) == name  # constants have none
    with pytest.raises(AttributeError, match="no attribute 'Loadr'"):
        selfie_io.Loadr  # noqa: B018
