"""The codec of stored values: each is restored equal and of the same types, in the plainest encoding that is exact."""

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import json
import pathlib
import pickle
import sys
import uuid
import zoneinfo
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cascade.runtime._storage.codec import Signer, decode, encode


class Colour(enum.Enum):
    RED = 1
    BLUE = "blue"


class Level(enum.IntEnum):
    HIGH = 3


class Word(enum.StrEnum):
    YES = "yes"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass(frozen=True)
class Point:
    x: Any
    y: Any = 0


@dataclasses.dataclass(frozen=True)
class Pixel(Point):
    colour: Colour = Colour.RED

    def __init__(self, *, everything: Any) -> None:
        for name in ("x", "y"):
            object.__setattr__(self, name, everything)
        object.__setattr__(self, "colour", Colour.BLUE)


@dataclasses.dataclass(frozen=True, slots=True)
class Small:
    value: Any


ZONES = st.none() | st.sampled_from(
    [
        dt.UTC,
        dt.timezone(dt.timedelta(hours=-3, seconds=7)),
        dt.timezone(dt.timedelta(hours=2, microseconds=7)),
        dt.timezone(dt.timedelta(hours=1), "CET"),
        zoneinfo.ZoneInfo("Europe/Berlin"),
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.text(st.characters())
    | st.text("\ud800\udc00$a")
    | st.binary()
    | st.binary().map(bytearray)
    | st.complex_numbers(allow_nan=False)
    | st.datetimes(timezones=ZONES, allow_imaginary=True)
    | st.times(timezones=ZONES.filter(lambda zone: not isinstance(zone, zoneinfo.ZoneInfo)))
    | st.dates()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.sampled_from([*Colour, Level.HIGH, Word.YES, Access.READ, Access.READ | Access.WRITE])
    | st.sampled_from([pathlib.Path("a/b"), pathlib.PureWindowsPath("c:/x"), pathlib.PurePosixPath("/")])
)
KEYS = SCALARS.filter(lambda value: not isinstance(value, bytearray)) | st.just("$")


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.sets(KEYS, max_size=4)
        | st.frozensets(KEYS, max_size=4)
        | st.builds(Point, inner, inner)
        | st.builds(Small, inner)
        | st.builds(lambda value: Pixel(everything=value), inner)
    )


VALUES = st.recursive(SCALARS, containers, max_leaves=12)


def shape(value: Any) -> Any:
    """Return a value with the types in it, at every depth; the order of a set does not count."""
    if isinstance(value, dict):
        return dict, [(shape(key), shape(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [shape(item) for item in value]
    if isinstance(value, set | frozenset):
        return type(value), sorted(repr(shape(item)) for item in value)
    if dataclasses.is_dataclass(value):
        return type(value), [shape(getattr(value, field.name)) for field in dataclasses.fields(value)]
    if isinstance(value, dt.datetime | dt.time):
        return type(value), value.replace(tzinfo=None), value.fold, repr(value.tzinfo)
    return type(value), repr(value) if not isinstance(value, int) else hex(value)


@pytest.mark.parametrize("examples", [150, pytest.param(5000, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("tagged", [True, False])
def test_a_value_is_restored_exactly(tagged: bool, examples: int) -> None:
    """Equal and of the same types at every depth, with tags and without."""

    @given(VALUES)
    @settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def comes_back(value: Any) -> None:
        found = decode(*encode(value, tagged=tagged))
        assert found == value
        assert shape(found) == shape(value)

    comes_back()


@pytest.mark.parametrize(
    ("value", "encoding"),
    [
        ({"a": [1, 2.5, None, True, "x"]}, "json"),
        ((1, 2), "tagged"),
        ({1: 2}, "tagged"),
        ({"$": 1, "a": (1,)}, "tagged"),
        (b"\x00", "tagged"),
        (dt.datetime(2026, 1, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")), "tagged"),
        (dt.time(1, tzinfo=dt.timezone(dt.timedelta(hours=2, microseconds=7))), "tagged"),
        (decimal.Decimal("1.10"), "tagged"),
        (uuid.UUID(int=7), "tagged"),
        (pathlib.Path("a"), "tagged"),
        (Colour.RED, "tagged"),
        (Access.READ, "tagged"),
        (Point(1, (2, Small({3}))), "tagged"),
        ([10**5000], "tagged"),
        ([-(10**5000)], "tagged"),
        *((value, "json") for value in (None, True, 5, 1.5, "text")),
        ("\ud800", "tagged"),
        (Access.READ | Access.WRITE, "pickle"),
        (collections.OrderedDict(a=1), "pickle"),
        (collections.Counter("aab"), "pickle"),
        (range(3), "pickle"),
        (dt.timezone(dt.timedelta(0), "mine"), "pickle"),
        (dt.datetime(2026, 1, 1, tzinfo=zoneinfo.ZoneInfo.no_cache("Europe/Berlin")), "pickle"),
        ([(0,)] * 20_000, "pickle"),
        ({n: n for n in range(20_000)}, "pickle"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_plainest_exact_encoding_is_used(value: object, encoding: str) -> None:
    """Pickle only where JSON with tags is not exact, or would take longer."""
    used, payload = encode(value, tagged=True)
    assert used == encoding
    assert decode(used, payload) == value
    if encoding != "pickle":
        json.loads(payload)


@pytest.mark.parametrize(
    "value", [collections.Counter("aab"), [{"a": range(3)}], lambda: 1], ids=["subclass", "nested", "lambda"]
)
def test_without_pickle_a_value_that_has_no_tag_is_refused_with_its_type(value: object) -> None:
    with pytest.raises(
        TypeError, match=r"holds a (collections\.Counter|builtins\.range|builtins\.function), which"
    ):
        encode(value, tagged=True, pickled=False)


def test_without_pickle_no_pickle_is_loaded() -> None:
    with pytest.raises(TypeError, match="pickle=False"):
        decode("pickle", pickle.dumps(1), pickled=False)


def test_a_value_that_contains_itself_is_pickled() -> None:
    endless: list[Any] = [(1,)]
    endless.append(endless)
    encoding, payload = encode(endless, tagged=True)
    assert encoding == "pickle"
    assert (found := decode(encoding, payload))[1] is found


def test_a_class_with_other_fields_by_now_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the class."""
    encoded = encode(Point(1), tagged=True)
    monkeypatch.setattr(sys.modules[__name__], "Point", Small)
    with pytest.raises(TypeError, match=r"\.Point has other fields by now"):
        decode(*encoded)
    monkeypatch.delattr(sys.modules[__name__], "Point")
    with pytest.raises(AttributeError, match="Point"):
        decode(*encoded)


def test_a_signature_covers_the_boundaries_of_its_parts() -> None:
    signer = Signer(b"k" * 32)
    assert signer.sign(b"ab", b"c") != signer.sign(b"a", b"bc")
    assert signer.sign(b"a") != Signer(b"j" * 32).sign(b"a")
