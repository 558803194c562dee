"""Registers: one for each topic, replaced by a sync, expiring by themselves, bounded."""

import json
from typing import Any

import pytest
from admission_parts import Concurrency, Effective, RateLimit
from control_parts import MAX_OWN, MAX_PROBLEMS, MAX_REGISTERS, Registers, parse
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


def statuses(registers: Registers) -> list[str]:
    return [register.status.value for register in registers.reported()]


def limit(number: int, **keys: Any) -> dict[str, Any]:
    return {"type": "concurrency", "params": {"limit": number}, **keys}


def test_i5_a_message_changes_its_own_register_only(registers: Registers) -> None:
    """I5 a message on one topic changes only that topic's register, also of the same scope and type."""
    send(registers, GLOBAL, PAUSE)
    send(registers, f"{GLOBAL}/@pause", PAUSE)
    send(registers, f"{GLOBAL}/@concurrency", limit(2))
    before = dict(registers.values)
    send(registers, f"{GLOBAL}/@pause", b"{}")
    del before[f"{GLOBAL}/@pause"]
    assert registers.values == before
    assert ("global", "pause") in registers.effective()  # the short topic still has it


def test_i2_a_cleared_register_does_not_come_back(registers: Registers) -> None:
    """I2 no resurrection: a register that is missing in the retained set of a sync is removed for good."""
    send(registers, GLOBAL, PAUSE)
    send(registers, f"{GLOBAL}/@concurrency", limit(2))
    registers.take_changes()
    registers.remove([GLOBAL])
    registers.settle()
    assert registers.take_changes() == {("global", "pause"): None}
    send(registers, f"{GLOBAL}/@concurrency", limit(2))
    registers.remove([])
    registers.settle()
    assert registers.take_changes() == {}


def test_i4_the_strictest_of_several_wins(registers: Registers) -> None:
    """I4 adding a constraint never permits more: of one scope and type the minimum is in force."""
    for number, topic in ((4, GLOBAL), (3, f"{GLOBAL}/@concurrency")):
        send(registers, topic, limit(number))
    key = ("global", "concurrency")
    assert registers.effective()[key] == Effective(Concurrency(3), f"{GLOBAL}/@concurrency")
    send(registers, f"{GLOBAL}/@concurrency", b"")
    assert registers.effective()[key] == Effective(Concurrency(4), GLOBAL)


def test_i4_two_rates_of_one_scope_give_the_slower_and_the_smaller(registers: Registers) -> None:
    """I4 for token buckets: the lower rate with the smaller capacity."""
    send(registers, GLOBAL, {"type": "rate_limit", "params": {"rate": "60/m", "capacity": 9}})
    send(registers, f"{GLOBAL}/@rate_limit", {"type": "rate_limit", "params": {"rate": 5, "capacity": 2}})
    rule = registers.effective()["global", "rate_limit"].rule
    assert isinstance(rule, RateLimit)
    assert (rule.per_second, rule.burst) == (1.0, 2.0)


def test_an_invalid_message_keeps_the_last_valid_value(registers: Registers) -> None:
    """Row 25: after an invalid message the pause stays, the rejection is listed until a valid message arrives."""
    send(registers, GLOBAL, PAUSE)
    send(registers, GLOBAL, b"garbage")
    assert ("global", "pause") in registers.effective()
    assert "malformed" in registers.problems[GLOBAL].reason
    send(registers, GLOBAL, b"garbage")
    registers.remove([])
    registers.settle()
    assert ("global", "pause") in registers.effective()
    send(registers, GLOBAL, PAUSE)
    assert registers.problems == {}


def test_a_duplicate_changes_nothing(registers: Registers) -> None:
    """Row 24: an equal message is not a change, so nothing is reported and no bucket is refilled."""
    send(registers, GLOBAL, limit(2))
    registers.take_changes()
    revision = registers.revision
    send(registers, GLOBAL, limit(2))
    assert registers.revision == revision
    assert registers.take_changes() == {}


OWN = ("global", "project:acme", "source:press-3", "run:here")


