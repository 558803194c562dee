"""How declarations, resources and values are shown, and the names of calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from cascade.interfaces import (
    ConfigurationError,
)
from cascade.spec import (
    LazyResult,
    call_of,
    filled,
    inject,
    resource,
    sequence,
    short,
    task,
)


@task
def one(number: int = 1) -> int:
    return number


LAZY = one()
most: Any = task(max)


@resource
def db() -> Iterator[int]:
    yield 1


@resource(name="log", scope="task")
async def log_file(db: Any = inject(db), size: int = 3) -> AsyncIterator[int]:  # noqa: B008 - the usual form
    yield size


def test_resources_say_what_they_are() -> None:
    """In a traceback, or where a person prints one."""
    assert repr(db) == "<Resource db, one for each run>"
    assert repr(log_file) == "<Resource log, one for each task>"
    assert repr(inject("db")) == "inject('db')"
    assert repr(inject(log_file)) == "inject(log)"


def test_a_resource_knows_its_own_parameters() -> None:
    """Those into which another one is injected; a name of its own, a scope, and whether it is asynchronous."""
    assert (log_file.name, log_file.scope, log_file.is_async) == ("log", "task", True)
    assert log_file.injections == {"db": inject(db)}
    assert inject(db).resource is db
    assert (db.name, db.scope, db.is_async, db.injections) == ("db", "run", False, {})
    for wrong in ("", None, one):
        with pytest.raises(ConfigurationError, match="takes a resource or its name"):
            inject(cast("Any", wrong))


@dataclass
class Wide:
    a: int = 1
    hidden: int = field(default=2, repr=False)
    b: int = 3
    c: str = "x"
    d: int = 5


@dataclass
class Three:
    a: int = 1
    b: int = 2
    c: object = None


@dataclass(slots=True)
class Unset:
    a: int = field(init=False)


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Wide(), "Wide(a=1, b=3, c='x', ...)"),
        (Three(), "Three(a=1, b=2, c=None)"),
        (Three(c=Three(c=Three())), "Three(a=1, b=2, c=Three(a=1, b=2, c=…"),
        (Unset(), "<Unset>"),
        ("two\n lines", r"'two\n lines'"),
        ([1, [2, [3, [4]]]], "[1, [2, [...]]]"),
        ("x" * 54, repr("x" * 54)),
        (10**60, f"1{'0' * 25}...{'0' * 27}"),
    ],
)
def test_a_value_is_shown_on_one_short_line(value: object, text: str) -> None:
    """Of a dataclass the first three fields that it shows; of what cannot show itself, its class."""
    shown = short(value)
    if "…" in text:
        assert len(shown) == 60
        assert shown.endswith("…")
        assert shown.startswith("Three(a=1, b=2, c=Three(a=1, b=2, c=")
    else:
        assert shown == text
    assert short(Hostile()).startswith("<Hostile instance at 0x")


def test_a_class_is_shown_as_a_class() -> None:
    """Also one of a dataclass, whose fields are those of its instances."""
    for kind in (Wide, Unset, Hostile):
        assert short(kind).startswith("<class '")
    assert repr(one(cast("Any", Wide))).startswith("<LazyResult one(<class '")


@pytest.mark.parametrize(
    ("declared", "shown"),
    [
        (one(7), "one(7)"),
        (most(1, 2, 3, 4, 5, 6), "max(1, 2, 3, 4, 5, 6)"),
        (most(1, 2, 3, 4, 5, 6, 7), "max(1, 2, 3, 4, 5, 6, ...)"),
        (most([LAZY, one(2)], key=None), "max([one(), one(...)], key=None)"),
        (one(2).after(*[one()] * 7), f"one(2).after({', '.join(['one()'] * 6)}, ...)"),
        (one(2).with_constraints(gpu=LAZY, ram=0.5), "one(2).with_constraints(gpu=one(), ram=0.5)"),
        (one(2)[LAZY], "one(...)[one()]"),
        (sequence(one(), one(2)), "sequence([one(), one(...)])"),
    ],
)
def test_a_call_is_shown_as_it_is_written(declared: LazyResult[Any], shown: str) -> None:
    """Up to six arguments or predecessors, and without those of its lazy results."""
    assert repr(declared) == f"<LazyResult {shown}>"


@pytest.mark.parametrize(
    ("name", "label"),
    [("{number} of all", True), ("plain", False), ("half {", False), ("{{number}}", False), ("}{", False)],
)
def test_a_name_with_a_parameter_in_braces_is_a_label(name: str, label: bool) -> None:
    """Observers see the task's own name then; braces that name nothing are a part of the name."""
    settings = call_of(one(1).named(name)).settings
    expected = ("one", name) if label else (name, "")
    assert (settings.definition.name, settings.label) == expected


def test_a_label_names_only_parameters_of_its_task() -> None:
    """The message lists those that there are; a builtin without a signature takes any name as it is."""
    with pytest.raises(
        ConfigurationError, match=r"\{x\} is not a parameter of the task, which has number; write"
    ):
        one(1).named("{number} {x}")
    with pytest.raises(ConfigurationError, match=r"\{x\} is not a parameter of the task, which has none"):
        task(lambda: 1)().named("{x}")
    assert call_of(most(1, 2).named("{x}")).definition.name == "{x}"
    for wrong in ("", " ", 3):
        with pytest.raises(ConfigurationError, match="needs a text"):
            one(1).named(cast("Any", wrong))


@pytest.mark.parametrize(
    ("template", "arguments", "label"),
    [
        ("parse {path}", {"path": "a.csv"}, "parse a.csv"),
        ("parse {path} {size:>4}", {"path": "a.csv", "size": 3}, "parse a.csv    3"),
        ("parse {path}", {}, "parse {path}"),
        ("parse {path:d}", {"path": "a.csv"}, "parse {path:d}"),
        ("{{{path}}}", {"path": [1, 2]}, "{[1, 2]}"),
        ("{path}", {"path": "x" * 120}, "x" * 120),
        ("{path}", {"path": "x" * 121}, "x" * 119 + "…"),
        ("{path}", {"path": ["x" * 100]}, short(["x" * 100])),
    ],
)
def test_a_label_shows_texts_as_they_are_and_other_values_in_short(
    template: str, arguments: dict[str, Any], label: str
) -> None:
    """At most 120 characters; a template that the arguments do not fill stays as it is."""
    assert filled(template, arguments) == label
