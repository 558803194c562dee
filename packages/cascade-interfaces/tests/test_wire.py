"""JSON that is always made, and what a connector writes itself."""

import enum
import json
import os
import platform
import sys
import types
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.interfaces import (
    UndecodableMessageError,
)
from cascade.interfaces.wire import (
    decode_payload,
    default_source,
    encode_payload,
    idle_reports,
    timestamp,
)

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.text(st.characters(), max_size=5)
    | st.binary(max_size=3)
    | st.integers()
    | st.sampled_from([object(), {1, 2}, frozenset(), 1j, Exception("x")])
    | st.builds(lambda: 10**5000),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(st.text(max_size=3) | st.integers() | st.tuples(st.integers()), inner, max_size=3)
    ),
    max_leaves=8,
)


class Word(str, enum.Enum):  # noqa: UP042 (a StrEnum prints as its value)
    ONE = "one"


class Number(enum.IntEnum):
    TWO = 2


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@given(st.dictionaries(st.text(max_size=4), anything, max_size=4))
def test_any_payload_becomes_strict_json(payload: dict[str, Any]) -> None:
    """Whatever a payload holds, JSON comes out that a strict parser reads, and replacing is counted."""
    text, replaced = encode_payload(payload)

    def refuse(name: str) -> None:
        raise AssertionError(name)

    json.loads(text, parse_constant=refuse)
    try:
        plain = json.dumps(payload, allow_nan=False)
    except (TypeError, ValueError):
        assert replaced >= 1
    else:
        assert (text, replaced) == (plain, 0)


def test_what_json_cannot_hold_is_replaced_and_the_rest_goes_out() -> None:
    """One bad value costs that value, not the event."""
    loop: dict[str, Any] = {"fine": 1}
    loop["self"] = loop
    payload: dict[Any, Any] = {
        "nan": float("nan"),
        "inf": float("-inf"),
        "loop": loop,
        "bad": Hostile(),
        (1, 2): {3},
    }
    text, replaced = encode_payload(payload)
    data = json.loads(text)
    assert (data["nan"], data["inf"]) == ("NaN", "-Infinity")
    assert data["loop"] == {"fine": 1, "self": "<circular>"}
    assert "Hostile object at" in data["bad"]
    assert data["(1, 2)"] == [3]
    assert replaced == 6


def test_the_rest_goes_out_as_it_would_have() -> None:
    """JSON turns keys into text also where a value elsewhere has to be replaced."""
    keys: dict[Any, Any] = {None: 1, True: 2, 3: 3, 1.5: 4, Word.ONE: 5, Number.TWO: 6, "text": Word.ONE}
    plain = json.loads(json.dumps(keys))
    text, replaced = encode_payload({"keys": keys, "bad": float("nan")})
    assert json.loads(text) == {"keys": plain, "bad": "NaN"}
    assert replaced == 1
    odd: dict[Any, Any] = {float("nan"): 10**4_200}
    assert json.loads(encode_payload(odd)[0]) == {"NaN": 10**4_200}


def test_an_integer_may_be_as_long_as_python_writes_it() -> None:
    """However few digits the process allows."""
    long: dict[Any, Any] = {"long": 10**700, 10**800: 1}
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        assert encode_payload(long)[1] == 2
    finally:
        sys.set_int_max_str_digits(limit)


def test_depth_and_size_are_bounded() -> None:
    """A payload nested ten thousand deep, or with an integer of 5,000 digits, is sent in part."""
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    text, replaced = encode_payload({"deep": deep, "big": 10**5000, "long": [object()] * 3})
    assert replaced == 5
    assert "nested too deep" in text
    assert "integer of" in text


def test_an_empty_payload_is_the_empty_message() -> None:
    """None clears a retained topic; a mapping of any kind is sent as an object."""
    from types import MappingProxyType

    assert encode_payload(None) == ("", 0)
    assert encode_payload(MappingProxyType({"a": 1})) == ('{"a": 1}', 0)


@pytest.mark.parametrize(
    "payload",
    [
        b"x",
        b"[]",
        b"1",
        b"null",
        b'"a"',
        b"\xff",
        b'{"a": NaN}',
        b'{"a": 1',
        b"[" * 200_000,
        b"{" + b"1" * 5000,
    ],
)
def test_bytes_that_are_no_object_are_refused(payload: bytes) -> None:
    """Anything but a JSON object is one error, whatever it is."""
    with pytest.raises(UndecodableMessageError):
        decode_payload(payload)


def test_an_empty_message_is_an_empty_object() -> None:
    """A cleared topic arrives as an empty dict, like an empty object."""
    assert decode_payload(b"") == {} == decode_payload(b"{}")


@given(st.floats(min_value=0, max_value=4e9))
def test_a_timestamp_is_iso_8601_in_utc(seconds: float) -> None:
    """Every reading of the clock comes out as datetime would write it, to the microsecond."""
    text = timestamp(seconds)
    assert abs(datetime.fromisoformat(text).timestamp() - seconds) < 2e-6
    assert len(text) == len("2026-11-21T03:00:20.269270+00:00")
    assert datetime.fromisoformat(text).tzinfo == UTC


def test_the_source_of_an_unnamed_process_is_host_and_pid() -> None:
    """Readers tell processes apart by host name and process id."""
    assert default_source() == f"{platform.node()}-{os.getpid()}"


def test_the_reports_of_a_process_without_an_engine_replace_those_of_an_earlier_one() -> None:
    """Nothing is in force, nothing runs; what ended in earlier processes stays in the list of recent runs."""
    head = {"v": "1.0", "source": "line 3", "session": "p", "presence": "p"}
    made = idle_reports("line 3", presence="p", now=1795230020.5, recent=[{"run_id": "r"}])
    ts = "2026-11-21T03:00:20.500000+00:00"
    assert made == {
        "cascade/state/line%203/constraints": head
        | {"sync": "idle", "applied": {}, "effective": [], "in_scope_running": 0, "ts": ts},
        "cascade/state/line%203/runs": head | {"runs": [], "recent": [{"run_id": "r"}], "ts": ts},
    }
    none: list[list[dict[str, Any]] | None] = [None, []]
    for recent in none:
        runs = idle_reports("line", presence="p", now=0.0, recent=recent)["cascade/state/line/runs"]
        assert (runs["recent"], runs["ts"]) == ([], "1970-01-01T00:00:00.000000+00:00")


@pytest.mark.parametrize(
    ("payload", "text", "replaced"),
    [
        ({"a": float("inf"), "b": float("-inf"), "c": 1}, '{"a": "Infinity", "b": "-Infinity", "c": 1}', 2),
        ({"a": {3}}, '{"a": [3]}', 1),
        ({"a": frozenset([1j])}, '{"a": ["1j"]}', 2),
        ({"a": (1, [2j])}, '{"a": [1, ["2j"]]}', 1),
        ({1j: 1}, '{"1j": 1}', 1),
        ({float("nan"): 1j}, '{"NaN": "1j"}', 2),
        ({"a": "x", "b": object}, '{"a": "x", "b": "<class \'object\'>"}', 1),
        ({"a": 1j, "b": None, "c": True}, '{"a": "1j", "b": null, "c": true}', 1),
    ],
)
def test_each_value_that_json_does_not_have_is_replaced_and_counted(
    payload: dict[Any, Any], text: str, replaced: int
) -> None:
    """Sets by lists, numbers by their names, keys by text, anything else by its repr."""
    assert encode_payload(payload) == (text, replaced)
    assert encode_payload(types.MappingProxyType(payload)) == (text, replaced)
