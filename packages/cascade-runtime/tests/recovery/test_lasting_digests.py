# ruff: noqa: DTZ001 - naive times are among the values whose digests must last
"""Digests in the files of recorded runs: a run that another release of Cascade or Python recorded goes on.

A digest that changes makes each resume fail with "completed steps changed", although nobody changed anything.
"""

import array
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import importlib
import json
import logging
import operator
import re
import types
import typing
import uuid
import zoneinfo
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import pytest

from cascade.runtime._graph.recorded import RecordedGraph
from cascade.runtime._recovery.step_digests import StepDigests, inputs_digest
from cascade.runtime.cache._digest import Reference
from cascade.spec import Call, task


@task
def noted(value: Any, more: Any = None) -> Any:
    return value, more


def double(x: float) -> float:
    return 2 * x


class Colour(enum.Enum):
    RED = 1
    BLUE = "b"


class Level(enum.IntEnum):
    LOW = 3


class Planet(enum.Enum):
    EARTH = 1

    def __init__(self, place: int) -> None:
        self.mass = place + 0.5


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.5


@dataclasses.dataclass(slots=True)
class Slotted:
    x: float


class Pair(NamedTuple):
    x: float
    y: str


class Bag(dict[str, int]):
    pass


class Name(str):
    __slots__ = ("note",)


