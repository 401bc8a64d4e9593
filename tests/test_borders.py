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
# The wings of selfie_train and what each may import besides itself. "" is the package's own modules.
FOUNDATIONS = {"config", "plugins", "recipes", "registry"}
TRAIN_ALLOWED = {
    "commands": {"inference", "training", "evidence", "report", "runs", "methods", "models", *FOUNDATIONS},
    "inference": {"training", "runs", "models", *FOUNDATIONS},
    "training": {"report", "runs", "methods", "models", "evidence", *FOUNDATIONS},
    "report": {"runs", *FOUNDATIONS},
    "runs": FOUNDATIONS,
    "evidence": {"models", *FOUNDATIONS},
    "methods": {"refurbish", *FOUNDATIONS},
    "models": FOUNDATIONS,
    "cli": {"commands", "plugins", "runs"},
    "__main__": {"start"},
    "start": set(),  # which names the module of the command, and imports it later
    "config": {"plugins", "recipes", "registry"},
    "plugins": set(),
    "recipes": {"config"},
    "registry": set(),
    "refurbish": set(),
}
TORCH_USERS = ("training", "models", "evidence", "inference")
CORE_USERS = {"records/split.py", *(f"loading/{name}.py" for name in ("native", "reader", "core_pixels"))}


def imports(path):
    """Every (module, lazily?, for type checkers only?) that a file imports; lazily: inside a function."""
    tree = ast.parse(path.read_text())
    typing_only, lazy = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            typing_only.update(inner for part in node.body for inner in ast.walk(part))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lazy.update(ast.walk(node))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from ((name, node in lazy or node in typing_only, node in typing_only) for name in names)


def sources(package):
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", sources("selfie_io"), ids=lambda path: str(path.relative_to(ROOT)))
def test_selfie_io_keeps_its_borders(path):
    place = path.relative_to(ROOT / "selfie_io")
    wing = place.parts[0] if len(place.parts) > 1 else None
    for module, lazily, typing_only in imports(path):
        assert not module.startswith("selfie_train"), module
        parts = module.split(".")
        if wing and parts[0] == "selfie_io" and len(parts) > 1 and parts[1] in WINGS:
            assert parts[1] in ALLOWED[wing], f"{place} imports {module}"
        if parts[:2] == ["selfie_io", "_core"] and not typing_only:
            assert place.as_posix() in CORE_USERS, f"{place} touches the native core"
        if parts[0] == "torch" and not (lazily and place.as_posix() == "records/split.py"):
            assert wing == "loading" or place.name == "__init__.py", f"{place} imports torch"
        if place.as_posix() == "labels/_kernels.py":
            assert parts[0] in {"numba", "numpy", *sys.stdlib_module_names}, f"the kernels import {module}"


def test_selfie_train_uses_selfie_io_alone():
    for path in sources("selfie_train"):
        for module, _, _ in imports(path):
            assert not module.startswith("selfie_io._core"), f"{path} imports {module}"


def broken_borders(root):
    """Every import of a selfie_train below `root` against the plan, as text."""
    package = root / "selfie_train"
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package)
        wing = place.parts[0].removesuffix(".py")
        if wing == "__init__" and len(place.parts) == 1:  # names of all wings, on first use
            continue
        if wing not in TRAIN_ALLOWED:
            yield f"{place} is in no known wing"
            continue
        for module, _, typing_only in imports(path):
            parts = module.split(".")
            if parts[0] == "torch" and wing not in TORCH_USERS and not typing_only:
                yield f"{place} imports {module}"
            other = parts[1] if parts[0] == "selfie_train" and len(parts) > 1 else wing
            if other != wing and other not in TRAIN_ALLOWED[wing]:
                yield f"{place} imports {module}"


def circle(root, package):
    """A circle of imports below `root`, lazy ones included, as a list of modules; empty if there is none."""
    modules = {}
    for path in sorted((root / package).rglob("*.py")):
        name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        modules[name] = path
    uses = {
        name: {module for module, _, typing_only in imports(path) if module in modules and not typing_only}
        for name, path in modules.items()
    }
    for name in modules:  # `from package import module` needs the module, not what the package collects
        uses[name] -= {other for other in modules if modules[other].name == "__init__.py"} | {name}
    done = set()

    def visit(name, trail):
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name in done:
            return []
        for other in sorted(uses[name]):
            if found := visit(other, [*trail, name]):
                return found
        done.add(name)
        return []

    return next((found for name in modules if (found := visit(name, []))), [])


def test_selfie_train_keeps_its_borders():
    assert list(broken_borders(ROOT)) == []


@pytest.mark.parametrize("package", ["selfie_io", "selfie_train"])
def test_no_import_goes_round_in_a_circle(package):
    assert circle(ROOT, package) == []


def test_the_border_tests_see_a_bad_import_and_a_circle(tmp_path):
    package = tmp_path / "selfie_train"
    for wing in ("runs", "report"):
        (package / wing).mkdir(parents=True)
    files = {
        "__init__.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import selfie_train.runs.b",
        "runs/__init__.py": "",
        "runs/a.py": "def late():\n    from selfie_train.runs import b",
        "runs/b.py": "from selfie_train.runs.c import x",
        "runs/c.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import selfie_train.runs.a",
        "report/page.py": "from selfie_train.runs.a import late",
    }
    for name, text in files.items():
        (package / name).write_text(text)
    assert list(broken_borders(tmp_path)) == []
    assert circle(tmp_path, "selfie_train") == []
    (package / "runs/c.py").write_text("import selfie_train.runs.a")
    assert circle(tmp_path, "selfie_train") == [f"selfie_train.runs.{name}" for name in "abca"]
    (package / "runs/c.py").write_text("def f():\n    from selfie_train.report import page\nimport torch.nn")
    (package / "more.py").write_text("")
    assert set(broken_borders(tmp_path)) == {
        "runs/c.py imports selfie_train.report",
        "runs/c.py imports selfie_train.report.page",
        "runs/c.py imports torch.nn",
        "more.py is in no known wing",
    }


def test_no_two_classes_share_a_name():
    homes = {}
    for path in [*sources("selfie_io"), *sources("selfie_train")]:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


def test_only_the_bindings_know_python():
    for path in sorted((ROOT / "csrc").iterdir()):
        if not path.name.startswith("bindings"):
            assert "pybind11" not in path.read_text().replace("-Dpybind11", ""), path.name


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import selfie_io", ("torch", "numba", "selfie_io.loading")),
        ("import selfie_io; selfie_io.open_dataset", ("torch", "numba")),
        ("import selfie_io.convert.cli", ("torch", "numba", "pyarrow", "scipy")),
        ("import selfie_io.labels.noise, selfie_io.labels.history", ("torch",)),
        ("import selfie_train.cli", ("torch", "numba", "matplotlib", "pyarrow")),
        ("import selfie_train.refurbish, selfie_train.runs.comparison", ("torch",)),
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