@pytest.mark.full
@pytest.mark.process
def test_what_means_the_engine_has_a_room_of_its_own(clock: FakeClock) -> None:
    """Ten thousand leftovers, and full problems, do not deprive an operator of any pause."""
    registers = Registers(clock, own_scopes=OWN[:3])
    registers.begin_run("here")
    for number in range(MAX_REGISTERS + 50):
        send(registers, constraint_topic(f"task:tenant-{number}"), PAUSE)
        send(registers, constraint_topic(f"task:bad-{number}"), b"?")
    assert (
        "limit of 10000" in registers.problems[constraint_topic(f"task:tenant-{MAX_REGISTERS + 49}")].reason
    )
    for scope in OWN:
        send(registers, constraint_topic(scope, "pause"), PAUSE)
    effective = registers.effective()
    assert {scope for scope in OWN if (scope, "pause") in effective} == set(OWN)
    assert {register.topic for register, _ in zip(registers.reported(), OWN, strict=False)} == {
        constraint_topic(scope, "pause") for scope in OWN
    }


def test_the_own_room_is_bounded(clock: FakeClock) -> None:
    """I6 for the own scopes: spellings of one topic cannot grow without bound."""
    registers = Registers(
        clock, own_scopes=("global", *(f"source:{number}" for number in range(2 * MAX_OWN)))
    )
    for number in range(2 * MAX_OWN):
        send(registers, constraint_topic(f"source:{number}"), PAUSE)
    assert len(registers) == MAX_OWN
    assert registers.over_limit == MAX_OWN


def test_expiry_follows_the_monotonic_clock(registers: Registers, clock: FakeClock) -> None:
    """Row 23: setting the wall clock after arrival neither prolongs nor shortens a constraint."""
    send(registers, GLOBAL, {**PAUSE, "expires_at": clock.now() + 10})
    assert registers.next_expiry() == clock.ticks + 10
    clock.put_forward = 5_000
    registers.expire()
    assert ("global", "pause") in registers.effective()
    clock.ticks += 10
    registers.take_changes()
    registers.expire()
    assert registers.take_changes() == {("global", "pause"): None}
    assert registers.next_expiry() is None
    assert statuses(registers) == ["expired"]


def test_row_23_the_brokers_remaining_expiry_counts(registers: Registers, clock: FakeClock) -> None:
    """Row 23: with a wall clock ten minutes ahead, a new pause of five minutes still lasts five minutes."""
    message = {**PAUSE, "expires_at": clock.now() - 300}
    send(registers, GLOBAL, message, deadline=clock.ticks + 300)
    assert registers.next_expiry() == clock.ticks + 300
    clock.ticks += 299
    registers.expire()
    assert ("global", "pause") in registers.effective()
    clock.ticks += 1
    registers.expire()
    assert registers.effective() == {}


def test_i8_an_expired_register_is_not_reported_as_applied(registers: Registers, clock: FakeClock) -> None:
    """I8 a report never claims what is not in force: expired on arrival, or repeated after its expiry."""
    message = {**PAUSE, "expires_at": clock.now() - 1}
    send(registers, GLOBAL, message)
    send(registers, GLOBAL, message)
    assert registers.effective() == {}
    assert statuses(registers) == ["expired"]


def test_i6_registers_and_rejections_are_bounded(clock: FakeClock) -> None:
    """I6 memory is bounded: further registers are rejected and counted, old rejections are forgotten."""
    registers = Registers(clock, limit=5)
    for number in range(20):
        send(registers, constraint_topic(f"task:t{number}"), PAUSE)
    assert len(registers) == 5
    assert registers.over_limit == 15
    assert "5 registers" in registers.problems[constraint_topic("task:t9")].reason
    send(registers, constraint_topic("task:t3"), limit(1))  # an existing register can still change
    assert ("task:t3", "concurrency") in registers.effective()
    for number in range(MAX_PROBLEMS + 50):
        send(registers, constraint_topic(f"task:x{number}"), b"?")
    assert len(registers.problems) == MAX_PROBLEMS
    assert registers.problems_forgotten == 65


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


def test_i6_a_long_text_of_a_rate_is_not_kept(registers: Registers) -> None:
    """I6 in bytes: of a rate only what has a meaning is kept."""
    rate = " " * 60_000 + "60/m"
    send(registers, GLOBAL, {"type": "rate_limit", "params": {"rate": rate}})
    rule = registers.effective()["global", "rate_limit"].rule
    assert rule == RateLimit("60/m", capacity=1.0)
    assert isinstance(rule, RateLimit)
    assert rule.rate == "60/m"


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
