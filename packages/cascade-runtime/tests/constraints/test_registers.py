"""Registers: one for each topic, replaced by a sync, expiring by themselves, bounded."""

import json
from typing import Any

import pytest

from cascade.interfaces.topics import constraint_topic
from cascade.runtime.constraints.parse import parse
from cascade.runtime.constraints.registers import MAX_ALIKE, MAX_REJECTIONS, Effective, Registers
from cascade.runtime.constraints.rules import Concurrency, Pause, RateLimit

GLOBAL = "cascade/constraints/global"
PAUSE = {"type": "pause"}


class FakeClock:
    """A wall clock and a monotonic one, which a test moves."""

    def __init__(self) -> None:
        self.wall = 1_800_000_000.0
        self.ticks = 50.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.ticks

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.ticks += seconds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def registers(clock: FakeClock) -> Registers:
    return Registers(clock)


def send(registers: Registers, topic: str, message: Any) -> None:
    payload = message if isinstance(message, bytes) else json.dumps(message).encode()
    registers.apply(topic, parse(topic, payload))


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
    assert registers.take_changes() == {("global", "pause"): None}
    registers.replace({topic: parse(topic, json.dumps(limit(2)).encode())})
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
    assert [register.status for _, register in registers] == ["unsupported"]


def test_expiry_follows_the_monotonic_clock(registers: Registers, clock: FakeClock) -> None:
    """Row 23: a clock that is set back or forth after arrival neither prolongs nor shortens it."""
    send(registers, GLOBAL, {**PAUSE, "expires_at": clock.wall + 10})
    assert registers.next_expiry() == clock.ticks + 10
    clock.wall += 5_000
    registers.expire()
    assert ("global", "pause") in registers.effective()
    clock.pass_by(10)
    registers.take_changes()
    registers.expire()
    assert registers.take_changes() == {("global", "pause"): None}
    assert registers.next_expiry() is None
    assert [register.status for _, register in registers] == ["expired"]


def test_i8_what_has_expired_is_not_claimed(registers: Registers, clock: FakeClock) -> None:
    """I8 a report never claims what is not in force: past on arrival, or repeated after its end."""
    message = {**PAUSE, "expires_at": clock.wall - 1}
    send(registers, GLOBAL, message)
    send(registers, GLOBAL, message)
    assert registers.effective() == {}
    assert [register.status for _, register in registers] == ["expired"]


def test_an_expiry_that_was_moved_holds_as_moved(registers: Registers, clock: FakeClock) -> None:
    """Prolonging a register replaces its timer; the earlier one rings for nobody."""
    send(registers, GLOBAL, {**PAUSE, "expires_at": clock.wall + 1})
    send(registers, GLOBAL, {**PAUSE, "expires_at": clock.wall + 9})
    clock.pass_by(5)
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


def test_i6_expiries_are_forgotten_with_their_messages(registers: Registers, clock: FakeClock) -> None:
    """I6 for timers: a register that is prolonged ten thousand times keeps a handful of entries."""
    for number in range(10_000):
        send(registers, GLOBAL, {**PAUSE, "expires_at": clock.wall + 1_000 + number})
    assert len(registers._expiries) < 100
    assert registers.next_expiry() == pytest.approx(clock.ticks + 10_999)


def test_only_what_concerns_the_engine_is_in_force(clock: FakeClock) -> None:
    """A pause of another source is kept and listed, and holds nothing here."""
    registers = Registers(clock, relevant=lambda scope: scope != "source:other")
    send(registers, constraint_topic("source:other"), PAUSE)
    assert registers.effective() == {}
    assert len(registers) == 1
