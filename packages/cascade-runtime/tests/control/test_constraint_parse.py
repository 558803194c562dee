"""Messages on constraint topics: which are obeyed, which are rejected, and for which reason."""

import json
import sys
from typing import Any

import pytest
from admission_parts import Concurrency, RateLimit
from control_parts import MAX_BYTES, Cleared, Constraint, MessageOutcome, Rejected, Unsupported, parse
from hypothesis import example, given
from hypothesis import strategies as st

from cascade.interfaces.topics import constraint_topic

GLOBAL = "cascade/constraints/global"


def read(scope: str, message: Any, kind: str = "") -> MessageOutcome:
    return parse(constraint_topic(scope, kind), json.dumps(message).encode())


@pytest.mark.parametrize(
    ("by", "found"),
    [
        ("olaf", "olaf"),
        (" olaf\n of  hall 2", "olaf of hall 2"),
        ("x" * 5_000, "x" * 100),
        (7, ""),
        (None, ""),
        (["olaf"], ""),
    ],
)
def test_an_author_is_a_claim_that_never_rejects_a_message(by: object, found: str) -> None:
    """Bounded, on one line; what is not text is left out."""
    constraint = read("global", {"type": "pause", "by": by})
    assert isinstance(constraint, Constraint)
    assert constraint.by == found


@pytest.mark.parametrize("payload", [b"", b"{}", b" { } \n"])
def test_an_empty_message_clears(payload: bytes) -> None:
    """An empty payload and ``{}`` both clear the register."""
    assert parse(GLOBAL, payload) == Cleared()


@pytest.mark.parametrize(
    ("rate", "per_second", "burst"),
    [
        (5, 5.0, 5.0),
        (0.5, 0.5, 1.0),
        ("10/m", 10 / 60, 1.0),
        ("10/min", 10 / 60, 1.0),
        ("10 / minutes", 10 / 60, 1.0),
        ("50/s", 50.0, 50.0),
        ("2.5/sec", 2.5, 2.5),
        ("2/second", 2.0, 2.0),
        ("7200/h", 2.0, 2.0),
        ("7200/hours", 2.0, 2.0),
    ],
)
def test_rates_are_parsed(rate: object, per_second: float, burst: float) -> None:
    """A number is a rate per second; a string names its unit; the bucket holds at least one token."""
    found = read("global", {"type": "rate_limit", "params": {"rate": rate}})
    assert isinstance(found, Constraint)
    assert isinstance(found.rule, RateLimit)
    assert found.rule.per_second == pytest.approx(per_second)
    assert found.rule.burst == pytest.approx(burst)


