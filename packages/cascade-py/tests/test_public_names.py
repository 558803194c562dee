"""Everything public is exported, listed by dir() and documented."""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
from pathlib import Path
from types import ModuleType

import pytest
from public_modules import MODULES

import cascade as cs
import cascade.interfaces

PACKAGES = Path(__file__).parents[2]


def documented_names(source: str) -> set[str]:
    """The names that a module assigns and describes in a string right below."""
    body = ast.parse(source).body
    names: set[str] = set()
    for statement, below in itertools.pairwise(body):
        described = (
            isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        )
        if described and isinstance(statement, ast.Assign):
            names |= {target.id for target in statement.targets if isinstance(target, ast.Name)}
    return names


@pytest.fixture(scope="module")
def aliases() -> set[str]:
    """The documented assignments of all sources: types and constants have no docstring of their own."""
    sources = (path.read_text("utf-8") for path in PACKAGES.glob("*/src/**/*.py"))
    return {name for source in sources for name in documented_names(source)}


@pytest.fixture(params=MODULES)
def module(request: pytest.FixtureRequest) -> ModuleType:
    """A module with a public interface."""
    return importlib.import_module(request.param)


def test_every_public_name_resolves_and_is_listed(module: ModuleType) -> None:
    """This includes names that are imported on demand; completion in a shell uses dir()."""
    assert module.__doc__
    assert sorted(set(module.__all__)) == sorted(module.__all__), "a name stands there twice"
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
    assert [name for name in module.__all__ if name not in dir(module)] == []
    assert [name for name in module.__all__ if name.startswith("_")] == []


def test_every_public_name_is_documented(module: ModuleType, aliases: set[str]) -> None:
    """A class or function has a docstring, not one that it inherits; an alias is described below it."""
    missing = []
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isroutine(value):
            described = bool(value.__dict__.get("__doc__") if inspect.isclass(value) else value.__doc__)
        else:
            described = name in aliases
        if not described:
            missing.append(name)
    assert missing == []


def test_type_checkers_see_every_public_name() -> None:
    """A name that is imported on demand is imported for type checkers, from the same module."""
    source = ast.parse(Path(cs.__file__ or "").read_text("utf-8"))
    checked = next(node for node in source.body if isinstance(node, ast.If))
    modules = [node for node in checked.body if isinstance(node, ast.ImportFrom)]
    assert {alias.name: node.module for node in modules for alias in node.names} == cs._MODULE_OF
    bound = [
        alias.asname or alias.name
        for node in (*source.body, *checked.body)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    assert set(cs.__all__) <= set(bound)
    assert len(bound) == len(set(bound))


def test_every_error_of_the_interfaces_can_be_imported_from_cascade() -> None:
    """A user catches what a run raises without knowing which distribution defines it."""
    interfaces = {
        name
        for name in vars(cascade.interfaces)["__all__"]
        if inspect.isclass(error := getattr(cascade.interfaces, name)) and issubclass(error, Exception)
    }
    assert interfaces <= set(cs.__all__)
    assert all(getattr(cs, name) is getattr(cascade.interfaces, name) for name in interfaces)
