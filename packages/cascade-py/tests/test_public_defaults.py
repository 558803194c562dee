"""The defaults of everything public: a change of one changes each program that does not pass it."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from public_modules import MODULES

import cascade as cs

STATED = Path(__file__).with_name("public_defaults.txt")


def functions(value: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield a public function, or the constructor and the public methods of a class, each with how it is called."""
    if not inspect.isclass(value) or not issubclass(value, Exception) or "__init__" in vars(value):
        yield "", value
    if not inspect.isclass(value):
        return
    for name in dir(value):
        method = inspect.getattr_static(value, name)
        method = getattr(method, "__func__", method)  # of a class method or a static one
        if not name.startswith("_") and inspect.isfunction(method):
            yield f".{name}", method


def public_values() -> Iterator[tuple[str, Any]]:
    """Yield every public class and function of Cascade, once, with its first name."""
    seen = set()
    for module in MODULES:
        public = importlib.import_module(module)
        for name in public.__all__:
            value = getattr(public, name)
            called = inspect.isfunction(value) or (inspect.isclass(value) and not issubclass(value, Enum))
            if called and value.__module__.startswith("cascade") and value not in seen:
                seen.add(value)
                yield f"{module}.{name}", value


def defaults() -> Iterator[str]:
    """Yield each function with its defaults; an object without a text of its own cannot be stated."""
    for name, value in public_values():
        for suffix, function in functions(value):
            stated = [
                f"{parameter.name}={parameter.default!r}"
                for parameter in inspect.signature(function).parameters.values()
                if parameter.default is not parameter.empty and " at 0x" not in repr(parameter.default)
            ]
            if stated:
                yield f"{name}{suffix}({', '.join(sorted(stated))})"


def test_every_default_is_the_one_that_is_stated() -> None:
    """``public_defaults.txt`` has a line for each function. Change that line with a default, and describe the change in the changelog."""
    stated = STATED.read_text("utf-8").splitlines()
    assert sorted(defaults()) == stated
    assert len(stated) > 100


def test_a_run_takes_the_defaults_of_the_engine() -> None:
    """They are stated twice, because the import of the engine is slow; ``help(cs.run)`` shows those that count."""
    of_engine = inspect.signature(cs.Engine).parameters | inspect.signature(cs.Engine.run).parameters
    of_run = inspect.signature(cs.run).parameters
    assert inspect.signature(cs.arun).parameters == of_run
    assert {name: each.default for name, each in of_run.items() if name in of_engine} == {
        name: each.default for name, each in of_engine.items() if name in of_run
    }
    assert {*of_run} - {*of_engine} == {"cache", "state"}