RATE = '{"type": "rate_limit", "params": {"rate": %s}}'
LIMIT = '{"type": "concurrency", "params": {"limit": %s}}'


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ("no json", "malformed"),
        ('{"type": "pause"', "truncated"),
        ('"pause"', "not an object"),
        ("[]", "not an object"),
        ("null", "not an object"),
        ("\x00", "malformed"),
        ('{"params": {}}', "type"),
        ('{"type": null}', "type"),
        ('{"type": 1}', "type"),
        ('{"type": "pause", "id": 7}', "id"),
        ('{"type": "pause", "id": "%s"}' % ("x" * 300), "longer than 256"),
        ('{"type": "pause", "params": []}', "params"),
        ('{"type": "pause", "expires_at": "soon"}', "expires_at"),
        ('{"type": "pause", "expires_at": true}', "expires_at"),
        ('{"type": "pause", "expires_at": NaN}', "malformed"),
        ('{"type": "pause", "expires_at": Infinity}', "malformed"),
        ('{"type": "pause", "expires_at": 1e999}', "range"),
        ('{"type": "pause", "expires_at": %s}' % ("9" * 4300), "range"),
        ('{"type": "pause", "further": -1e999}', "range"),
        ('{"type": "pause", "further": NaN}', "malformed"),
        pytest.param(
            '{{"type": "pause", "further": {}1{}}}'.format("[" * 20_000, "]" * 20_000),
            "recursion",
            marks=pytest.mark.skipif(
                sys.version_info >= (3, 14), reason="Python 3.14 reads as deep as 64 KiB can be"
            ),
        ),
        ('{"type": "pause", "scope": "task:x"}', "names the scope"),
        ('{"type": "concurrency"}', "limit"),
        (LIMIT % "-1", ">= 0"),
        (LIMIT % "true", "bool"),
        (LIMIT % "2.5", "whole number"),
        (LIMIT % '"2"', "str"),
        (LIMIT % ("9" * 4300), "limit"),
        (RATE % "0", "pause"),
        (RATE % "-1", "above 0"),
        (RATE % "true", "bool"),
        (RATE % "1e-320", "too small"),
        (RATE % '"0/m"', "pause"),
        (RATE % '"10"', "10/m"),
        (RATE % '"10/fortnight"', "10/m"),
        (RATE % '"1e3/s"', "10/m"),
        (RATE % ('"%s/s"' % ("9" * 5000)), "10/m"),
        ('{"type": "rate_limit", "params": {"rate": 1, "capacity": 0.5}}', ">= 1"),
        ('{"type": "rate_limit", "params": {"rate": 1, "capacity": false}}', "bool"),
        ('{"type": "rate_limit", "params": {"rate": "often", "capacity": 2}}', "10/m"),
        ('{"type": "rate_limit", "params": {"rate": 0, "capacity": 2}}', "pause"),
        ('{"type": "rate_limit", "params": {"rate": 1e-320, "capacity": 2}}', "too small"),
        ('{"type": "rate_limit"}', "rate"),
        ('{"type": "cancel"}', "run:<id>"),
    ],
)
def test_an_invalid_payload_is_rejected_with_its_reason(payload: str, reason: str) -> None:
    """Row 25: whatever is invalid, the rejection names it."""
    found = parse(GLOBAL, payload.encode())
    assert isinstance(found, Rejected)
    assert reason in found.reason
    assert len(found.reason) <= 200


