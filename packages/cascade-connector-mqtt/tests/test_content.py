"""A message whose JSON is made later says what it would have said at once."""

from __future__ import annotations

import array
import enum
import types
from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.connectors.mqtt._content import Copier, text_of
from cascade.interfaces.wire import encode_payload


class Number(enum.IntEnum):
    ONE = 1


class Word(str, enum.Enum):  # noqa: UP042 (a StrEnum prints as its value)
    ONE = "one"


ODD = [
    *(
        Number.ONE,
        Word.ONE,
        1j,
        ...,
        2**12_000,
        float("nan"),
        float("-inf"),
        "\ud800",
        b"raw",
        bytearray(b"raw"),
    ),
    *(
        array.array("d", [1.5]),
        OrderedDict(a=1),
        types.MappingProxyType({"a": 1}),
        range(3),
        {1},
        frozenset({"a"}),
    ),
]
ATOMS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.sampled_from(ODD))
KEYS = st.one_of(
    st.text(), st.none(), st.integers(), st.booleans(), st.sampled_from([Number.ONE, Word.ONE, b"k"])
)
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.tuples(inner, inner), st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.lists(st.dictionaries(KEYS, VALUES, max_size=4), min_size=1, max_size=3))
def test_a_copy_says_what_the_payload_says(payloads: list[dict[Any, Any]]) -> None:
    """Whatever is in it, and whatever was copied, or could not be, before it."""
    copier = Copier()
    for payload in payloads:
        copy = copier.copy(payload)
        assert copy is None or text_of(copy) == encode_payload(payload)


@pytest.mark.parametrize("plain", [{"a": [1, 2.5, None, True, "x", {"b": (b"raw", {1})}]}, {}])
def test_plain_data_is_copied(plain: dict[str, Any]) -> None:
    """Its JSON is what takes long."""
    assert Copier().copy(plain) is not None


@pytest.mark.parametrize(
    "odd", [array.array("d", [1.5]), memoryview(b"raw"), Number.ONE, Word.ONE, OrderedDict()]
)
def test_what_only_resembles_plain_data_is_not_copied(odd: object) -> None:
    """An array is no bytes, and a float of numpy's, which is one of those too, no array."""
    assert Copier().copy({"deep": [odd]}) is None


def test_what_cannot_be_copied_leaves_nothing_behind() -> None:
    """Neither what holds itself nor what is nested too deep; and what comes next is whole."""
    copier, around = Copier(), []  # type: tuple[Copier, list[Any]]
    around.append(around)
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    for payload in ({"around": around}, deep):
        assert copier.copy(payload) is None
        assert text_of(copier.copy({"n": 1}) or b"") == ('{"n": 1}', 0)


@pytest.mark.parametrize("large", ["x" * 100_000, b"x" * 100_000, bytearray(100_000)])
@pytest.mark.parametrize("between", [{}, {"a": "y" * 100_000, "odd": Number.ONE}])
def test_what_is_large_is_copied_whole(large: Any, between: dict[str, Any]) -> None:
    """It is written in parts; none of them is found in what is copied next, nor what came before an odd thing."""
    copier = Copier()
    for payload in ({"a": large, "b": [large, 1]}, {"n": 1}):
        copy = copier.copy(payload)
        assert copy is not None
        assert copy == Copier().copy(payload)
        assert text_of(copy) == encode_payload(payload)
        copier.copy(between)


def test_a_copy_does_not_change_with_what_was_copied() -> None:
    """Not even a part that is large enough to be written without another copy."""
    large = bytearray(b"x" * 100_000)
    payload = {"a": large}
    before = encode_payload(payload)
    copy = Copier().copy(payload)
    large[:] = b"y" * 100_000
    assert copy is not None
    assert text_of(copy) == before
