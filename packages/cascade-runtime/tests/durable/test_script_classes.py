"""Recorded values of classes that the script itself defines: ``__main__`` in one process, imported in another."""

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from cascade.runtime._storage.codec import decode, encode
from cascade.runtime._storage.tagged import lasting_name, present_name

SCRIPT = """
import dataclasses, enum

class Colour(enum.Enum):
    RED = 1

@dataclasses.dataclass
class Page:
    number: int

class Plain:
    pass
"""


def script_as(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Load the script as a process has it; the other name is unknown there."""
    monkeypatch.delitem(sys.modules, "night", raising=False)
    module = ModuleType(name)
    module.__file__ = "/jobs/night.py"
    monkeypatch.setitem(sys.modules, name, module)
    exec(SCRIPT, module.__dict__)
    return module


def as_another_program(monkeypatch: pytest.MonkeyPatch) -> None:
    main = ModuleType("__main__")
    main.__file__ = "/usr/bin/cascade"
    monkeypatch.setitem(sys.modules, "__main__", main)


@pytest.mark.parametrize("before", ["__main__", "night"])
@pytest.mark.parametrize("now", ["__main__", "night"])
@pytest.mark.parametrize("kind", ["Page", "Colour", "Plain"])
def test_a_class_of_the_script_is_found_under_its_name_of_today(
    before: str, now: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recorded by ``python night.py``, read by ``cascade run night.py``, and the other way round."""
    as_another_program(monkeypatch)
    script = script_as(before, monkeypatch)
    make = {"Page": lambda module: module.Page(3), "Colour": lambda module: module.Colour.RED}
    value = make.get(kind, lambda module: module.Plain())(script)
    encoding, payload = encode(value, tagged=True)
    as_another_program(monkeypatch)
    script = script_as(now, monkeypatch)
    found = decode(encoding, payload)
    assert type(found) is getattr(script, kind)
    assert kind == "Plain" or found == make[kind](script)


@pytest.mark.parametrize("other", ["report", "jobs"])
@pytest.mark.parametrize("kind", ["Page", "Colour", "Plain"])
def test_a_class_of_the_script_is_found_beside_a_module_of_its_name(
    other: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``report.py`` beside an installed ``report``, and ``python -m jobs`` beside the package: each has its own classes."""
    main, module = ModuleType("__main__"), ModuleType(other)
    main.__file__ = "/jobs/__main__.py" if other == "jobs" else "/mine/report.py"
    main.__spec__ = ModuleSpec("jobs.__main__", None) if other == "jobs" else None
    for each in (main, module):
        exec(SCRIPT, each.__dict__)
        monkeypatch.setitem(sys.modules, each.__name__, each)
        value = getattr(each, kind)
        value = value.RED if kind == "Colour" else value(3) if kind == "Page" else value()
        assert type(decode(*encode(value, tagged=True))) is getattr(each, kind)
    value = main.Colour.RED
    assert decode(*encode(value, tagged=True)) is value


@pytest.mark.parametrize("package", [True, False], ids=["package", "folder"])
def test_a_script_is_found_by_the_names_of_its_file(
    package: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``python jobs/night.py`` and ``python -m jobs.night``, also where ``jobs`` is not a package; not a module that is imported."""
    (tmp_path / "jobs").mkdir()
    if package:
        (tmp_path / "jobs" / "__init__.py").touch()
    main = ModuleType("__main__")
    main.__file__ = str(tmp_path / "jobs" / "night.py")
    monkeypatch.setitem(sys.modules, "__main__", main)
    by_file = lasting_name("__main__")
    assert by_file == ("jobs.night" if package else "night")
    main.__spec__ = ModuleSpec("jobs.night", None)
    assert lasting_name("__main__") == "jobs.night"
    main.__spec__ = ModuleSpec("__main__", None)
    assert lasting_name("__main__") == by_file
    assert present_name("night") == present_name("jobs.night") == "__main__"
    assert present_name("day") == "day"
    assert present_name("more.jobs.night") == "more.jobs.night"
    for name in ("night", "jobs.night"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
        assert present_name(name) == ("__main__" if name == by_file else name)
        assert present_name(name, is_script=True) == "__main__"


def test_a_main_module_without_a_file_has_no_other_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an interactive session; that of ``python -m jobs.night`` or ``python -m jobs`` is the module's."""
    main = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert lasting_name("__main__") == "__main__"
    for name, module in (("jobs.night", "jobs.night"), ("jobs.__main__", "jobs.__main__")):
        main.__spec__ = ModuleSpec(name, None)
        assert lasting_name("__main__") == module
    assert lasting_name("cascade") == "cascade"