def test_a_huge_payload_is_rejected_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than 64 KiB is never decoded; exactly 64 KiB is."""
    whole = b'{"type":"pause"}'
    fits = whole + b" " * (MAX_BYTES - len(whole))
    assert isinstance(parse(GLOBAL, fits), Constraint)
    monkeypatch.setattr("msgspec.json.decode", lambda data: pytest.fail("it was decoded"))
    assert parse(GLOBAL, fits + b" ") == Rejected("the payload has 65537 bytes, more than 65536")


@pytest.mark.parametrize(
    ("scope", "expires_at", "obeyed"),
    [
        ("run:9a81", None, True),
        ("run:9a81", 5.0, True),
        ("task:x*", 5.0, True),
        ("task:x*", None, False),
        ("global", 5.0, False),
        ("source:a", 5.0, True),
        ("source:a", None, False),
        ("project:a", 5.0, False),
    ],
)
def test_a_cancel_names_one_run_or_expires(scope: str, expires_at: float | None, obeyed: bool) -> None:
    """A cancel needs the scope of one run, or of tasks or a source with an expiry; anything else would cancel for ever."""
    found = read(scope, {"type": "cancel", "expires_at": expires_at})
    assert isinstance(found, Constraint if obeyed else Rejected)


def test_an_expiry_in_milliseconds_is_rejected() -> None:
    """An ``expires_at`` above 1e11 can only be in milliseconds: the pause would last until the year 58,000."""
    found = read("global", {"type": "pause", "expires_at": 1_795_230_105_930})
    assert isinstance(found, Rejected)
    assert "this looks like milliseconds" in found.reason
    assert isinstance(read("global", {"type": "pause", "expires_at": 1e11}), Constraint)


def test_a_rate_is_reported_as_it_was_written() -> None:
    """Reports and reasons repeat ``6/m`` and not 0.1 a second; spaces are left out."""
    found = read("global", {"type": "rate_limit", "params": {"rate": " 6 / m "}})
    assert isinstance(found, Constraint)
    assert found.rule.params() == {"rate": "6/m", "capacity": 1.0}
    assert str(found.rule) == "6/m"
    assert str(RateLimit(0.5)) == "0.5 a second"


@pytest.mark.parametrize(
    ("topic", "message"),
    [
        (GLOBAL, {"type": "quota"}),
        ("cascade/constraints/team/x", {"type": "pause"}),
        ("cascade/constraints/global/x", {"type": "pause"}),
        ("cascade/constraints/task", {"type": "pause"}),
        ("cascade/constraints/team", {"type": "pause"}),
    ],
)
def test_an_unknown_type_or_scope_is_unsupported(topic: str, message: dict[str, Any]) -> None:
    """A type or scope of a later version is reported and is not an error."""
    assert isinstance(parse(topic, json.dumps(message).encode()), Unsupported)


@pytest.mark.parametrize(
    "topic",
    [
        "cascade/constraints/task/a/b/c",
        "cascade/constraints/task/%ff",
        "cascade/constraints//@pause",
        "cascade/constraints/task/" + "x" * 2000,
        "cascade/constraints/task/" + "x" * 300,
    ],
)
def test_a_topic_that_does_not_name_a_register_is_rejected(topic: str) -> None:
    """A topic that is malformed or too long has no register."""
    assert isinstance(parse(topic, b'{"type":"pause"}'), Rejected)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
likely = st.fixed_dictionaries(
    {"type": st.sampled_from(["pause", "concurrency", "rate_limit", "cancel", "x"]) | json_values},
    optional={
        "id": json_values,
        "scope": st.sampled_from(["global", "task:a"]) | json_values,
        "params": st.dictionaries(st.sampled_from(["limit", "rate", "capacity"]), json_values) | json_values,
        "expires_at": json_values,
    },
)
payloads = st.binary(max_size=60) | likely.map(lambda message: json.dumps(message).encode())
topics = st.sampled_from([GLOBAL, f"{GLOBAL}/@pause", "cascade/constraints/task/a", "cascade/constraints/x"])


@given(topics, payloads)
@example(GLOBAL, b"[" * 60_000)
@example(GLOBAL, b'{"type":' * 8_000)
@example(GLOBAL, b'{"type":"concurrency","params":{"limit":' + b"9" * 60_000 + b"}}")
def test_i7_any_bytes_give_an_outcome(topic: str, payload: bytes) -> None:
    """I7 any bytes leave the engine running: parsing never raises, and every accepted constraint is valid."""
    found = parse(topic, payload)
    if isinstance(found, Constraint):
        rule = found.rule
        assert not isinstance(rule, Concurrency) or rule.limit >= 0
        assert not isinstance(rule, RateLimit) or (
            0 < rule.per_second < sys.float_info.max and rule.burst >= 1
        )
    else:
        assert isinstance(found, Cleared | Rejected | Unsupported)


@pytest.mark.parametrize(
    "scope",
    ["project", "task", "run", "source", "everything", "global:x", "team:x", "Global", "tasks:x", "scope"],
)
def test_a_scope_that_is_not_one_of_the_five_is_unsupported(scope: str) -> None:
    """Also one whose value is missing, and ``global`` with one: a typing error never pauses anything."""
    found = parse(f"cascade/constraints/{scope.replace(':', '/')}/@pause", b'{"type":"pause","id":"mine"}')
    assert found == Unsupported("mine", f"unknown scope {scope!r}")


def test_a_payload_that_contradicts_its_topic_is_rejected() -> None:
    """A broker's ACL checks topics, so scope and type must be those of the topic."""
    assert isinstance(read("task:a", {"type": "pause", "scope": "global"}), Rejected)
    assert isinstance(read("task:a", {"type": "pause"}, "concurrency"), Rejected)
    assert isinstance(read("task:a", {"type": "pause", "scope": "task:a"}, "pause"), Constraint)