class Zone(dt.tzinfo):
    def __init__(self) -> None:
        self.minutes = 5

    def utcoffset(self, when: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(minutes=self.minutes)

    def dst(self, when: dt.datetime | None) -> None: ...

    def tzname(self, when: dt.datetime | None) -> str:
        return "five"


class Scaler:
    def __call__(self) -> None: ...


TEXT = typing.TypeVar("TEXT")

VALUES: dict[str, tuple[Any, str]] = {
    "None": (None, "cc6e8601d08bce15"),
    "ellipsis": (..., "696c1eaca4be90a4"),
    "not implemented": (NotImplemented, "64f7d880ab7a2899"),
    "bools": ([True, False], "954c9065a7c2d9d0"),
    "ints": ([0, 1, -1, 127, 128, -128, -129, 255, 256, 2**70, -(2**70)], "b2085aaf474b2ab2"),
    "floats": ([0.0, -0.0, 1.5, float("inf"), float("nan")], "07c065de6bdd9b4c"),
    "complex": (1.5 - 2j, "950f64eb7e5f4f44"),
    "texts": (["", "a", "é", "\udc80"], "51eec9c44d88b03c"),
    "bytes": (b"ab", "f52af9ed0bc5a18a"),
    "bytearray": (bytearray(b"ab"), "5455c4140ce26593"),
    "list": ([1, [2, "3"], []], "d52d30276f82d19d"),
    "tuple": ((1, (2, "3"), ()), "a2e63e9917d1aa8a"),
    "dict": ({"b": 1, 2: {"a": None}}, "5bcbdc1ead9d2da6"),
    "set": ({"a", 1, (2, 3)}, "eff4d268b0fbe02e"),
    "frozenset": (frozenset({"a", 1}), "9f9a559622967d73"),
    "deque": (collections.deque([1, 2], 5), "d90d61225ace3dda"),
    "Counter": (collections.Counter("aab"), "9ac181f4e79c2311"),
    "OrderedDict": (collections.OrderedDict(b=1, a=2), "558f9725d3380df1"),
    "defaultdict": (collections.defaultdict(list, a=[1]), "170fe9bc85721d3b"),
    "mapping proxy": (types.MappingProxyType({"a": 1}), "78d6cb1d69f341c0"),
    "array": (array.array("d", [1.5]), "ec8caf39b764ee3c"),
    "memory view": (memoryview(b"abcd").cast("c", (2, 2)), "68ac05e9d06b3bd2"),
    "range": (range(1, 9, 2), "bc4a9dc6bdc544e6"),
    "slice": (slice(1, None, 2), "771db574eb496070"),
    "pattern": (re.compile("a+", re.IGNORECASE), "fa04ed1254499123"),
    "date": (dt.date(2026, 11, 23), "b67a4f03d6704aed"),
    "naive instant": (dt.datetime(2026, 11, 23, 4, 5, 6, 7), "ebc4098425c28263"),
    "instant": (dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")), "a249dee627df0dbf"),
    "time": (dt.time(4, 5, tzinfo=dt.UTC), "61c9ebf8d6e6057d"),
    "time span": (dt.timedelta(1, 2, 3), "eebc395d7a218283"),
    "fixed zone": (dt.timezone(dt.timedelta(hours=1), "X"), "5e17f87a263dfc35"),
    "zone": (zoneinfo.ZoneInfo("Europe/Berlin"), "d11d548780d54167"),
    "own zone": (Zone(), "d0033b1fb2d99c1c"),
    "Decimal": (decimal.Decimal("1.50"), "f2334cd7ca7c81f5"),
    "Fraction": (fractions.Fraction(1, 3), "928cb37dab19e6a2"),
    "UUID": (uuid.UUID(int=7), "d53ce565dae63e46"),
    "enum member": (Colour.RED, "df6c051966227529"),
    "enum member with a text": (Colour.BLUE, "b6288859ea38fcc1"),
    "number of an enum": (Level.LOW, "60f76eee4b3b80f1"),
    "enum member with an attribute": (Planet.EARTH, "a397d53e6f90bfae"),
    "dataclass": (Point(1.5), "12eb0705a3f80bf7"),
    "dataclass with slots": (Slotted(1.5), "347b42df3ce8cd16"),
    "named tuple": (Pair(1.5, "a"), "93d1eae9857b3217"),
    "dict subclass": (Bag(a=1), "b91955b41f49770d"),
    "text subclass": (Name("a"), "81b5853671cb16a2"),
    "POSIX path": (PurePosixPath("a/b"), "431cc3f6f484fcbe"),
    "Windows path": (PureWindowsPath("a/b"), "71d61b828632be18"),
    "function": (double, "a3ad57b7e3c18379"),
    "task": (noted, "193703f3ff3533ef"),
    "task with fixed arguments": (noted.partial(more=3), "4572a695d204bf6b"),
    "partial function": (functools.partial(double, 1.5), "2b6246bdaba0b84b"),
    "cached function": (functools.lru_cache(double), "13f8b104fb1b68c3"),
    "bound method": (Bag(a=1).fromkeys, "8cd3f34320f7b327"),
    "built-in function": (len, "ac6c2dff1966f274"),
    "built-in method": ("a".join, "a2ed6b838be1b406"),
    "method of a class": (str.upper, "9e14bb541a3cbe38"),
    "class": (Point, "84e46ab8557120bb"),
    "built-in class": (int, "c3cb4c4ed0a2e86f"),
    "alias of a class": (list[int], "d7c49a4d0b740d4c"),
    "generic type": (typing.ClassVar[int], "6c84bbe7bbefd25d"),
    "type variable": (TEXT, "9d79f1b2a44dbefa"),
    "module": (json, "7eed86f02afcce99"),
    "item getter": (operator.itemgetter("a", 2), "e020e47a6d3832cc"),
    "attribute getter": (operator.attrgetter("a.b"), "a9f06d1ceb114fb4"),
    "method caller": (operator.methodcaller("f", 1, y=2), "3f2c0c4ef3de87e6"),
    "logger": (logging.getLogger("a.b"), "be6f8bb5a60d4f19"),
    "object that can be called": (Scaler(), "098188bc25cf12aa"),
    "object": (object(), "a4e5079d8fff1f48"),
    "call": (noted(1), "41bc498b15e19939"),
    "calls in a list": ([noted(1), {"a": noted(2)}], "2dc91839d2cf4a43"),
}  # fmt: skip


def key_of(call: Call) -> Reference:
    return Reference(f"{call.definition.name}:{call.args[0]}")


@pytest.mark.parametrize("name", VALUES)
def test_the_digest_of_an_argument_lasts(name: str) -> None:
    """For each kind of value: what identifies its type, its length and its content in the digest."""
    value, digest = VALUES[name]
    assert inputs_digest(noted._definition, (value,), {}, key_of).hex()[:16] == digest


def test_the_digest_of_an_array_lasts() -> None:
    """NumPy's arrays count with their type, shape, order and content."""
    numpy = pytest.importorskip("numpy")
    values = [numpy.array([[1, 2]], "<i4"), numpy.float64(1.5), numpy.array([1], "<i4")]
    assert inputs_digest(noted._definition, (values,), {}, key_of).hex()[:16] == "c99f9db5c5d617d9"


LIMIT = 3
FACTORS: dict[str, float] = {"EUR": 1.0}
started = double(1)


async def fetch(x: int, *more: int, key: str = "a", **rest: Any) -> list[Any]:
    """Do something; this text does not count."""
    total: float = x + LIMIT  # nor does this
    empty: int  # noqa: F842
    return [helper(total, FACTORS[key]), more, rest, started]


@functools.cache
def helper(x: float, factor: float) -> float:
    def inner(y: float) -> float:
        """Return something."""
        return y * factor

    return inner(further(x))


def further(x: float) -> float:
    return x - START


START = 7


class Job:
    def run(self, x: int) -> int:
        return x + LIMIT


CODE: dict[str, tuple[Any, str]] = {
    "function": (double, "4e67ec0eddc33550"),
    "function that uses a helper and constants": (fetch, "d68ec2ff3fe54889"),
    "decorated function": (helper, "45e20b58ae9bb527"),
    "method": (Job.run, "f9721c946160667d"),
    "function without a body": (Scaler.__call__, "1fd2eb458d428cce"),
    "function without a source": (len, ""),
}


@pytest.mark.parametrize("name", CODE)
def test_the_digest_of_a_function_lasts(name: str) -> None:
    """With what it names of its module; without comments, docstrings and annotations."""
    function, expected = CODE[name]
    assert StepDigests().code(function).hex()[:16] == expected


def test_a_file_that_changes_does_not_change_what_the_process_has_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service runs for weeks: its steps keep the digest of the code that runs, until it is started again."""
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "loaded_once.py"
    digests = []
    for text in ("def twice(x):\n    return 2 * x\n", "def twice(x):\n    return x + x\n"):
        file.write_text(text)
        module = importlib.import_module("loaded_once")
        digests.append(StepDigests().code(module.twice))
    assert digests[0] == digests[1] != b""
    module = importlib.reload(module)
    assert StepDigests().code(module.twice) != digests[0]


def test_the_digest_of_calls_that_a_step_returned_lasts() -> None:
    """That of each call in its order: a resume compares what a step returns again with what it had returned."""
    target = noted(noted(1), more=[noted(2)])
    assert StepDigests().returned(RecordedGraph(), target).hex() == "b87ab1ae101647934cfebfc2e306f506"
