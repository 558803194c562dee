"""What counts as the code of a task: its statements, and what they name of their module."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cascade.runtime._recovery.source_digests import SourceDigests
from cascade.runtime._recovery.step_digests import inputs_digest
from cascade.spec import call_of, task

Load = Callable[[str], ModuleType]

CHANGED: dict[str, tuple[str, str]] = {
    "a constant": (
        "LIMIT = 3\ndef step(x):\n    return x + LIMIT",
        "LIMIT = 4\ndef step(x):\n    return x + LIMIT",
    ),
    "a constant with an annotation": (
        "LIMIT: int = 3\ndef step(x):\n    return x + LIMIT",
        "LIMIT: int = 4\ndef step(x):\n    return x + LIMIT",
    ),
    "one of two names of a constant": (
        "A = B = [1, 2]\ndef step():\n    return B",
        "A = B = [1, 3]\ndef step():\n    return B",
    ),
    "which constant is named": (
        "A = 1\nB = 1\ndef step():\n    return A",
        "A = 1\nB = 1\ndef step():\n    return B",
    ),
    "a helper of a helper": (
        "def step():\n    return a()\ndef a():\n    return b()\ndef b():\n    return 1",
        "def step():\n    return a()\ndef a():\n    return b()\ndef b():\n    return 2",
    ),
    "a helper that names the task": (
        "def step(n):\n    return a(n)\ndef a(n):\n    return n and step(n - 1)",
        "def step(n):\n    return a(n)\ndef a(n):\n    return n and step(n - 2)",
    ),
    "an async helper": (
        "async def step():\n    return await a()\nasync def a():\n    return 1",
        "async def step():\n    return await a()\nasync def a():\n    return 2",
    ),
    "a text in place of a docstring": (
        "def step():\n    'Work.'\n    return 1",
        "def step():\n    'Work.'\n    return 'Work.'",
    ),
    "a default": ("def step(x=1):\n    return x", "def step(x=2):\n    return x"),
    "a parameter's kind": ("def step(x, y):\n    return x", "def step(x, *, y):\n    return x"),
    "an assignment": (
        "def step():\n    x: int = 1\n    return x",
        "def step():\n    x: int = 2\n    return x",
    ),
}
SAME: dict[str, tuple[str, str]] = {
    "a comment": ("def step():\n    return 1", "def step():\n    # soon\n    return 1"),
    "a docstring alone": ("def step():\n    'Work.'", "def step():\n    pass"),
    "a docstring of a helper": (
        "def step():\n    return a()\ndef a():\n    'Work.'\n    return 1",
        "def step():\n    return a()\ndef a():\n    return 1",
    ),
    "annotations of an async function": (
        "async def step(x: int, *more: str) -> int:\n    'Work.'\n    return x",
        "async def step(x, *more):\n    return x",
    ),
    "the annotation of a variable": (
        "def step():\n    x: int = 1\n    return x",
        "def step():\n    x = 1\n    return x",
    ),
    "the annotation of a constant": (
        "LIMIT: int = 3\ndef step(x):\n    return x + LIMIT",
        "LIMIT: 'Final[int]' = 3\ndef step(x):\n    return x + LIMIT",
    ),
    "a new annotation of a constant": (
        "LIMIT = 3\ndef step(x):\n    return x + LIMIT",
        "LIMIT: int = 3\ndef step(x):\n    return x + LIMIT",
    ),
    "a decorator": (
        "def step():\n    return 1",
        "def same(function):\n    return function\n@same\ndef step():\n    return 1",
    ),
    "what is not named": ("A = 1\ndef step():\n    return 1", "A = 2\ndef step():\n    return 1"),
    "the order of helpers": (
        "def step():\n    return a() + b()\ndef a():\n    return 1\ndef b():\n    return 2",
        "def b():\n    return 2\ndef a():\n    return 1\ndef step():\n    return a() + b()",
    ),
    "a constant that is computed": (
        "A = len('x')\ndef step():\n    return A",
        "A = len('xx')\ndef step():\n    return A",
    ),
}


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    """Import a source as a module of its own."""
    made: list[str] = []

    def load(source: str) -> ModuleType:
        name = f"source_{len(made)}_of_a_test"
        path = tmp_path / f"{name}.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        made.append(name)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in made:
        del sys.modules[name]


@pytest.mark.parametrize("name", CHANGED)
def test_a_change_of_what_code_does_is_noticed(name: str, load: Load) -> None:
    """In the function, or in what it names of its module, directly or not; each module is asked for its own."""
    before, after = (load(source).step for source in CHANGED[name])
    digests = SourceDigests()
    assert digests.of(before)
    assert digests.of(after)
    assert digests.of(before) != digests.of(after)


@pytest.mark.parametrize("name", SAME)
def test_a_change_of_what_code_looks_like_is_none(name: str, load: Load) -> None:
    """Nor is that of what the function does not name, or of what is known only when the module is imported."""
    before, after = (load(source).step for source in SAME[name])
    assert SourceDigests().of(before) == SourceDigests().of(after) != b""


def test_a_wrapped_function_counts_and_what_has_no_source_does_not(load: Load) -> None:
    """So a decorator that keeps ``__wrapped__`` is no change."""
    step = load("def step():\n    return 1").step

    @wraps(step)
    def wrapped() -> Any:
        return step()

    made: dict[str, Any] = {}
    exec("def made():\n    return 1", made)
    assert SourceDigests().of(wrapped) == SourceDigests().of(step)
    assert SourceDigests().of(len) == SourceDigests().of(made["made"]) == b""


@task
def take(value: Any) -> None: ...


def taken(value: Any) -> bytes:
    return inputs_digest(call_of(take(1)).definition, (value,), {}, lambda call: "key")


NAMED = """
import enum
from dataclasses import dataclass
class Case:
    def __call__(self):
        return 1
    def method(self):
        return 1
class Other(Case):
    def method(self):
        return 1
@dataclass
class Data:
    x: int = 1
class Color(enum.Enum):
    RED = 1
    BLUE = 2
def function():
    return 1
def another():
    return 1
"""


@pytest.mark.parametrize("name", ["Case", "Data", "Color", "function", "Case.method"])
def test_functions_and_classes_count_by_their_names_without_the_module(name: str, load: Load) -> None:
    """A script is ``__main__`` today and a module tomorrow; another name is another argument."""

    def found(module: ModuleType, name: str) -> Any:
        for part in name.split("."):
            module = getattr(module, part)
        return module

    here, there = load(NAMED), load(NAMED)
    other = {
        "Case": "Other",
        "Data": "Case",
        "Color": "Data",
        "function": "another",
        "Case.method": "Other.method",
    }
    assert taken(found(here, name)) == taken(found(there, name))
    assert taken(found(here, name)) != taken(found(there, other[name]))


def test_objects_count_by_their_class_and_content(load: Load) -> None:
    """Also where the class is that of another import of the same script."""
    here, there = load(NAMED), load(NAMED)
    assert taken(here.Data(1)) == taken(there.Data(1)) != taken(there.Data(2))
    assert taken([here.Color.RED]) == taken([there.Color.RED]) != taken([there.Color.BLUE])


class Refusing:
    def __reduce_ex__(self, protocol: Any) -> Any:
        raise RuntimeError("not now")


def test_a_value_without_a_digest_never_counts_as_changed() -> None:
    """One that has no content, or whose class refuses to show it."""
    digests = {taken(value) for value in ((x for x in ""), iter(()), Refusing(), [Refusing()])}
    assert len(digests) == 1
    assert taken(1) not in digests
