"""Modules of the user's own that register methods and models: what `--import` takes, and how it is found."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import tyro

Imports = Annotated[
    tuple[str, ...], tyro.conf.arg(name="import", metavar="MODULE"), tyro.conf.UseAppendAction
]


_ADVICE = "import it by --import MODULE"


def import_plugin(name: str) -> str:
    """Import a module by its name, or by the path of its file or package folder.

    A name is looked for where Python looks, then in the working folder. Returns what imports the module
    again from anywhere: its path if it is a file of the user's own, its name if it is installed.
    Raises ValueError if there is no such module, or if another one of its name is imported already.
    """
    path = Path(name)
    is_path = _is_path(path)
    folder, module = _locate(path) if is_path else (Path.cwd(), name)
    if module not in sys.modules:
        if str(folder) not in sys.path and not _is_found(module):
            sys.path.append(str(folder))  # at the end: it must not hide an installed module
        try:
            import_module(module)
        except ModuleNotFoundError as error:
            raise ValueError(
                f"--import must name a module that Python finds, got {name!r}: {error}"
            ) from error
    file = getattr(sys.modules[module], "__file__", None)
    if file is None:
        return module
    found = Path(file).resolve()
    source = found.parent if found.name == "__init__.py" else found
    if is_path and source != path.resolve():
        raise ValueError(f"--import {name}: another module called {module} is imported already, {source}")
    installed = "site-packages" in found.parts or folder not in found.parents
    return module if installed else str(source)


def check_stored_imports(names: Iterable[str], folder: Path) -> None:
    """Raise ValueError unless the modules that the config of the run in `folder` names may be imported.

    They are installed, or files with absolute paths, as `import_plugin` returns them. A name or a relative
    path would be looked for in the working folder: a run that somebody sent must not bring code along.
    """
    for name in names:
        path = Path(name)
        if not _is_path(path):
            if name not in sys.modules and not _is_found(name):
                raise ValueError(
                    f"imports must be installed modules or absolute paths, got {name!r}: {_ADVICE}"
                )
        elif not path.is_absolute():
            raise ValueError(f"imports must be installed modules or absolute paths, got {name!r}: {_ADVICE}")
        elif folder.resolve() in path.resolve().parents:
            raise ValueError(f"imports must lie outside of the run's folder, got {name!r}")


def _is_path(path: Path) -> bool:
    return path.suffix == ".py" or len(path.parts) > 1


def _is_found(module: str) -> bool:
    """Whether Python finds a module without the working folder."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError, TypeError, AttributeError):  # of a package that is none
        return False


def _locate(path: Path) -> tuple[Path, str]:
    """The folder to look in and the module's name there, of a file or a package's folder."""
    source = path.resolve()
    if not (source.is_file() or (source / "__init__.py").is_file()):
        raise ValueError(f"--import must name a Python module, file or package, got {str(path)!r}")
    folder, parts = source.parent, [source.stem if source.is_file() else source.name]
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return folder, ".".join(parts)
