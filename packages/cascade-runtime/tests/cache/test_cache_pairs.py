"""Pairs of calls that differ in one thing must never share a key; pairs that are the same must share one."""

# mypy: disable-error-code="abstract, arg-type, call-arg, misc, name-defined, no-any-return, unused-ignore"
# The pairs are odd on purpose: what they are made of need not be what a type checker accepts.

import array as arrays
import collections
import dataclasses
import datetime as dt
import enum
import fractions
import functools
import importlib
import importlib.util
import logging
import operator
import os
import re
import subprocess
import sys
import textwrap
import types
import uuid
import zoneinfo
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Final, TypeVar

import pytest

from cascade.interfaces import UncacheableArgumentError
from cascade.runtime.cache import cache_key
from cascade.spec import Task, task
from cascade.spec.caching import CachePolicy

Pair = tuple[str, Any, Any]


def library(name: str) -> Any:
    """Return an optional library; skip this module without it, but fail where CI runs."""
    return importlib.import_module(name) if os.environ.get("CI") else pytest.importorskip(name)


np, pd, pydantic = library("numpy"), library("pandas"), library("pydantic")


def key_of(declared: Task[..., Any], *args: object, policy: CachePolicy | None = None) -> str:
    return cache_key(policy or CachePolicy(), declared._definition, args, {})


@task
def echo(value: object) -> object:
    return value


def capturing(value: object) -> Task[..., Any]:
    """Return a task whose function captures a value."""

    @task
    def f(x: object) -> object:
        return value, x

    return f


def from_source(source: str, *, module: str = "shop") -> Task[..., Any]:
    """Return the task ``f`` of a module with this source."""
    space: dict[str, Any] = {"__name__": module, "task": task}
    exec(textwrap.dedent(source), space)
    found: Task[..., Any] = space["f"]
    return found


def ids(pairs: list[Any]) -> list[str]:
    return [pair[0] for pair in pairs]


# Values: each pair is tried as an argument and as a captured variable.


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0


class Marked(Point):
    """A plain subclass: no field, but an attribute."""

    def __init__(self, x: float, mark: str) -> None:
        super().__init__(x)
        self.mark = mark


@dataclasses.dataclass
class Scaled:
    x: dataclasses.InitVar[float]
    unit: str = "m"

    def __post_init__(self, x: float) -> None:
        self.total = x * 2


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    x: float


class SlottedMarked(Slotted):
    __slots__ = ("mark",)

    def __init__(self, x: float, mark: str) -> None:
        super().__init__(x)
        object.__setattr__(self, "mark", mark)


@dataclasses.dataclass
class Listed(list[int]):
    name: str = ""


def with_attributes(value: Any, **attributes: object) -> Any:
    for name, item in attributes.items():
        setattr(value, name, item)
    return value


class SlottedList(list[int]):
    __slots__ = ("_note", "unit")


class PrivateSlots(dict[str, int]):
    __slots__ = ("__note",)

    def __init__(self, note: str) -> None:
        super().__init__(a=1)
        self.__note = note


class NamedInt(int):
    name = ""


class Ordered(collections.OrderedDict[str, int]):
    pass


class Defaults(collections.defaultdict[str, Any]):
    pass


