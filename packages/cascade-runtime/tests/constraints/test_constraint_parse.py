"""Messages on constraint topics: what is obeyed, what is refused, and why."""

import json
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cascade.interfaces.topics import constraint_topic
from cascade.runtime.constraints.parse import (
    MAX_BYTES,
    Cleared,
    Constraint,
    Outcome,
    Rejected,
    Unsupported,
    parse,
)
from cascade.runtime.constraints.rules import Cancel, Concurrency, Pause, RateLimit

GLOBAL = "cascade/constraints/global"


def read(scope: str, message: Any, kind: str = "") -> Outcome:
    return parse(constraint_topic(scope, kind), json.dumps(message).encode())


@pytest.mark.parametrize(
    ("scope", "message", "rule"),
    [
        ("global", {"id": "pause-global", "type": "pause", "params": {}, "expires_at": None}, Pause()),
        (
            "task:resize*",
            {"id": "c", "type": "concurrency", "params": {"limit": 3}, "expires_at": 1795230105.93},
            Concurrency(3),
        ),
        (
            "task:call_api",
            {"id": "r", "type": "rate_limit", "params": {"rate": "10/m"}, "expires_at": None},
            RateLimit("10/m"),
        ),
        ("run:9a81", {"id": "x", "type": "cancel", "params": {}, "expires_at": 1795230105.93}, Cancel()),
    ],
)
def test_the_five_keys_are_read(scope: str, message: dict[str, Any], rule: object) -> None:
    """What our writers send is read whole, with and without the type in the topic."""
    for kind in ("", message["type"]):
        found = read(scope, {**message, "scope": scope}, kind)
        assert found == Constraint(message["id"], scope, rule, message["expires_at"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scope", "kind", "derived"),
    [
        ("global", "pause", "pause-global"),
        ("project:acme", "pause", "pause-project:acme"),
        ("source:press-3", "pause", "pause-source:press-3"),
    ],
)
def test_a_message_needs_only_its_type(scope: str, kind: str, derived: str) -> None:
    """Typed by hand: the scope comes from the topic, everything else has its default."""
    assert read(scope, {"type": kind}) == Constraint(derived, scope, Pause(), None)


def test_an_id_is_derived_as_writers_would_write_it() -> None:
    """The id that a message leaves out has the form of the protocol's examples."""
    found = read("task:call_api", {"type": "rate_limit", "params": {"rate": 1}})
    assert isinstance(found, Constraint)
    assert found.id == "ratelimit-task:call_api"


@pytest.mark.parametrize("payload", [b"", b"{}", b" { } \n"])
def test_an_empty_message_clears(payload: bytes) -> None:
    """Nothing and ``{}`` both empty the register."""
    assert parse(GLOBAL, payload) == Cleared()


def test_further_keys_are_allowed() -> None:
    """Whoever adds keys in a later 1.x is still understood."""
    message = {"type": "concurrency", "params": {"limit": 1, "queue": 4}, "rev": 3, "by": {"who": ["x"]}}
    found = read("global", message)
    assert isinstance(found, Constraint)
    assert found.rule == Concurrency(1)


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
def test_rates_are_understood(rate: object, per_second: float, burst: float) -> None:
    """A number is per second; a text names its unit; the bucket holds at least one token."""
    found = read("global", {"type": "rate_limit", "params": {"rate": rate}})
    assert isinstance(found, Constraint)
    assert isinstance(found.rule, RateLimit)
    assert found.rule.per_second == pytest.approx(per_second)
    assert found.rule.burst == pytest.approx(burst)


def test_a_capacity_is_taken_as_given() -> None:
    """A capacity of its own replaces the default one."""
    found = read("global", {"type": "rate_limit", "params": {"rate": "50/s", "capacity": 2}})
    assert isinstance(found, Constraint)
    assert found.rule.params() == {"rate": 50.0, "capacity": 2.0}


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
        ('{{"type": "pause", "further": {}1{}}}'.format("[" * 20_000, "]" * 20_000), "recursion"),
        ('{"type": "pause", "scope": "task:x"}', "names the scope"),
        ('{"type": "concurrency"}', "limit"),
        (LIMIT % "-1", ">= 0"),
        (LIMIT % "true", "bool"),
        (LIMIT % "2.5", "float"),
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
        ('{"type": "rate_limit"}', "rate"),
        ('{"type": "cancel"}', "run:<id>"),
    ],
)
def test_bad_bytes_are_refused_in_words(payload: str, reason: str) -> None:
    """Row 25: whatever is wrong, the answer is a rejection that names it."""
    found = parse(GLOBAL, payload.encode())
    assert isinstance(found, Rejected)
    assert reason in found.reason
    assert len(found.reason) <= 200


def test_a_huge_payload_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than 64 KiB is never decoded; exactly 64 KiB is."""
    whole = b'{"type":"pause"}'
    fits = whole + b" " * (MAX_BYTES - len(whole))
    assert isinstance(parse(GLOBAL, fits), Constraint)
    monkeypatch.setattr("msgspec.json.decode", lambda data: pytest.fail("it was decoded"))
    assert parse(GLOBAL, fits + b" ") == Rejected("65537 bytes, more than 65536")


@pytest.mark.parametrize(
    ("scope", "expires_at", "obeyed"),
    [
        ("run:9a81", None, True),
        ("run:9a81", 5.0, True),
        ("task:x*", 5.0, True),
        ("task:x*", None, False),
        ("global", 5.0, False),
        ("source:a", 5.0, False),
    ],
)
def test_a_cancel_is_never_forgotten_in_force(scope: str, expires_at: float | None, obeyed: bool) -> None:
    """It names one run, or tasks with an end; anything else would cancel for ever."""
    found = read(scope, {"type": "cancel", "expires_at": expires_at})
    assert isinstance(found, Constraint if obeyed else Rejected)


def test_a_payload_cannot_claim_what_its_topic_does_not_say() -> None:
    """A broker guards topics: so scope and type are those of the topic, or the message is refused."""
    assert isinstance(read("task:a", {"type": "pause", "scope": "global"}), Rejected)
    assert isinstance(read("task:a", {"type": "pause"}, "concurrency"), Rejected)
    assert isinstance(read("task:a", {"type": "pause", "scope": "task:a"}, "pause"), Constraint)


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
def test_what_nobody_here_knows_is_unsupported(topic: str, message: dict[str, Any]) -> None:
    """A type or scope of a later version is told of, and is no error."""
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
def test_a_topic_that_is_none_of_a_register_is_refused(topic: str) -> None:
    """Topics without a meaning, or too long to be kept, hold nothing."""
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
def test_i7_any_bytes_give_an_answer(topic: str, payload: bytes) -> None:
    """I7 any bytes leave the engine running: parsing never raises, and what it takes is sound."""
    found = parse(topic, payload)
    if isinstance(found, Constraint):
        rule = found.rule
        assert not isinstance(rule, Concurrency) or rule.limit >= 0
        assert not isinstance(rule, RateLimit) or (
            0 < rule.per_second < sys.float_info.max and rule.burst >= 1
        )
    else:
        assert isinstance(found, Cleared | Rejected | Unsupported)
