"""Registers: one for each topic, replaced by a sync, expiring by themselves, bounded."""

import json
from typing import Any

import pytest
from stand_ins import FakeClock

from cascade.interfaces.topics import constraint_topic
from cascade.runtime.constraints.parse import parse
from cascade.runtime.constraints.registers import MAX_ALIKE, MAX_REJECTIONS, Effective, Registers
from cascade.runtime.constraints.rules import Concurrency, Pause, RateLimit

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
    return [register.status.value for _, register in registers.reported()]


def limit(number: int, **keys: Any) -> dict[str, Any]:
    return {"type": "concurrency", "params": {"limit": number}, **keys}


def test_what_is_set_is_in_force_until_it_is_cleared(registers: Registers) -> None:
    """A message puts its constraint in force at once, an empty one takes it out."""
    send(registers, GLOBAL, PAUSE)
    assert registers.take_changes() == {("global", "pause"): Effective(Pause(), GLOBAL)}
    assert registers.take_changes() == {}
    send(registers, GLOBAL, b"")
    assert registers.take_changes() == {("global", "pause"): None}
    assert registers.effective() == {}


def test_i5_a_message_changes_its_own_register_only(registers: Registers) -> None:
    """I5 a message on one topic changes only that topic's register, also of the same scope and type."""
    send(registers, GLOBAL, PAUSE)
    send(registers, f"{GLOBAL}/@pause", PAUSE)
    send(registers, f"{GLOBAL}/@concurrency", limit(2))
    before = dict(registers.values)
    send(registers, f"{GLOBAL}/@pause", b"{}")
    del before[f"{GLOBAL}/@pause"]
    assert registers.values == before
    assert ("global", "pause") in registers.effective()  # the older form still holds it


def test_a_type_on_an_older_topic_replaces_the_one_before(registers: Registers) -> None:
    """One topic holds one constraint: a limit after a pause on the same topic lifts the pause."""
    send(registers, GLOBAL, PAUSE)
    send(registers, GLOBAL, limit(2))
    assert list(registers.effective()) == [("global", "concurrency")]


def test_i2_a_cleared_register_does_not_come_back(registers: Registers) -> None:
    """I2 no resurrection: what is not in the retained set that a sync brings is gone, and stays so."""
    send(registers, GLOBAL, PAUSE)
    send(registers, f"{GLOBAL}/@concurrency", limit(2))
    registers.take_changes()
    topic = f"{GLOBAL}/@concurrency"
    registers.replace({topic: parse(topic, json.dumps(limit(2)).encode())})
    registers.settle()
    assert registers.take_changes() == {("global", "pause"): None}
    registers.replace({topic: parse(topic, json.dumps(limit(2)).encode())})
    registers.settle()
    assert registers.take_changes() == {}


def test_i4_the_strictest_of_several_wins(registers: Registers) -> None:
    """I4 adding a constraint never permits more: of one scope and type the minimum holds."""
    for number, topic in ((5, GLOBAL), (3, f"{GLOBAL}/@concurrency"), (4, "cascade/constraints/%67lobal")):
        send(registers, topic, limit(number))
    key = ("global", "concurrency")
    assert registers.effective()[key] == Effective(Concurrency(3), f"{GLOBAL}/@concurrency")
    send(registers, f"{GLOBAL}/@concurrency", b"")
    assert registers.effective()[key] == Effective(Concurrency(4), "cascade/constraints/%67lobal")


def test_i4_two_rates_of_one_scope_give_the_slower_and_the_smaller(registers: Registers) -> None:
    """I4 for token buckets: the lower rate with the smaller capacity."""
    send(registers, GLOBAL, {"type": "rate_limit", "params": {"rate": "60/m", "capacity": 9}})
    send(registers, f"{GLOBAL}/@rate_limit", {"type": "rate_limit", "params": {"rate": 5, "capacity": 2}})
    rule = registers.effective()["global", "rate_limit"].rule
    assert isinstance(rule, RateLimit)
    assert (rule.per_second, rule.burst) == (1.0, 2.0)


def test_an_invalid_message_keeps_the_last_valid_value(registers: Registers) -> None:
    """Row 25: garbage after a pause leaves the pause, is told of, and a valid message ends that."""
    send(registers, GLOBAL, PAUSE)
    send(registers, GLOBAL, b"garbage")
    assert ("global", "pause") in registers.effective()
    assert "malformed" in registers.rejections[GLOBAL]
    registers.replace({GLOBAL: parse(GLOBAL, b"garbage")})
    registers.settle()
    assert ("global", "pause") in registers.effective()
    send(registers, GLOBAL, PAUSE)
    assert registers.rejections == {}


