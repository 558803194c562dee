"""Import the file of a workflow, as a module that worker processes can import, too."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import cascade
from cascade.cli.errors import USAGE, CommandError
from cascade.interfaces.main_module import importing_main
from cascade.interfaces.text import nearest
from cascade.runtime.starting import Startable, startable
from cascade.sdk.declared_settings import declared_in
from cascade.spec import LazyResult, Workflow

DEFAULT = "workflow"
"""The name that is looked for if none is given."""


def load(text: str) -> Startable:
    """Import ``FILE.py[:NAME]`` and return its workflow.

    :raises CommandError: if there is none, with what there is.
    """
    path, name = split(text)
    module = imported(_checked(path))
    found = _found_in(module, path.name, name)
    made = startable(found, f"{path.name}:{name}")
    # as a service names it
    workflow = found.name if isinstance(found, Workflow) else name.rpartition(".")[2]
    return made._replace(settings=declared_in(module), workflow=workflow)


def offered(text: str) -> tuple[list[Workflow[..., Any]], Mapping[str, Any]]:
    """Import ``FILE.py[:NAME]``; return the workflow of this name, or else all that the file declares, and its settings.

    :raises CommandError: if there is none, with what there is.
    """
    path, name = split(text)
    module = imported(_checked(path))
    declared = {id(each): each for each in vars(module).values() if isinstance(each, Workflow)}
    if not text.endswith(f":{name}") and declared:
        return [*declared.values()], declared_in(module)
    found = _found_in(module, path.name, name)
    if not isinstance(found, Workflow):
        # what cascade run takes; it says what is wrong
        startable(found, f"{path.name}:{name}")
        function = found if callable(found) and not isinstance(found, LazyResult) else lambda: found
        return [Workflow(function, name=name.rpartition(".")[2])], declared_in(module)
    return [found], declared_in(module)


def _checked(path: Path) -> Path:
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise CommandError(f"the file {path} {problem}", "write FILE.py or FILE.py:NAME", code=USAGE)
    if path.suffix != ".py":
        raise CommandError(f"{path} is not a Python file", "write FILE.py or FILE.py:NAME", code=USAGE)
    return path


def split(text: str) -> tuple[Path, str]:
    """Return the file and the name in it.

    >>> split("jobs/night.py:report"), split("night.py")[1]
    ((PosixPath('jobs/night.py'), 'report'), 'workflow')
    """
    file, colon, name = text.rpartition(":")
    if not colon or not name or "/" in name or "\\" in name or name.endswith(".py"):
        return Path(text.removesuffix(":")), DEFAULT
    return Path(file), name


def imported(path: Path) -> ModuleType:
    """Import a file by its own name, with its folder in ``sys.path``: a worker process finds it there.

    :raises CommandError: with the cause and the line where it is raised.
    """
    path = path.resolve()
    name, root = _module_name(path)
    _refuse_namesake(path, root)
    sys.path.insert(0, str(root))
    if root != path.parent:
        # for a file that imports its neighbours by their bare names
        sys.path.append(str(path.parent))
    sys.argv = [str(path)]
    importlib.invalidate_caches()
    with _explained(path), importing_main():
        module = importlib.import_module(name)
    if getattr(module, "__file__", None) is None or Path(str(module.__file__)).resolve() != path:
        raise CommandError(
            f"{path.name} has the name of another module, {name!r}", "rename the file", code=USAGE
        )
    return module


def _refuse_namesake(path: Path, root: Path) -> None:
    """Refuse a file that worker processes would import in place of Cascade."""
    ours = Path(cascade.__file__).resolve()
    for folder in {root, path.parent}:
        for other in (folder / "cascade.py", folder / "cascade" / "__init__.py"):
            if other.is_file() and other.resolve() not in (path, ours):
                shown = other.relative_to(folder)
                raise CommandError(
                    f"{shown} beside {path.name} would be imported in place of Cascade",
                    "rename it",
                    code=USAGE,
                )


def _module_name(path: Path) -> tuple[str, Path]:
    """Return the dotted name of a file, and the folder in which that is found."""
    parts, folder = [path.stem], path.parent
    if "." in path.stem:
        raise CommandError(f"{path.name} has a dot in its name", "rename the file", code=USAGE)
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts), folder


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (Exception, SystemExit) as error:
        text = error.msg if isinstance(error, SyntaxError) else str(error)
        cause = f"{type(error).__name__}: {text}" if text else type(error).__name__
        remedy = "--debug shows the traceback"
        if isinstance(error, ImportError) and "relative import" in text:
            remedy = (
                f"import without the dots, or make {path.parent.name} a package with an empty __init__.py"
            )
        raise CommandError(
            f"{path.name} cannot be imported: {_where(error, path)}{cause}", remedy, code=USAGE
        ) from error


def _where(error: BaseException, path: Path) -> str:
    """Return ``line 12: `` for the last line of the file on the way to the error; empty if there is none."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"line {error.lineno}: "
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f"line {lines[-1]}: " if lines else ""


def _found_in(module: ModuleType, file: str, name: str) -> Any:
    """Return what a module has under a dotted name.

    :raises CommandError: if it has nothing there, with what it has.
    """
    try:
        return functools.reduce(getattr, name.split("."), module)
    except AttributeError:
        raise _missing(module, file, name) from None


def _missing(module: ModuleType, file: str, name: str) -> CommandError:
    offered = [
        key
        for key, value in vars(module).items()
        if isinstance(value, LazyResult | Workflow)
        or (inspect.isfunction(value) and value.__module__ == module.__name__ and not key.startswith("_"))
    ]
    near = nearest(name, offered)
    if near:
        remedy = f"did you mean {file}:{near}?"
    elif offered:
        remedy = f"choose one: {', '.join(f'{file}:{each}' for each in offered[:5])}"
    else:
        remedy = f"write {name} = task(...) there, without running it"
    return CommandError(f"{file} has no {name!r}", remedy, code=USAGE)
