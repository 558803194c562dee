"""A script that is edited between two attempts: what changed is refused by name, run again or kept, as the user says."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cascade.interfaces import RunChangedError, UnreadableResultError
from cascade.runtime import Engine, SqliteState

SCRIPT = """
from dataclasses import dataclass

from cascade.spec import task

LIMIT = 3
OTHER = 3
FIRST = SECOND = [0, 0]
SHIFT: int = 0
COMPUTED = len("x")
ran = []


@dataclass
class Found:
    number: int


def helper(x):
    'Help.'
    return x + LIMIT + sum(SECOND) + SHIFT + (COMPUTED - COMPUTED)


@task
async def fetch(number):
    ran.append(f"fetch {number}")
    return Found(number)


@task
async def clean(found, more=0):
    ran.append("clean")
    return helper(found.number) + more


@task(mode="inline")
def numbers():
    ran.append("numbers")
    return [1, 2]


@task(mode="inline")
def double(x):
    ran.append("double")
    return 2 * x


@task
async def load(values, doubled):
    ran.append("load")
    raise ValueError("not yet")
    return sum(values) + sum(doubled)


def target():
    return load([clean(fetch(number)) for number in (1, 2)], double.map(x=numbers()))
"""

REPAIR = ('    raise ValueError("not yet")\n', "")
CLEANED = ("clean:0 (code), clean:1 (code)", 9 + 6, ["clean", "clean", "load"])
# Name of the edit: what is replaced by what, the message, the value after on_change="rerun", and what runs then.
CHANGES: dict[str, tuple[tuple[str, str], str, int, list[str]]] = {
    "a function": (("helper(found.number) + more", "helper(found.number) + more + 10"), CLEANED[0], 35, CLEANED[2]),
    "a helper": (("return x + LIMIT", "return x + 1 + LIMIT"), CLEANED[0], 17, CLEANED[2]),
    "a constant of a helper": (("LIMIT = 3", "LIMIT = 4"), CLEANED[0], 17, CLEANED[2]),
    "which constant is named": (("x + LIMIT", "x + OTHER"), CLEANED[0], 15, CLEANED[2]),
    "one of two names of a constant": (("SECOND = [0, 0]", "SECOND = [0, 1]"), CLEANED[0], 17, CLEANED[2]),
    "a constant with an annotation": (("int = 0", "int = 1"), CLEANED[0], 17, CLEANED[2]),
    "a constant that is computed": (('len("x")', 'len("xx")'), CLEANED[0], 15, CLEANED[2]),
    "a decorator": (("def helper", "def same(function):\n    return function\n\n\n@same\ndef helper"), CLEANED[0], 15, CLEANED[2]),
    "a parameter's kind": (("found, more=0", "found, *, more=0"), CLEANED[0], 15, CLEANED[2]),
    "a default": (("more=0", "more=1"), CLEANED[0], 17, CLEANED[2]),
    "an argument": (("in (1, 2)]", "in (1, 5)]"), "fetch:1 (arguments)", 18, ["fetch 5", "clean", "load"]),
    "the order of calls": (
        ("in (1, 2)]", "in (2, 1)]"),
        "fetch:0 (arguments), fetch:1 (arguments)",
        15,
        ["fetch 2", "fetch 1", "clean", "clean", "load"],
    ),
    "one more argument": (("clean(fetch(number))", "clean(fetch(number), 1)"), "clean:0 (arguments), clean:1 (arguments)", 17, CLEANED[2]),
    "the name of a task": (("clean", "tidy"), "clean:0 (gone), clean:1 (gone)", 15, ["tidy", "tidy", "load"]),
    "a step less": (("in (1, 2)]", "in (1,)]"), "clean:1 (gone), fetch:1 (gone)", 10, ["load"]),
    "where a value comes from": (
        ("clean(fetch(number)) for number in (1, 2)]", "clean(fetch(2)), clean(fetch(2))]"),
        "fetch:0 (arguments)",
        16,
        ["fetch 2", "clean", "load"],
    ),
    "the items' task": (("2 * x", "3 * x"), "double:0[0] (code), double:0[1] (code)", 18, ["double", "double", "load"]),
    "the items": (("return [1, 2]", "return [1, 2, 3]"), "numbers:0 (code)", 21, ["numbers", *3 * ["double"], "load"]),
    "a class of a result": (("Found", "Finding"), "fetch:0 (code), fetch:1 (code)", 15, ["fetch 1", "fetch 2", "clean", "clean", "load"]),
}  # fmt: skip
HARMLESS: dict[str, tuple[str, str]] = {
    "the step that failed": ("values) +", "values) + 0 +"),
    "a comment and a docstring": (
        '    ran.append("clean")',
        '    """Clean."""\n    # quickly\n    ran.append("clean")',
    ),
    "a docstring of a helper": ("    'Help.'\n", ""),
    "the annotation of a constant": ("SHIFT: int = 0", "SHIFT: float = 0"),
    "a new annotation of a constant": ("LIMIT = 3", "LIMIT: int = 3"),
    "an annotation": ("def clean(found, more=0):", "def clean(found: Found, more: int = 0) -> int:"),
    "a policy": ("@task\nasync def clean", "@task(name='clean')\nasync def clean"),
    "a function that no step uses": ("def helper", "def unused():\n    return 1\n\n\ndef helper"),
    "line breaks": ("return 2 * x", "return (\n        2\n        * x\n    )"),
}


class Script:
    """A script in its present version, and one recorded run of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.version = 0
        self.source = SCRIPT
        self.module: Any = None

    def edit(self, *edits: tuple[str, str]) -> None:
        for old, new in edits:
            assert old in self.source
            self.source = self.source.replace(old, new)

    async def run(self, **settings: Any) -> Any:
        """Import the present version, as a new process does, and run it."""
        self.version += 1
        path = self.folder / str(self.version) / "night_script.py"
        path.parent.mkdir()
        path.write_text(self.source)
        spec = importlib.util.spec_from_file_location("night_script", path)
        assert spec is not None
        assert spec.loader is not None
        self.module = sys.modules["night_script"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.module)
        engine = Engine(state_backend=SqliteState(self.folder / "runs", power_safe=False))
        return await engine.run(self.module.target(), run_id="night", **settings)

    @property
    def ran(self) -> list[str]:
        return sorted(self.module.ran)