class Zone(dt.tzinfo):
    def __init__(self, minutes: int) -> None:
        self.minutes = minutes

    def utcoffset(self, when: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(minutes=self.minutes)

    def __str__(self) -> str:
        return "zone"


class SlottedZone(Zone):
    __slots__ = ("city",)


class OtherZone(zoneinfo.ZoneInfo):
    pass


class Weighed(enum.Enum):
    ONE = 1


def weighed(weight: int) -> Any:
    """Return a member of an enum that is declared with another attribute each time."""
    made = enum.Enum("Weighed", {"ONE": 1})
    made.__module__, made.__qualname__ = "elsewhere", "Weighed"
    made.ONE.weight = weight  # type: ignore[attr-defined]
    return made.ONE  # type: ignore[attr-defined]


class Bag(dict[str, int]):
    pass


class Folder(PurePosixPath):
    __slots__ = ("owner",)


def local_point(factor: int) -> Any:
    @dataclasses.dataclass
    class Local:
        x: int = 1

        def scaled(self) -> int:
            return self.x * factor

    return Local()


def local_class(factor: int) -> type:
    class Local:
        def scaled(self) -> int:
            return factor

    return Local


def class_with(**attributes: object) -> type:
    return type("Made", (), {"__module__": "shop", **attributes})


def adder(n: int) -> Callable[[int], int]:
    return lambda x: x + n


def linked(*, to_itself: bool) -> Callable[[int], Any]:
    """Return a function that calls a function of the same code, which calls itself or the first one."""

    def make() -> tuple[Callable[[int], Any], Callable[[Any], None]]:
        other: Any = None

        def call(x: int) -> object:
            return other(x)

        def link(function: Any) -> None:
            nonlocal other
            other = function

        return call, link

    (one, link_one), (two, link_two) = make(), make()
    link_one(two)
    link_two(two if to_itself else one)
    return one


def add(x: int, y: int) -> int:
    return x + y


@task
def power(x: int, exponent: int = 1) -> int:
    return x**exponent


def frame(**columns: object) -> Any:
    return pd.DataFrame(columns)


def array(*items: object, dtype: object = None, **options: Any) -> Any:
    return np.array(items, dtype=dtype, **options)


def texts(*items: str) -> Any:
    """Return an array of texts that it keeps outside its own memory; NumPy 1 has only objects for that."""
    return np.array(items, dtype=getattr(np.dtypes, "StringDType", lambda: object)())


OVERLAPPING: Any = {"names": ["a", "b"], "formats": ["<i4", "<i4"], "offsets": [0, 2], "itemsize": 8}
APART: Any = {"names": ["a", "b"], "formats": ["<i4", "<i4"], "offsets": [0, 4], "itemsize": 8}


def padded(byte: int) -> Any:
    """Return zeros between bytes that belong to no field."""
    made = np.frombuffer(bytearray([byte] * 32), np.dtype("i1,i8", align=True))
    made["f0"] = made["f1"] = 0
    return made


class TaggedArray(np.ndarray):  # type: ignore[misc]
    tag = ""


class Order(pydantic.BaseModel):  # type: ignore[misc]
    model_config = pydantic.ConfigDict(extra="allow")
    item: str
    count: int = 1
    _note: str = pydantic.PrivateAttr(default="")


class OtherOrder(pydantic.BaseModel):  # type: ignore[misc]
    item: str
    count: int = 1


@pydantic.dataclasses.dataclass
class Box:
    size: int


def noted(order: Any, note: str) -> Any:
    order._note = note
    return order


days = functools.partial(pd.date_range, "2026-01-01")


def in_zone(hours: int) -> Any:
    """Return times in a zone that is always printed as X."""
    return pd.to_datetime([0], utc=True).tz_convert(dt.timezone(dt.timedelta(hours=hours), "X"))


def levelled(first: list[int], code: int) -> Any:
    """Return an index of one row and two levels."""
    return pd.MultiIndex(levels=[first, [1, 2]], codes=[[code], [0]])


DIFFERENT_VALUES: list[Pair] = [
    ("dataclass field", Point(1), Point(2)),
    ("dataclass type of field", Point(1), Point(True)),
    ("subclass of a dataclass with an attribute", Marked(1, "a"), Marked(1, "b")),
    ("subclass of a dataclass and the dataclass", Marked(1, "a"), Point(1)),
    ("dataclass with a further attribute", Scaled(1), Scaled(2)),
    ("dataclass with an attribute set later", with_attributes(Point(1), z=1), with_attributes(Point(1), z=2)),
    ("dataclass without and with a further attribute", Point(1), with_attributes(Point(1), z=1)),
    ("class with slots", class_with(__slots__=("a",)), class_with(__slots__=("a", "b"))),
    ("dataclass with slots", Slotted(1), Slotted(2)),
    ("subclass with slots of a dataclass", SlottedMarked(1, "a"), SlottedMarked(1, "b")),
    ("dataclass that is a list, items", Listed(), with_attributes(Listed(), name="b")),
    ("dataclass of a function", local_point(1), local_point(2)),
    ("list subclass with slots", with_attributes(SlottedList(), _note=1), with_attributes(SlottedList(), _note=2)),
    ("slot that is not set", SlottedList(), with_attributes(SlottedList(), unit=None)),
    ("which slot is set", with_attributes(SlottedList(), _note=1), with_attributes(SlottedList(), unit=1)),
    ("private slot of a dict subclass", PrivateSlots("a"), PrivateSlots("b")),
    ("int subclass with an attribute", with_attributes(NamedInt(1), name="a"), with_attributes(NamedInt(1), name="b")),
    ("OrderedDict subclass, order", Ordered(a=1, b=2), Ordered(b=2, a=1)),
    ("defaultdict subclass, factory", Defaults(int), Defaults(list)),
    ("order of a dict", {"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ("order of an inner dict", [{"a": 1, "b": 2}], [{"b": 2, "a": 1}]),
    ("order of a defaultdict", collections.defaultdict(int, a=1, b=2), collections.defaultdict(int, b=2, a=1)),
    ("order of a Counter", collections.Counter("ab"), collections.Counter("ba")),
    ("order of a mapping proxy", types.MappingProxyType({1: 1, 2: 2}), types.MappingProxyType({2: 2, 1: 1})),
    ("own time zone", dt.datetime(2026, 1, 1, tzinfo=Zone(60)), dt.datetime(2026, 1, 1, tzinfo=Zone(90))),
    ("own time zone of a time", dt.time(1, tzinfo=Zone(60)), dt.time(1, tzinfo=Zone(90))),
    ("own time zone alone", Zone(60), Zone(90)),
    ("own time zone with slots", with_attributes(SlottedZone(1), city="a"), with_attributes(SlottedZone(1), city="b")),
    ("subclass of ZoneInfo", OtherZone.no_cache("Europe/Berlin"), OtherZone.no_cache("Europe/Paris")),
    ("time zones with one name", dt.timezone(dt.timedelta(0), "X"), dt.timezone(dt.timedelta(hours=1), "X")),
    ("attribute of an enum member", weighed(1), weighed(2)),
    ("path subclass with an attribute", with_attributes(Folder("a"), owner="a"), with_attributes(Folder("a"), owner="b")),
    ("range", range(3), range(4)),
    ("Fraction", fractions.Fraction(1, 2), fractions.Fraction(1, 3)),
    ("partial task", power.partial(exponent=2), power.partial(exponent=3)),
    ("task and partial task", power, power.partial(exponent=1)),
    ("partial task with another parameter", power.partial(exponent=2), power.partial(x=2)),
    ("closure", adder(2), adder(3)),
    ("functions that call each other", linked(to_itself=True), linked(to_itself=False)),
    ("partial function", functools.partial(add, 1), functools.partial(add, 2)),
    ("keyword of a partial function", functools.partial(add, x=1), functools.partial(add, y=1)),
    ("partial function of closures", functools.partial(adder(1)), functools.partial(adder(2))),
    ("partial function with attributes", functools.partial(add), with_attributes(functools.partial(add), n=1)),
    ("cached closures", functools.lru_cache(adder(1)), functools.lru_cache(adder(2))),
    ("start of a range", range(1, 3), range(3)),
    ("step of a range", range(0, 3, 1), range(0, 3, 2)),
    ("start of a slice", slice(1, 3), slice(0, 3)),
    ("end of a slice", slice(1, 3), slice(1, 4)),
    ("step of a slice", slice(1, 3), slice(1, 3, 2)),
    ("real part", 1 + 2j, 2 + 2j),
    ("imaginary part", 1 + 2j, 1 + 3j),
    ("capacity of a deque", collections.deque([1], 2), collections.deque([1], 3)),
    ("items of a deque", collections.deque([1]), collections.deque([2])),
    ("items of a defaultdict", collections.defaultdict(int, a=1), collections.defaultdict(int, a=2)),
    ("items of a Counter", collections.Counter(a=1), collections.Counter(a=2)),
    ("items of a dict subclass", Bag(a=1), Bag(a=2)),
    ("type code of an array", arrays.array("i", [1]), arrays.array("I", [1])),
    ("items of an array", arrays.array("i", [1]), arrays.array("i", [2])),
    ("format of a memory view", memoryview(b"ab"), memoryview(b"ab").cast("c")),
    ("shape of a memory view", memoryview(b"abcd").cast("c", (2, 2)), memoryview(b"abcd").cast("c", (4, 1))),
    ("content of a memory view", memoryview(b"ab"), memoryview(b"ac")),
    ("bytearray", bytearray(b"a"), bytearray(b"b")),
    ("date", dt.date(2026, 1, 1), dt.date(2026, 1, 2)),
    ("time", dt.time(1), dt.time(2)),
    ("fold of a time", dt.time(1), dt.time(1, fold=1)),
    ("fixed time zone", dt.timezone(dt.timedelta(hours=1)), dt.timezone(dt.timedelta(hours=2))),
    ("UUID", uuid.UUID(int=1), uuid.UUID(int=2)),
    ("safety of a UUID", uuid.UUID(int=1), uuid.UUID(int=1, is_safe=uuid.SafeUUID.safe)),
    ("regular expression", re.compile("a"), re.compile("b")),
    ("item getter", operator.itemgetter("a"), operator.itemgetter("b")),
    ("argument of a method caller", operator.methodcaller("f", 1), operator.methodcaller("f", 2)),
    ("logger", logging.getLogger("a"), logging.getLogger("b")),
    ("type variable", TypeVar("T"), TypeVar("U")),
    ("argument of a generic type", ClassVar[local_class(1)], ClassVar[local_class(2)]),
    ("generic type", ClassVar[int], Final[int]),
    ("members of a union", int | str, int | float),
    ("origin of an alias", list[int], set[int]),
    ("object of a bound method", Point(1).__eq__, Point(2).__eq__),
    ("function of a bound method", Point(1).__eq__, Point(1).__repr__),
    ("object of a built-in method", [1].append, [2].append),
    ("function of a partial function", functools.partial(pow, 1), functools.partial(divmod, 1)),
    ("int subclass", NamedInt(1), NamedInt(2)),
    ("path subclass", Folder("a"), Folder("b")),
    ("class of a function", local_class(1), local_class(2)),
    ("class attribute", class_with(rate=1), class_with(rate=2)),
    ("class method", class_with(f=lambda self: 1), class_with(f=lambda self: 2)),
    ("static method", class_with(f=staticmethod(add)), class_with(f=classmethod(add))),
    ("property", class_with(f=property(lambda self: 1)), class_with(f=property(lambda self: 2))),
    ("alias of a type", list[int], list[str]),
    ("function attribute", with_attributes(adder(1), rate=1), with_attributes(adder(1), rate=2)),
    # NumPy
    ("array items", array(1, 2), array(1, 3)),
    ("array dtype", array(1, 2, dtype="i4"), array(1, 2, dtype="i8")),
    ("array byte order", array(1, dtype="<i4"), array(1, dtype=">i4")),
    ("array shape", np.zeros((2, 3)), np.zeros((3, 2))),
    ("array memory order", np.zeros((2, 3), order="C"), np.zeros((2, 3), order="F")),
    ("array transposed inside", np.zeros((2, 3, 4)), np.zeros((2, 4, 3)).transpose(0, 2, 1)),
    ("array and array of records", np.ones(2, "i4,i4"), np.ones(2, "i4,i4").view(np.recarray)),
    ("array subclass with an attribute",
     with_attributes(np.zeros(2).view(TaggedArray), tag="a"), with_attributes(np.zeros(2).view(TaggedArray), tag="b")),
    ("overlapping fields", np.zeros(2, OVERLAPPING), np.zeros(2, APART)),
    ("values of overlapping fields", np.zeros(2, OVERLAPPING), np.ones(2, OVERLAPPING)),
    ("names of fields", np.zeros(2, "i4,i4"), np.zeros(2, [("a", "i4"), ("b", "i4")])),
    ("order of fields", np.zeros(1, [("a", "i4"), ("b", "i4")]), np.zeros(1, [("b", "i4"), ("a", "i4")])),
    ("field of a structured array", np.zeros(1, "i4,i8"), np.ones(1, "i4,i8")),
    ("alignment of fields", np.dtype("i1,i8"), np.dtype("i1,i8", align=True)),
    ("titles of fields", np.dtype([(("x", "a"), "i4")]), np.dtype([(("y", "a"), "i4")])),
    ("dtype of an inner array", np.dtype("(2,)i4"), np.dtype("(3,)i4")),
    ("dtype with metadata", np.dtype("i4", metadata={"a": 1}), np.dtype("i4", metadata={"a": 2})),
    ("object array", array(1, "a", dtype=object), array(1, "b", dtype=object)),
    ("object array and its dtype", array(1, 2, dtype=object), array(1, 2)),
    ("datetime array unit", array(0, dtype="M8[s]"), array(0, dtype="M8[ms]")),
    ("NumPy scalar", np.float64(1), np.float64(2)),
    ("NumPy scalar and float", np.float64(1), 1.0),
    ("NumPy scalar dtype", np.float32(1), np.float64(1)),
    ("structured scalar", np.zeros(1, "i4,i4")[0], np.ones(1, "i4,i4")[0]),
    ("long double", np.longdouble("1.1"), np.longdouble("1.2")),
    ("texts of any length", texts("a" * 40), texts("b" * 40)),
    ("NumPy function", np.mean, np.median),
    ("type of items", np.dtype("i4"), np.dtype("f4")),
    ("type of a field", np.dtype([("a", "i4")]), np.dtype([("a", "f4")])),
    ("class of a record", np.dtype("i4,i4"), np.dtype((np.record, "i4,i4"))),
    ("bytes of a record", np.dtype({"names": ["a"], "formats": ["i4"], "itemsize": 8}), np.dtype([("a", "i4")])),
    ("type of items of an inner array", np.dtype("(2,)i4"), np.dtype("(2,)f4")),
    ("ufunc", np.add, np.subtract),
    # pandas
    ("frame value", frame(a=[1, 2]), frame(a=[1, 3])),
    ("frame column name", frame(a=[1]), frame(b=[1])),
    ("frame column order", frame(a=[1], b=[1])[["a", "b"]], frame(a=[1], b=[1])[["b", "a"]]),
    ("frame dtype", frame(a=[1]), frame(a=[1.0])),
    ("frame object column", frame(a=["x", 1]), frame(a=["x", 2])),
    ("frame missing value", frame(a=pd.array([1, None])), frame(a=pd.array([1, 2]))),
    ("frame index", frame(a=[1, 2]), frame(a=[1, 2]).set_axis([1, 0])),
    ("frame index name", frame(a=[1]), frame(a=[1]).rename_axis("n")),
    ("frame attributes", frame(a=[1]), with_attributes(frame(a=[1]), attrs={"unit": "m"})),
    ("series name", pd.Series([1], name="a"), pd.Series([1], name="b")),
    ("series value", pd.Series(["a"]), pd.Series(["b"])),
    ("categories", pd.Series(["a"], dtype="category"), pd.Series(pd.Categorical(["a"], categories=["a", "b"]))),
    ("order of categories", pd.Categorical(["a"], ["a"]), pd.Categorical(["a"], ["a"], ordered=True)),
    ("range index", pd.RangeIndex(3), pd.RangeIndex(4)),
    ("range index and index", pd.RangeIndex(2), pd.Index([0, 1])),
    ("index of two levels", pd.MultiIndex.from_tuples([(1, 2)]), pd.MultiIndex.from_tuples([(1, 3)])),
    ("names of levels", pd.MultiIndex.from_tuples([(1, 2)]), pd.MultiIndex.from_tuples([(1, 2)], names=["a", "b"])),
    ("time zone of an index", days(periods=2, tz="UTC"), days(periods=2, tz="Europe/Berlin")),
    ("frequency of an index", days(periods=1, freq="D"), days(periods=1, freq="h")),
    ("timestamp nanosecond", pd.Timestamp(1), pd.Timestamp(2)),
    ("timestamp zone", pd.Timestamp("2026-01-01", tz="UTC"), pd.Timestamp("2026-01-01")),
    ("timedelta", pd.Timedelta(1), pd.Timedelta(2)),
    ("period", pd.Period("2026-01", "M"), pd.Period("2026-01", "D")),
    ("interval", pd.Interval(0, 1, "left"), pd.Interval(0, 1, "right")),
    ("intervals", pd.arrays.IntervalArray.from_breaks([0, 1]), pd.arrays.IntervalArray.from_breaks([0, 2])),
    ("not a time and not available", pd.NaT, pd.NA),
    ("frame that permits duplicate labels", frame(a=[1]), frame(a=[1]).set_flags(allows_duplicate_labels=False)),
    ("name of the columns", frame(a=[1]).rename_axis(columns="x"), frame(a=[1]).rename_axis(columns="y")),
    ("time zone of a column", frame(a=days(periods=1, tz="UTC")), frame(a=days(periods=1, tz="Europe/Berlin"))),
    ("time zones with one name of an empty column", frame(a=in_zone(1)[:0]), frame(a=in_zone(2)[:0])),
    ("series that permits duplicate labels", pd.Series([1]), pd.Series([1]).set_flags(allows_duplicate_labels=False)),
    ("series attributes", pd.Series([1]), with_attributes(pd.Series([1]), attrs={"unit": "m"})),
    ("series index", pd.Series([1, 2]), pd.Series([1, 2], index=[1, 0])),
    ("index items", pd.Index([1]), pd.Index([2])),
    ("index name", pd.Index([1], name="a"), pd.Index([1], name="b")),
    ("start of a range index", pd.RangeIndex(1, 3), pd.RangeIndex(0, 3)),
    ("step of a range index", pd.RangeIndex(0, 3, 1), pd.RangeIndex(0, 3, 2)),
    ("name of a range index", pd.RangeIndex(3, name="a"), pd.RangeIndex(3, name="b")),
    ("levels of an index", levelled([1, 2], 0), levelled([3, 2], 0)),
    ("codes of an index", levelled([1, 2], 0), levelled([1, 2], 1)),
    ("start of an interval", pd.Interval(0, 2), pd.Interval(1, 2)),
    ("end of an interval", pd.Interval(0, 2), pd.Interval(0, 3)),
    ("number of a period", pd.Period(ordinal=1, freq="D"), pd.Period(ordinal=2, freq="D")),
    ("frequency of a period", pd.Period(ordinal=1, freq="D"), pd.Period(ordinal=1, freq="M")),
    ("unit of a timestamp", pd.Timestamp(0).as_unit("s"), pd.Timestamp(0).as_unit("ns")),
    ("fold of a timestamp", pd.Timestamp(2026, 10, 25, 2, fold=0), pd.Timestamp(2026, 10, 25, 2, fold=1)),
    ("unit of a timedelta", pd.Timedelta(0).as_unit("s"), pd.Timedelta(0).as_unit("ns")),
    ("codes of categories", pd.Categorical(["a"], ["a", "b"]), pd.Categorical(["b"], ["a", "b"])),
    ("type of categories", pd.CategoricalDtype(["a"]), pd.CategoricalDtype(["b"])),
    ("type of ordered categories", pd.CategoricalDtype(["a"]), pd.CategoricalDtype(["a"], ordered=True)),
    ("type of nullable items", pd.Int64Dtype(), pd.Int32Dtype()),
    ("nullable items", pd.array([1, 2]), pd.array([1, 3])),
    ("array of nullable items and its type", pd.array([1], dtype="Int64"), pd.array([1], dtype="Int32")),
    # pydantic
    ("model field", Order(item="a"), Order(item="b")),
    ("model class", OtherOrder(item="a"), Order(item="a")),
    ("model field that was set", Order(item="a"), Order(item="a", count=1)),
    ("model with more fields", Order(item="a", more=1), Order(item="a", more=2)),
    ("private attribute of a model", noted(Order(item="a"), "x"), noted(Order(item="a"), "y")),
    ("list of models", [Order(item="a")], [Order(item="b")]),
    ("pydantic dataclass", Box(1), Box(2)),
]  # fmt: skip


@pytest.mark.parametrize("pair", DIFFERENT_VALUES, ids=ids(DIFFERENT_VALUES))
@pytest.mark.parametrize("call", [echo, capturing], ids=["argument", "captured"])
def test_values_that_differ_in_one_thing_have_different_keys(call: Any, pair: Pair) -> None:
    """Each value has a key, and it is not the other one's."""
    _, one, other = pair
    keys = [key_of(echo, value) if call is echo else key_of(capturing(value), 1) for value in (one, other)]
    assert keys[0] != keys[1]


# Code: each source is tried with the first and with the second text in place of {}.

CALLABLE = """
class Scale:
    def __init__(self, factor):
        self.factor = factor
    def __call__(self, x):
        return x * self.factor
scale = Scale(2)
"""
MODULE = """
import collections, dataclasses, enum, functools, typing
import attrs, pydantic
from fractions import Fraction
from types import MappingProxyType

@dataclasses.dataclass(frozen=True)
class Limits:
    low: int
    high: int = 9
"""
DIFFERENT_CODE: list[tuple[str, str, str, str]] = [
    ("constant", "C = {}", "1", "2"),
    ("constant that is a frozen dataclass", "C = {}", "Limits(1)", "Limits(2)"),
    ("constant that is a range", "C = {}", "range(2)", "range(3)"),
    ("constant that is a Fraction", "C = {}", "Fraction(1, 2)", "Fraction(1, 3)"),
    ("tuple with a frozen dataclass", "C = (1, {})", "Limits(1)", "Limits(2)"),
    ("frozenset with a range", "C = frozenset([{}])", "range(2)", "range(3)"),
    ("list of the module", "C = {}", "[1]", "[2]"),
    ("dict of the module", "C = {}", "{'rate': 1}", "{'rate': 2}"),
    ("order of a dict of the module", "C = {}", "{1: 1, 2: 2}", "{2: 2, 1: 1}"),
    ("set of the module", "C = {}", "{1}", "{2}"),
    ("mapping proxy of the module", "C = MappingProxyType({})", "{'a': 1}", "{'a': 2}"),
    ("named tuple of the module", "C = collections.namedtuple('P', 'x')({})", "1", "2"),
    ("constant and mutable value", "C = {}", "(1,)", "[1]"),
    ("partial function of the module", "C = functools.partial(pow, {})", "2", "3"),
    ("lambda of the module", "C = lambda x: x + {}", "1", "2"),
    ("default of a helper", "def C(x={}): return x", "1", "2"),
    ("keyword default of a helper", "def C(*, x={}): return x", "1", "2"),
    ("mutable default of a helper", "def C(x={}): return x", "[1]", "[2]"),
    ("helper under lru_cache", "@functools.lru_cache\ndef C(x): return x + {}", "1", "2"),
    ("helper under cache", "@functools.cache\ndef C(x): return x + {}", "1", "2"),
    ("helper under partial", "def g(x, y): return x + {}\nC = functools.partial(g, y=1)", "1", "2"),
    ("helper in a list", "def g(x): return x + {}\nC = [g]", "1", "2"),
    ("helper in a dict", "def g(x): return x + {}\nC = dict(g=g)", "1", "2"),
    ("helper of a lambda", "def g(x): return x + {}\nC = lambda x: g(x)", "1", "2"),
    ("helper under singledispatch", "@functools.singledispatch\ndef C(x): return x + {}", "1", "2"),
    ("registered helper", "@functools.singledispatch\ndef C(x): pass\n@C.register(int)\ndef _(x): return {}", "1", "2"),
    ("method of a class", "class C:\n    def m(self): return {}", "1", "2"),
    ("attribute of a class", "class C:\n    rate = {}", "1", "2"),
    ("mutable attribute of a class", "class C:\n    rates = {}", "[1]", "[2]"),
    ("static method of a class", "class C:\n    @staticmethod\n    def m(): return {}", "1", "2"),
    ("class method of a class", "class C:\n    @classmethod\n    def m(cls): return {}", "1", "2"),
    ("property of a class", "class C:\n    @property\n    def m(self): return {}", "1", "2"),
    ("cached property", "class C:\n    @functools.cached_property\n    def m(self): return {}", "1", "2"),
    ("partial method", "class C:\n    m = functools.partialmethod(pow, {})", "1", "2"),
    ("special method of a class", "class C:\n    def __len__(self): return {}", "1", "2"),
    ("base class", "class B:\n    def m(self): return {}\nclass C(B): pass", "1", "2"),
    ("which base class", "class A: pass\nclass B: pass\nclass C({}): pass", "A", "B"),
    ("helper of a method", "def g(): return {}\nclass C:\n    def m(self): return g()", "1", "2"),
    ("inner class", "class C:\n    class D:\n        rate = {}", "1", "2"),
    ("default of a dataclass", "@dataclasses.dataclass\nclass C:\n    x: int = {}", "1", "2"),
    ("factory of a dataclass", "@dataclasses.dataclass\nclass C:\n    x: int = dataclasses.field(default_factory={})", "int", "float"),
    ("lambda in a dataclass", "@dataclasses.dataclass\nclass C:\n    x: int = dataclasses.field(default_factory=lambda: {})", "1", "2"),
    ("order of fields", "@dataclasses.dataclass\nclass C:\n    {}", "x: int; y: int", "y: int; x: int"),
    ("order of a dataclass", "@dataclasses.dataclass(order={})\nclass C:\n    x: int", "True", "False"),
    ("members of an enum", "class C(enum.Enum):\n    A = {}", "1", "2"),
    ("order of an enum", "class C(enum.Enum):\n    {}", "A = 1; B = 2", "B = 2; A = 1"),
    ("method of an enum", "class C(enum.Enum):\n    A = 1\n    def m(self): return {}", "1", "2"),
    ("defaults of a named tuple", "class C(typing.NamedTuple):\n    x: int = {}", "1", "2"),
    ("name with two underscores", "__C = {}\nC = lambda: __C", "1", "2"),
    ("special name", "__version__ = {}\nC = lambda: __version__", "'1'", "'2'"),
    ("task that is named", "@task\ndef C(x): return x + {}", "1", "2"),
    ("task that is named, with fixed arguments", "@task\ndef g(x, y=0): return x\nC = g.partial(y={})", "1", "2"),
    ("decorated helper", "def d(n):\n    def w(f):\n        return lambda x: f(x) + n\n    return w\n@d({})\ndef C(x): return x", "1", "2"),
    ("attribute of a helper", "def C(): return C.rate\nC.rate = {}", "1", "2"),
    ("imported function", "from os.path import {} as C", "join", "split"),
    ("imported class", "from collections import {} as C", "OrderedDict", "Counter"),
    ("imported module", "import {} as C", "math", "cmath"),
    ("function or constant", "C = {}", "len", "3"),
    ("setter of a property", "class C:\n    x = property(len, {})", "len", "repr"),
    ("deleter of a property", "class C:\n    x = property(len, len, {})", "len", "repr"),
    ("function of a partial method", "class C:\n    m = functools.partialmethod({}, 1)", "pow", "divmod"),
    ("keyword of a partial method", "class C:\n    m = functools.partialmethod(pow, mod={})", "2", "3"),
    ("method under singledispatch", "class C:\n    @functools.singledispatchmethod\n    def m(self, x): return {}", "1", "2"),
    ("registered method", "class C:\n    @functools.singledispatchmethod\n    def m(self, x): pass\n    @m.register\n    def _(self, x: int): return {}", "1", "2"),
    ("property of an enum", "class C(enum.Enum):\n    A = 1\n    @enum.property\n    def m(self): return {}", "1", "2"),
    ("special method of an enum", "class C(enum.Enum):\n    A = 1\n    def __str__(self): return '{}'", "1", "2"),
    ("name of an alias of a member", "class C(enum.Enum):\n    A = 1\n    {} = 1", "B", "D"),
    ("metaclass", "class A(type): pass\nclass B(type): pass\nclass C(metaclass={}): pass", "A", "B"),
    ("type of a field", "@dataclasses.dataclass\nclass C:\n    x: {}", "int", "float"),
    ("field without a default", "@dataclasses.dataclass\nclass C:\n    x: int{}", "", " = None"),
    ("default that is a factory", "@dataclasses.dataclass\nclass C:\n    x: int = {}", "int", "dataclasses.field(default_factory=int)"),
    *((f"{setting} of a field", "@dataclasses.dataclass\nclass C:\n    x: int = dataclasses.field(default=0, {})",
       f"{setting}=True", f"{setting}=False") for setting in ("init", "repr", "compare", "hash", "kw_only")),
    ("kind of a field", "@dataclasses.dataclass\nclass C:\n    x: {}[int] = 0", "dataclasses.InitVar", "typing.ClassVar"),
    ("name of a field of an attrs class", "@attrs.define\nclass C:\n    {}: int", "x", "y"),
    ("default of an attrs class", "@attrs.define\nclass C:\n    x: int = {}", "1", "2"),
    ("factory of an attrs class", "@attrs.define\nclass C:\n    x: int = attrs.field(factory={})", "int", "float"),
    ("converter of an attrs class", "@attrs.define\nclass C:\n    x: int = attrs.field(converter={})", "int", "float"),
    ("validator of an attrs class", "@attrs.define\nclass C:\n    x: int = attrs.field(validator=attrs.validators.{})", "lt(1)", "lt(2)"),
    ("validating method of an attrs class", "@attrs.define\nclass C:\n    x: int = attrs.field()\n    @x.validator\n    def check(self, field, value): return {}", "1", "2"),
    ("assignment to an attrs class", "@attrs.define\nclass C:\n    x: int = attrs.field(on_setattr=attrs.setters.{})", "frozen", "validate"),
    ("own assignment of an attrs class", "@attrs.define\nclass C:\n    x: int\n    def __setattr__(self, name, value): return {}", "1", "2"),
    ("init of an attrs class", "@attrs.define\nclass C:\n    x: int = attrs.field(default=1, init={})", "True", "False"),
    ("keyword of an attrs class", "@attrs.define\nclass C:\n    x: int = attrs.field(default=1, kw_only={})", "True", "False"),
    ("method of an attrs class", "@attrs.define\nclass C:\n    def m(self): return {}", "1", "2"),
    ("type of a model's field", "class C(pydantic.BaseModel):\n    x: {}", "int", "float"),
    ("alias of a model's field", "class C(pydantic.BaseModel):\n    x: int = pydantic.Field(alias='{}')", "a", "b"),
    ("factory of a model's field", "class C(pydantic.BaseModel):\n    x: int = pydantic.Field(default_factory={})", "int", "float"),
    ("model's field without a default", "class C(pydantic.BaseModel):\n    x: int | None{}", "", " = None"),
    ("value that the task assigns and reads", "C = {}\ndef g():\n    global C\n    C += 1\n    return C\ng.C = C", "1", "2"),
    ("list that is written to and read", "v = {}\ndef C():\n    v.append(1)\n    return len(v)", "[]", "[1]"),
    ("list that is passed on", "v = {}\ndef C(x):\n    return x(v)", "[]", "[1]"),
    ("method that gives a result", "v = {}\ndef C(x):\n    return v.pop()", "[1]", "[2]"),
    ("method that is passed on", "v = {}\ndef C(x):\n    return v.append", "[1]", "[2]"),
    ("counter that is read", "v = {}\ndef C():\n    global v\n    v += 1\n    return v", "1", "2"),
    ("text that is added to", "v = {}\ndef C():\n    global v\n    v += 1", "'a'", "'b'"),
    ("number to which a variable is added", "v = {}\ndef C(x):\n    global v\n    v += x", "1", "2"),
    ("number that may not be shifted", "v = {}\ndef C():\n    global v\n    v <<= 1", "1", "1.0"),
    ("number from which another is made", "v = {}\ndef C(x):\n    global w\n    w = v + 1", "1", "2"),
    ("item that is counted and read", "v = {}\ndef C():\n    v['a'] += 1\n    return v", "dict(a=1)", "dict(a=2)"),
    ("item that cannot be counted", "v = {}\ndef C():\n    v['a'] += 1", "dict(a='x')", "dict(b=1)"),
    ("item of a parameter that is counted", "v = {}\ndef C(x):\n    v[x] += 1", "dict(a=1)", "dict(b=1)"),
    ("item of a list that is set", "v = {}\ndef C():\n    v[0] = 1", "[1]", "[]"),
    ("item that is multiplied", "v = {}\ndef C():\n    v['a'] *= 2", "dict(a=1)", "dict(a='x')"),
    ("user's class with append", "class A:\n    def append(self, x): return {}\nC = A", "1", "2"),
]  # fmt: skip


@pytest.mark.parametrize("pair", DIFFERENT_CODE, ids=ids(DIFFERENT_CODE))
def test_code_that_differs_in_one_place_has_different_keys(pair: tuple[str, str, str, str]) -> None:
    """Each task has a key, and it is not the other one's."""
    _, template, one, other = pair
    source = f"{MODULE}\n{template}\n@task\ndef f(x):\n    return C, x\n"
    keys = [key_of(from_source(source.replace("{}", text, 1)), 1) for text in (one, other)]
    assert keys[0] != keys[1]


# What has no digest is refused: the same pairs must not share a value.


class Model:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def predict(self, x: int) -> int:
        return x * self.factor

    def __call__(self, x: int) -> int:
        return x * self.factor


def predictor(model: object) -> Task[..., Any]:
    @task
    def f(x: int) -> object:
        return model, x

    return f


def iterator_in(*items: object) -> object:
    return iter(items)


REFUSED: list[tuple[str, object]] = [
    ("object", Model(2)),
    ("bound method", Model(2).predict),
    ("object in a list", [Model(2)]),
    ("object in a dict", {"model": Model(2)}),
    ("object in a dataclass", Point(Model(2))),  # type: ignore[arg-type]
    ("object that a dataclass keeps", with_attributes(Point(1), model=Model(2))),
    ("object in a partial function", functools.partial(Model(2).predict)),
    ("object in a closure", adder(Model(2))),  # type: ignore[arg-type]
    ("object in a partial task", power.partial(exponent=Model(2))),
    ("object in a cached function", functools.lru_cache(Model(2))),
    ("object in an array", array(Model(2), dtype=object)),
    ("object in a frame", pd.DataFrame({"a": [Model(2)]})),
    ("object in a model", Order(item="a", more=Model(2))),
    ("iterator", iterator_in(1)),
    ("plain object", object()),
    ("masked array", np.ma.array([1], mask=[True])),
    ("generator of random numbers", np.random.default_rng(1)),
    ("subclass of a frame", type("Mine", (pd.DataFrame,), {})({"a": [1]})),
    ("subclass of datetime", type("Mine", (dt.datetime,), {})(2026, 1, 1)),
    ("time zone read from a file", "zone"),
    ("class with such an attribute", class_with(model=Model(2))),
    ("dataclass that is an exception", dataclasses.make_dataclass("Failure", ["x"], bases=(Exception,))(1)),
]


@pytest.mark.parametrize("case", REFUSED, ids=ids(REFUSED))
def test_what_has_no_digest_is_refused(case: tuple[str, object]) -> None:
    """As an argument and as a captured variable; the message names the variable and the remedy."""
    value = case[1]
    if isinstance(value, str):
        path = next(Path(folder, "UTC") for folder in zoneinfo.TZPATH if Path(folder, "UTC").exists())
        with path.open("rb") as file:
            value = zoneinfo.ZoneInfo.from_file(file)
    with pytest.raises(UncacheableArgumentError):
        key_of(echo, value)
    with pytest.raises(UncacheableArgumentError, match=r"'\w+'.*: no digest .*ignore=\('\w+',\)") as raised:
        key_of(predictor(value), 1)
    assert "\n" not in str(raised.value)


REFUSED_CODE: list[tuple[str, str, str]] = [
    ("instance that can be called", f"{CALLABLE}\nC = scale", "C"),
    ("its method", f"{CALLABLE}\nC = scale.__call__", "C"),
    ("instance in a tuple", f"{CALLABLE}\nC = (scale,)", "C"),
    ("instance that a helper uses", f"{CALLABLE}\ndef C(x): return scale(x)", "scale"),
    ("instance that a method uses", f"{CALLABLE}\nclass C:\n    def m(self): return scale(1)", "scale"),
    ("default of a helper", f"{CALLABLE}\ndef C(x=scale): return x", "x"),
    ("attribute of a helper", f"{CALLABLE}\ndef C(x): return x\nC.model = scale", "model"),
    ("attribute of a class", f"{CALLABLE}\nclass C:\n    model = scale", "C"),
    ("helper that an object replaces", f"{CALLABLE}\n@Scale\ndef C(x): return x", "C"),
    (
        "object that a helper appends to",
        "class A:\n    def append(self, x): return 1\nlog = A()\ndef C(x): log.append(x)",
        "log",
    ),
    ("open file", "import io\nC = io.StringIO('a')", "C"),
]


@pytest.mark.parametrize("case", REFUSED_CODE, ids=ids(REFUSED_CODE))
def test_a_global_without_a_digest_is_refused_unless_it_is_ignored(case: tuple[str, str, str]) -> None:
    """The message names the variable, and with it in ignore= the task has a key."""
    _, source, variable = case
    declared = from_source(f"{MODULE}\n{source}\n@task\ndef f(x):\n    return C, x\n")
    with pytest.raises(UncacheableArgumentError, match=rf"{variable!r} of shop\.") as raised:
        key_of(declared, 1)
    assert f"ignore=({variable!r},)" in str(raised.value)
    assert key_of(declared, 1, policy=CachePolicy(ignore=variable))  # type: ignore[arg-type]


# Pairs that are the same: "never equal" must not be the cheap way out.

EQUAL_VALUES: list[Pair] = [
    ("dataclass", Point(1), Point(1)),
    ("subclass of a dataclass", Marked(1, "a"), Marked(1, "a")),
    ("dataclass with slots", Slotted(1), Slotted(1)),
    ("dataclass of a function", local_point(1), local_point(1)),
    ("class of a function", local_class(1), local_class(1)),
    ("closure", adder(1), adder(1)),
    ("partial task", power.partial(exponent=2), power.partial(exponent=2)),
    ("order of fixed arguments", power.partial(x=1, exponent=2), power.partial(exponent=2, x=1)),
    ("task with a retry", power, power.with_retry(2)),
    ("set filled in another order", {"a", "b", "c"}, {"c", "b", "a"}),
    ("own time zone", dt.datetime(2026, 1, 1, tzinfo=Zone(60)), dt.datetime(2026, 1, 1, tzinfo=Zone(60))),
    ("zones of ZoneInfo", zoneinfo.ZoneInfo("UTC"), zoneinfo.ZoneInfo.no_cache("UTC")),
    ("cached functions", functools.lru_cache(adder(1)), functools.lru_cache(adder(1))),
    ("list subclass", with_attributes(SlottedList([1]), unit=1), with_attributes(SlottedList([1]), unit=1)),
    ("array", array(1, 2), array(1, 2)),
    ("array and its copy", np.arange(10)[::2], np.arange(10)[::2].copy()),
    ("array in the order of Fortran", np.zeros((2, 3), order="F"), np.asfortranarray(np.zeros((2, 3)))),
    ("overlapping fields", np.zeros(2, OVERLAPPING), np.zeros(2, OVERLAPPING)),
    ("bytes between fields", padded(0), padded(255)),
    ("long double", np.longdouble("1.1"), np.longdouble("1.1")),
    ("texts of any length", texts("a" * 40), texts("a" * 40)),
    ("NumPy scalar", np.float64(1), np.float64(1)),
    ("frame", frame(a=[1, 2], b=["x", None]), frame(a=[1, 2], b=["x", None])),
    ("frame and its copy", frame(a=pd.Categorical(["a"]), b=days(periods=1)), frame(a=pd.Categorical(["a"]), b=days(periods=1)).copy()),
    ("timestamp", pd.Timestamp("2026-01-01", tz="UTC"), pd.Timestamp("2026-01-01", tz="UTC")),
    ("model", Order(item="a", more=1), Order(item="a", more=1)),
    ("list that is used twice", [[1]] * 2, [[1], [1]]),
    ("not a number", float("nan"), float("nan")),
    ("part of a memory view", memoryview(b"abc")[:2], memoryview(b"ab")),
    ("model and its copy", Order(item="a"), Order(item="a").model_copy(deep=True)),
    ("pydantic dataclass", Box(1), Box(1)),
]  # fmt: skip


@pytest.mark.parametrize("pair", EQUAL_VALUES, ids=ids(EQUAL_VALUES))
@pytest.mark.parametrize("call", [echo, capturing], ids=["argument", "captured"])
def test_values_that_are_the_same_have_one_key(call: Any, pair: Pair) -> None:
    """Made twice, in another order or copied: one key."""
    _, one, other = pair
    keys = [key_of(echo, value) if call is echo else key_of(capturing(value), 1) for value in (one, other)]
    assert keys[0] == keys[1]


COMMON = """
import collections, contextlib, dataclasses, enum, functools, logging, re, typing
import numpy as np, pandas as pd, pydantic
from abc import ABC, abstractmethod
from cascade.spec import task

log = logging.getLogger(__name__)
MISSING = object()
T = typing.TypeVar("T")
Row = dict[str, int]
NAMES = {"a", "b", "c"}
PATTERN = re.compile("a+")
RATES = {"EUR": 1.0}
WEIGHTS = np.arange(3.0)
TABLE = pd.DataFrame({"a": [1, 2]})
calls = []

class Colour(enum.Enum):
    RED = 1

class Level(enum.IntFlag):
    LOW = enum.auto()

class Base(ABC, typing.Generic[T]):
    @abstractmethod
    def m(self) -> int: ...

class Child(Base[int]):
    __slots__ = ("x",)
    def __init__(self) -> None:
        super().__init__()
    def m(self) -> int:
        return RATES["EUR"]
    def copy(self):
        return Child()

@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Point:
    x: float
    tags: list = dataclasses.field(default_factory=list)

class Pair(typing.NamedTuple):
    x: int
    y: int = 0

class Options(typing.TypedDict):
    deep: bool

class Shape(typing.Protocol):
    def area(self) -> float: ...

class Order(pydantic.BaseModel):
    item: str
    count: int = pydantic.Field(default=1, ge=0)
    tags: list[str] = pydantic.Field(default_factory=list)

    @pydantic.field_validator("item")
    @classmethod
    def check(cls, value: str) -> str:
        return value.strip()

class Failure(Exception):
    pass

@functools.lru_cache
def cached(x):
    return x

@functools.singledispatch
def shown(x):
    return str(x)

@shown.register
def _(x: int):
    return x

@contextlib.contextmanager
def opened():
    yield 1
"""
FIRST = """
def even(n):
    return n == 0 or odd(n - 1)
"""
SECOND = """
def odd(n):
    return n != 0 and even(n - 1)
"""
USER = """
@task
def f(x, missing=None):
    calls.append(x)
    log.info("x")
    typing.cast(T, x)
    with opened() as one:
        pass
    if not NAMES or x is MISSING or PATTERN.match("a"):
        raise Failure(Row, Options, Shape)
    return (
        Colour.RED, Level.LOW, Child().m(), Point(1.0), Pair(1), Order(item="a"), cached(x), shown(x), even(3),
        WEIGHTS.sum(), TABLE, __name__, collections.Counter(),
    )
"""
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import shop
from cascade.runtime.cache import cache_key
from cascade.spec.caching import CachePolicy
point = shop.Point(1.0)
words = {"some", "words", "in", "a", "set"}
print(cache_key(CachePolicy(), shop.f._definition, ([point, words, shop.Colour.RED, shop.Order(item="a"), shop.cached],), {}))
"""


def imported(folder: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import the module ``shop`` with this source."""
    folder.mkdir(exist_ok=True)
    path = folder / "shop.py"
    path.write_text(source)
    specification = importlib.util.spec_from_file_location("shop", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, "shop", module)
    specification.loader.exec_module(module)
    return module


def key_in(module: Any) -> str:
    argument = [module.Point(1.0), module.Colour.RED, module.Order(item="a"), module.cached]
    return key_of(module.f, argument)


def test_a_module_that_is_imported_again_gives_the_same_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with its functions in another order; the usual contents of a module all have digests."""
    keys = [
        key_in(imported(tmp_path, source, monkeypatch))
        for source in (
            COMMON + FIRST + SECOND + USER,
            COMMON + FIRST + SECOND + USER,
            COMMON + SECOND + FIRST + USER,
            "# a comment\n" + COMMON + "calls.append(1)\n" + SECOND + FIRST + USER,
        )
    ]
    assert len(set(keys)) == 1


@pytest.mark.full
@pytest.mark.process
def test_another_process_computes_the_same_key(tmp_path: Path) -> None:
    """Whatever the seed of hash(), and whatever was computed before."""
    (tmp_path / "shop.py").write_text(COMMON + FIRST + SECOND + USER)
    keys = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("0", "4242")
    }
    assert len(keys) == 1


def test_a_captured_value_that_changed_gives_another_key() -> None:
    """A dict, a list and an object count as they are at the time of the call."""
    rates, names, point = {"EUR": 1.0}, ["a"], Point(1)
    keys = []
    for change in (
        lambda: None,
        lambda: rates.update(EUR=2.0),
        lambda: names.append("b"),
        lambda: point.__init__(2),
    ):
        change()
        keys.append(key_of(capturing((rates, names, point)), 1))
    assert len(set(keys)) == 4


def test_a_list_that_the_task_only_appends_to_does_not_count() -> None:
    """So a task that notes its calls is still cached, however it notes them."""
    noted: list[int] = []
    counts = collections.Counter[object]()
    last = {"calls": 0}
    total = 0

    @task
    def f(x: int) -> int:
        nonlocal total
        noted.append(x + len("a"))
        counts["f"] += 1
        counts[x] += 1
        last["x"] = x
        last["calls"] += 1
        total += 1
        return x

    before = key_of(f, 1)
    assert f.function(1) == 1
    assert (noted, total, last["calls"]) == ([2], 1, 1)
    assert key_of(f, 1) == before


@pytest.mark.parametrize(
    ("write", "one", "other"),
    [
        ("held[x] += 1", collections.Counter(a=1), collections.Counter({"a": "1"})),
        ("held['a'] += 1", collections.Counter(a=1), collections.Counter({"a": "1"})),
        ("held['a'] += 1", {"a": 1}, {"b": 1}),
        ("held['a'] = x", {}, [1]),
        ("held.append(x)", [], types.SimpleNamespace(append=print)),
    ],
)
def test_a_value_that_a_write_may_fail_on_counts_or_is_refused(write: str, one: Any, other: Any) -> None:
    """A call that would fail must not find the value of one that did not."""
    keys = []
    for held in (one, other):
        declared = from_source(f"@task\ndef f(x):\n    {write}\n    return x\n")
        declared.function.__globals__["held"] = held
        try:
            keys.append(key_of(declared, "a"))
        except UncacheableArgumentError:
            keys.append("refused")
    assert keys[0] != keys[1]


def test_a_name_to_ignore_that_does_not_exist_is_an_error() -> None:
    """A misspelt name would not have the effect that its author expects."""
    from cascade.interfaces import ConfigurationError

    with pytest.raises(
        ConfigurationError, match="'valeu' is neither a parameter of task 'echo' nor a variable"
    ):
        key_of(echo, 1, policy=CachePolicy(ignore=("valeu",)))


def test_an_ignored_parameter_needs_no_digest_and_does_not_count() -> None:
    """The other parameters still do."""

    @task
    def query(sql: str, db: object = None) -> object:
        return sql, db

    policy = CachePolicy(ignore=("db",))
    assert key_of(query, "a", Model(1), policy=policy) == key_of(query, "a", policy=policy)
    assert key_of(query, "a", policy=policy) != key_of(query, "b", policy=policy)