def test_a_duplicate_changes_nothing(registers: Registers) -> None:
    """Row 24: the same message again is no change, so nothing is reported and no bucket is refilled."""
    send(registers, GLOBAL, limit(2))
    registers.take_changes()
    revision = registers.revision
    send(registers, GLOBAL, limit(2))
    assert registers.revision == revision
    assert registers.take_changes() == {}


def test_an_unsupported_constraint_takes_the_place_of_what_was_there(registers: Registers) -> None:
    """A type of a later version replaces the constraint on its topic, is listed, and is not in force."""
    send(registers, GLOBAL, PAUSE)
    send(registers, GLOBAL, {"type": "quota"})
    assert registers.effective() == {}
    assert statuses(registers) == ["unsupported"]


def test_expiry_follows_the_monotonic_clock(registers: Registers, clock: FakeClock) -> None:
    """Row 23: a clock that is set back or forth after arrival neither prolongs nor shortens it."""
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


def test_row_23_what_the_broker_says_is_left_counts(registers: Registers, clock: FakeClock) -> None:
    """Row 23: against a wall clock that is ten minutes ahead a fresh pause of five minutes holds for five minutes."""
    message = {**PAUSE, "expires_at": clock.now() - 300}
    send(registers, GLOBAL, message, deadline=clock.ticks + 300)
    assert registers.next_expiry() == clock.ticks + 300
    clock.ticks += 299
    registers.expire()
    assert ("global", "pause") in registers.effective()
    clock.ticks += 1
    registers.expire()
    assert registers.effective() == {}


def test_what_is_left_of_a_repeated_message_moves_its_end(registers: Registers, clock: FakeClock) -> None:
    """Repeating a message prolongs it, which is no change otherwise; the rounding of brokers moves nothing."""
    send(registers, GLOBAL, PAUSE, deadline=clock.ticks + 10)
    first, revision = registers.next_expiry(), registers.revision
    send(registers, GLOBAL, PAUSE, deadline=clock.ticks + 9.5)
    assert registers.next_expiry() == first
    send(registers, GLOBAL, PAUSE, deadline=clock.ticks + 20)
    assert registers.next_expiry() == clock.ticks + 20
    send(registers, GLOBAL, PAUSE)
    assert registers.next_expiry() is None
    assert registers.revision == revision
    send(registers, GLOBAL, PAUSE, deadline=clock.ticks)
    assert statuses(registers) == ["expired"]
    send(registers, GLOBAL, PAUSE, deadline=clock.ticks + 5)
    assert statuses(registers) == ["applied"]


def test_i8_what_has_expired_is_not_claimed(registers: Registers, clock: FakeClock) -> None:
    """I8 a report never claims what is not in force: past on arrival, or repeated after its end."""
    message = {**PAUSE, "expires_at": clock.now() - 1}
    send(registers, GLOBAL, message)
    send(registers, GLOBAL, message)
    assert registers.effective() == {}
    assert statuses(registers) == ["expired"]


def test_an_expiry_that_was_moved_holds_as_moved(registers: Registers, clock: FakeClock) -> None:
    """Prolonging a register replaces its timer; the earlier one rings for nobody."""
    send(registers, GLOBAL, {**PAUSE, "expires_at": clock.now() + 1})
    send(registers, GLOBAL, {**PAUSE, "expires_at": clock.now() + 9})
    clock.ticks += 5
    registers.expire()
    assert ("global", "pause") in registers.effective()
    assert registers.next_expiry() == clock.ticks + 4
    send(registers, GLOBAL, b"")
    assert registers.next_expiry() is None


def test_i6_registers_and_rejections_are_bounded(clock: FakeClock) -> None:
    """I6 memory is bounded: more registers are refused and counted, old rejections are forgotten."""
    registers = Registers(clock, limit=5)
    for number in range(20):
        send(registers, constraint_topic(f"task:t{number}"), PAUSE)
    assert len(registers) == 5
    assert registers.over_limit == 15
    assert "5 registers" in registers.rejections[constraint_topic("task:t9")]
    send(registers, constraint_topic("task:t3"), limit(1))  # one that is there may still change
    assert ("task:t3", "concurrency") in registers.effective()
    for number in range(MAX_REJECTIONS + 50):
        send(registers, constraint_topic(f"task:x{number}"), b"?")
    assert len(registers.rejections) == MAX_REJECTIONS
    assert registers.rejections_forgotten == 65


