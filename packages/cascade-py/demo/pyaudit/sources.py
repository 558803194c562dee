"""Find the Python files of a folder and the names under which they are imported."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePath

from .model import Finding, Source

INSTALLED = frozenset({"__pycache__", "site-packages", "dist-packages", "node_modules"})
"""Folders that hold what others wrote; so do hidden ones and virtual environments."""


class InputError(ValueError):
    """The folder that was given cannot be audited; the message says what to give instead."""


def find_sources(folder: Path) -> tuple[list[Source], list[Finding]]:
    """Return the Python files below ``folder``, sorted, and the folders that cannot be read.

    :raises InputError: if it is missing, is not a folder, cannot be read or has no Python file.
    """
    _check(folder)
    folder = folder.resolve()
    findings: list[Finding] = []
    paths = sorted(_python_files(folder, findings))
    if not paths:
        raise InputError(f"no Python file (*.py) in {folder}; give a folder that holds some")
    top = _import_root(folder)
    packages: set[PurePath] = {path.parent.relative_to(top) for path in paths if path.name == "__init__.py"}
    return [_source(path, folder, top, packages) for path in paths], findings


def module_name(relative: PurePath, packages: set[PurePath]) -> str:
    """Return the dotted name of the file at ``relative``, a path below the import root.

    A folder whose name no import statement can hold, or a ``src`` that is not a package, is not
    part of it: ``packages/my-lib/src/lib/a.py`` is ``lib.a``.
    """
    parents = list(relative.parents)[:-1]  # nearest first, without "."
    names = [] if relative.stem == "__init__" else [relative.stem]
    for parent in parents:
        if not parent.name.isidentifier() or (parent.name == "src" and parent not in packages):
            break
        names.append(parent.name)
    return ".".join(reversed(names)) or relative.parent.name or relative.stem


def _check(folder: Path) -> None:
    if not folder.exists():
        raise InputError(f"{folder} does not exist; give a folder of Python files")
    if not folder.is_dir():
        raise InputError(f"{folder} is a file; give the folder that holds it: {folder.parent}")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise InputError(f"{folder} cannot be read; give a folder that you may read")


def _python_files(folder: Path, findings: list[Finding]) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        shown = Path(error.filename).relative_to(folder).as_posix()
        findings.append(Finding(shown, 0, f"folder cannot be read: {error.strerror}"))

    for where, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = [name for name in folders if not _is_foreign(Path(where, name))]
        yield from (Path(where, name) for name in files if name.endswith(".py"))


def _is_foreign(folder: Path) -> bool:
    name = folder.name
    return name in INSTALLED or name.startswith(".") or Path(folder, "pyvenv.cfg").exists()


def _import_root(folder: Path) -> Path:
    while Path(folder, "__init__.py").is_file() and folder.parent != folder:
        folder = folder.parent
    return folder


def _source(path: Path, folder: Path, top: Path, packages: set[PurePath]) -> Source:
    return Source(
        path=path,
        shown=path.relative_to(folder).as_posix(),
        module=module_name(path.relative_to(top), packages),
        is_package=path.name == "__init__.py",
    )
