"""What the simple model of registers does not have: rates, odd spellings, and how much the timers keep."""

import json
from typing import Any

import pytest
from admission_parts import RateLimit
from control_parts import Registers, parse
from fakes import FakeClock

from cascade.interfaces.topics import constraint_topic

GLOBAL = "cascade/constraints/global"
PAUSE = {"type": "pause"}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def registers(clock: FakeClock) -> Registers:
    return Registers(clock)


def send(registers: Registers, topic: str, message: Any, *, deadline: float | None = None) -> None:
    payload = message if isinstance(message, bytes) else json.dumps(message).encode()
    registers.apply(topic, parse(topic, payload, deadline=deadline))


def test_i4_two_rates_of_one_scope_give_the_slower_and_the_smaller(registers: Registers) -> None:
    """I4 for token buckets: the lower rate with the smaller capacity."""
    send(registers, GLOBAL, {"type": "rate_limit", "params": {"rate": "60/m", "capacity": 9}})
    send(registers, f"{GLOBAL}/@rate_limit", {"type": "rate_limit", "params": {"rate": 5, "capacity": 2}})
    rule = registers.effective()["global", "rate_limit"].rule
    assert isinstance(rule, RateLimit)
    assert (rule.per_second, rule.burst) == (1.0, 2.0)


@pytest.mark.parametrize(
    "topic",
    ["glob%61l", "glob%61l/@pause", "global/@%70ause", "task/a%2b", "task/a%2B/@p%61use", "task%3Aa/@pause"],
)
def test_only_the_canonical_spelling_of_a_scope_is_a_register(registers: Registers, topic: str) -> None:
    """Row 53: another one passes a broker's deny rules, and no tool would clear it: it is refused, and an empty message removes it."""
    topic = f"cascade/constraints/{topic}"
    send(registers, topic, PAUSE)
    assert (len(registers), registers.effective()) == (0, {})
    assert {key: tuple(each) for key, each in registers.problems.items()} == {
        topic: ("refused", "spelling", "")
    }
    send(registers, topic, b"")
    assert registers.problems == {}


def test_i6_expiries_are_forgotten_with_their_messages(registers: Registers, clock: FakeClock) -> None:
    """I6 for timers: a register that is prolonged ten thousand times keeps a handful of entries."""
    for number in range(10_000):
        send(registers, GLOBAL, {**PAUSE, "expires_at": clock.now() + 1_000 + number})
    assert len(registers._expiries) < 100
    assert registers.next_expiry() == pytest.approx(clock.ticks + 10_999)


def test_the_next_expiry_is_the_earliest_also_after_many_have_moved(
    registers: Registers, clock: FakeClock
) -> None:
    """Expiries that messages have moved are swept out; those that remain keep their order."""
    topics = [constraint_topic(f"task:t{number}") for number in range(40)]
    for moved in range(4):
        for number, topic in enumerate(topics):
            send(registers, topic, PAUSE, deadline=clock.ticks + 1_000 + 100 * moved + 2 * number)
    for number in range(40):
        assert registers.next_expiry() == clock.ticks + 1_300 + 2 * number
        send(registers, topics[number], b"")