def test_i6_one_scope_written_in_many_ways_is_bounded(registers: Registers) -> None:
    """I6 for spellings: topics that decode to one scope cannot pile up under it."""
    for number in range(200):
        spelling = "".join(f"%{ord('a'):02x}" if number >> bit & 1 else "a" for bit in range(8))
        send(registers, f"cascade/constraints/task/{spelling}", PAUSE)
    assert len(registers) == MAX_ALIKE


def test_i6_a_register_that_changes_is_counted_where_it_goes(registers: Registers) -> None:
    """I6 for spellings that were something else before: at most so many come to one scope and type."""
    for number in range(200):
        spelling = "".join(f"%{ord('a'):02x}" if number >> bit & 1 else "a" for bit in range(8))
        topic = f"cascade/constraints/task/{spelling}"
        send(registers, topic, {"type": "quota"} if number % 2 else limit(number))
        send(registers, topic, PAUSE)
    assert len(registers._in_force["task:aaaaaaaa", "pause"]) == MAX_ALIKE
    kept = {content.id for content in registers.values.values() if content.id != "pause-task:aaaaaaaa"}
    assert kept == {"quota-task:aaaaaaaa", "concurrency-task:aaaaaaaa"}


def test_i6_a_long_text_of_a_rate_is_not_kept(registers: Registers) -> None:
    """I6 in bytes: what is kept of a rate is its number."""
    rate = " " * 60_000 + "60/m"
    send(registers, GLOBAL, {"type": "rate_limit", "params": {"rate": rate}})
    rule = registers.effective()["global", "rate_limit"].rule
    assert rule == RateLimit(1.0, capacity=1.0)
    assert isinstance(rule, RateLimit)
    assert rule.rate == 1.0


def test_i6_expiries_are_forgotten_with_their_messages(registers: Registers, clock: FakeClock) -> None:
    """I6 for timers: a register that is prolonged ten thousand times keeps a handful of entries."""
    for number in range(10_000):
        send(registers, GLOBAL, {**PAUSE, "expires_at": clock.now() + 1_000 + number})
    assert len(registers._expiries) < 100
    assert registers.next_expiry() == pytest.approx(clock.ticks + 10_999)


def test_only_what_concerns_the_engine_is_in_force(clock: FakeClock) -> None:
    """A pause of another source is kept, holds nothing here, and is not this engine's to report."""
    registers = Registers(clock, relevant=lambda scope: scope != "source:other")
    send(registers, constraint_topic("source:other"), {**PAUSE, "expires_at": clock.now() + 1})
    assert registers.effective() == {}
    assert len(registers) == 1
    assert (statuses(registers), registers.to_report) == ([], 0)
    assert registers.next_expiry() is None
    send(registers, constraint_topic("source:other"), b"?")
    assert registers.to_report == 1


def test_topics_that_begin_alike_are_rejected_one_by_one(registers: Registers) -> None:
    """Each topic has a rejection of its own, however long: clearing one clears no other's."""
    one, other = (constraint_topic(f"run:{'x' * 900}{number}") for number in (1, 2))
    send(registers, one, PAUSE)
    for topic in (one, other):
        send(registers, topic, b"?")
    assert list(registers.rejections) == [one, other]
    send(registers, other, b"")
    assert list(registers.rejections) == [one]
    assert registers.get(one) is not None


def test_a_great_set_is_taken_in_bit_by_bit(registers: Registers) -> None:
    """What has not been settled is not in force, a newer message is not undone by it, and all of it counts at the end."""
    old, new, newest = (constraint_topic(f"task:{name}") for name in ("old", "new", "newest"))
    send(registers, old, PAUSE)
    registers.take_changes()
    registers.replace({new: parse(new, b'{"type":"pause"}'), newest: parse(newest, b'{"type":"pause"}')})
    assert registers.has_changes
    assert not registers.settle(1)  # what is gone makes room first
    assert set(registers.values) == set()
    send(registers, newest, limit(3))
    assert registers.settle()
    assert set(registers.effective()) == {("task:new", "pause"), ("task:newest", "concurrency")}
    registers.clear()
    assert (len(registers), registers.has_changes) == (0, False)
