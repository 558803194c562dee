"""A payload that is encoded later becomes the message that it was at the call of ``publish``."""

from __future__ import annotations

import array
import enum
import types
from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.interfaces.wire.write import encode_payload
from cascade.transport.capture import Capture, EncodedPayload, encoded


class Number(enum.IntEnum):
    ONE = 1


class Word(str, enum.Enum):  # noqa: UP042 (a StrEnum prints as its value)
    ONE = "one"


class Kind(enum.Enum):
    CLOSED = "closed"


NUMBERS_AND_TEXT = [1j, 2**12_000, float("nan"), float("-inf"), "\ud800", b"raw", bytearray(b"raw")]
ODD = [
    *NUMBERS_AND_TEXT,
    *(Number.ONE, Word.ONE, Kind.CLOSED, ..., object(), array.array("d", [1.5]), OrderedDict(a=1)),
    *(types.MappingProxyType({"a": 1}), range(3), {1}, frozenset({"a"})),
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


@pytest.mark.full
@settings(deadline=None)
@given(st.lists(st.dictionaries(KEYS, VALUES, max_size=4), min_size=1, max_size=3))
def test_a_captured_payload_is_encoded_as_it_was(payloads: list[dict[Any, Any]]) -> None:
    """Whatever it contains, whatever the same object captured before, and also when it has changed by then."""
    capture = Capture()
    for payload in payloads:
        expected = encode_payload(payload)
        captured = [capture(payload), capture(payload)]
        payload.clear()
        assert [encoded(each) for each in captured] == [expected] * 2


@pytest.mark.parametrize("plain", [{"a": [1, 2.5, None, True, "x", {"b": (b"raw", {1})}]}, {}])
def test_plain_data_is_copied(plain: dict[str, Any]) -> None:
    """A copy takes a third of the time of the encoding, which can then wait."""
    assert type(Capture()(plain)) is bytes


@pytest.mark.parametrize(
    "odd", [array.array("d", [1.5]), memoryview(b"raw"), Number.ONE, Word.ONE, OrderedDict(), object()]
)
def test_a_value_of_any_other_type_is_encoded_at_once(odd: object) -> None:
    """Its copy could change with it: an array, a view, an instance of a subclass of a built-in type."""
    assert type(Capture()({"deep": [odd]})) is EncodedPayload


def test_an_empty_message_stays_one() -> None:
    """``None`` clears a retained topic."""
    assert Capture()(None) is None
    assert encoded(None) == EncodedPayload("", 0)


def test_a_payload_that_cannot_be_copied_leaves_nothing_in_the_next_copy() -> None:
    """Neither one that contains itself nor one that is nested too deeply; the next one is copied whole."""
    around: list[Any] = []
    around.append(around)
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    capture = Capture()
    for payload in ({"around": around}, deep):
        captured = capture(payload)
        assert type(captured) is EncodedPayload
        assert captured == encode_payload(payload)
        following = capture({"n": 1})
        assert type(following) is bytes
        assert encoded(following) == ('{"n": 1}', 0)


@pytest.mark.parametrize("large", ["x" * 100_000, b"x" * 100_000, bytearray(100_000)], ids=type)
@pytest.mark.parametrize("between", [{}, {"a": "y" * 100_000, "odd": Number.ONE}], ids=["none", "odd"])
def test_a_large_value_is_copied_whole(large: Any, between: dict[str, Any]) -> None:
    """The pickler writes it in several parts; none of them appears in a later copy, also after a failed one."""
    capture = Capture()
    for payload in ({"a": large, "b": [large, 1]}, {"n": 1}):
        captured = capture(payload)
        assert type(captured) is bytes
        assert captured == Capture()(payload)
        assert encoded(captured) == encode_payload(payload)
        capture(between)


def test_a_copy_does_not_change_with_a_large_value() -> None:
    """A large value is handed on without a further copy inside the pickler."""
    large = bytearray(b"x" * 100_000)
    payload = {"a": large}
    expected = encode_payload(payload)
    captured = Capture()(payload)
    large[:] = b"y" * 100_000
    assert type(captured) is bytes
    assert encoded(captured) == expected