@pytest.fixture
async def script(tmp_path: Path) -> Script:
    """A run whose last step has failed."""
    script = Script(tmp_path)
    with pytest.raises(ValueError, match="not yet"):
        await script.run()
    return script


@pytest.fixture(autouse=True)
def _modules() -> Iterator[None]:
    yield
    sys.modules.pop("night_script", ModuleType("none"))


@pytest.mark.parametrize("name", CHANGES)
async def test_a_changed_step_is_refused_by_name_and_runs_again_on_request(name: str, script: Script) -> None:
    """Before anything runs; with "rerun", with all that take its value."""
    edit, message, value, ran = CHANGES[name]
    script.edit(edit, REPAIR)
    with pytest.raises(RunChangedError) as refused:
        await script.run()
    assert message in str(refused.value)
    assert "fix: on_change='rerun' runs them again with all that take their values, on_change='keep'" in str(
        refused.value
    )
    assert script.ran == []
    assert await script.run(on_change="rerun") == value
    assert script.ran == sorted(ran)
    assert await script.run() == value
    assert script.ran == []


@pytest.mark.parametrize("name", HARMLESS)
async def test_an_edit_that_changes_no_completed_step_is_none(name: str, script: Script) -> None:
    """The run goes on with the step that failed."""
    script.edit(HARMLESS[name], REPAIR)
    assert await script.run() == 15
    assert script.ran == ["load"]


async def test_a_new_step_runs_beside_the_recorded_ones(script: Script) -> None:
    """What was not declared before is not a change of what was done."""
    script.edit(("in (1, 2)]", "in (1, 2, 3)]"), REPAIR)
    assert await script.run() == 21
    assert script.ran == ["clean", "fetch 3", "load"]


@pytest.mark.parametrize("name", ["a function", "an argument", "the items' task"])
async def test_keep_takes_the_recorded_results(name: str, script: Script) -> None:
    """They count by key."""
    script.edit(CHANGES[name][0], REPAIR)
    assert await script.run(on_change="keep") == 15
    assert script.ran == ["load"]


async def test_a_value_whose_class_is_gone_is_named(tmp_path: Path, unhurried: None) -> None:
    """The step has not changed, but its value is needed and cannot be read."""
    script = Script(tmp_path)
    script.edit(REPAIR, ("    return helper", "    raise ValueError(7)\n    return helper"))
    with pytest.raises(ValueError, match="7"):
        await script.run()
    script.edit(("    raise ValueError(7)\n", ""))
    script.edit(
        ("class Found:", "class Finding:"), ("def helper", "Found = lambda n: Finding(n)\n\n\ndef helper")
    )
    for rule in ("refuse", "keep"):
        with pytest.raises((RunChangedError, UnreadableResultError), match="fetch:0"):
            await script.run(on_change=rule)
        assert script.ran == []
    assert await script.run(on_change="rerun") == 15
    assert script.ran == ["clean", "clean", "fetch 1", "fetch 2", "load"]
