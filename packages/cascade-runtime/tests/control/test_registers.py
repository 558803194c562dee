"""Registers: one for each topic, replaced by a sync, expiring by themselves, bounded."""

import json
from typing import Any

import pytest
from fakes import FakeClock

from cascade.interfaces.topics import constraint_topic
from cascade.runtime._admission.limits import Concurrency, Effective, Pause, RateLimit
from cascade.runtime._control.constraint_parsing import parse
from cascade.runtime._control.registers import (
    MAX_ALIKE,
    MAX_OWN,
    MAX_PROBLEMS,
    MAX_REGISTERS,
    Notice,
    Registers,
)
from cascade.wire import to_wire

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


def test_a_constraint_is_in_force_until_it_is_cleared(registers: Registers) -> None:
    """A message puts its constraint in force at once; an empty one lifts it."""
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
    assert ("global", "pause") in registers.effective()  # the short topic still has it


def test_another_type_on_a_short_topic_replaces_the_one_before(registers: Registers) -> None:
    """One topic holds one constraint: a limit after a pause on the same topic lifts the pause."""
    send(registers, GLOBAL, PAUSE)
    send(registers, GLOBAL, limit(2))
    assert list(registers.effective()) == [("global", "concurrency")]


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
    for number, topic in ((5, GLOBAL), (3, f"{GLOBAL}/@concurrency"), (4, "cascade/constraints/%67lobal")):
        send(registers, topic, limit(number))
    key = ("global", "concurrency")
    assert registers.effective()[key] == Effective(Concurrency(3), f"{GLOBAL}/@concurrency")
    send(registers, f"{GLOBAL}/@concurrency", b"")
    assert registers.effective()[key] == Effective(Concurrency(4), "cascade/constraints/%67lobal")


def test_i8_a_report_follows_each_change_of_what_is_in_force(registers: Registers) -> None:
    """I8: also after it was made before: a new limit, a stricter register, one that is cleared, set anew or has an author."""

    def reported() -> list[tuple[str, int, str]]:
        rows = [row for _, row in registers.effective_rows()]
        return [(row.topic, row.params["limit"], row.by) for row in rows]

    typed = f"{GLOBAL}/@concurrency"
    assert reported() == []
    send(registers, GLOBAL, limit(5))
    assert reported() == [(GLOBAL, 5, "")]
    send(registers, GLOBAL, limit(7))
    assert reported() == [(GLOBAL, 7, "")]
    send(registers, typed, limit(3))
    assert reported() == [(typed, 3, "")]
    send(registers, typed, b"")
    assert reported() == [(GLOBAL, 7, "")]
    send(registers, GLOBAL, b"")
    assert reported() == []
    send(registers, GLOBAL, limit(2, by="ada"))
    assert reported() == [(GLOBAL, 2, "ada")]


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


@pytest.mark.parametrize("kind", ["puase", "quota"])
def test_an_unsupported_type_leaves_the_last_valid_value_in_force(registers: Registers, kind: str) -> None:
    """A misspelt type, or one of a later version, is listed as unsupported and lifts nothing."""
    send(registers, GLOBAL, PAUSE)
    send(registers, GLOBAL, {"type": kind})
    assert list(registers.effective()) == [("global", "pause")]
    assert statuses(registers) == ["unsupported"]
    send(registers, GLOBAL, {"type": kind})
    registers.remove([])
    registers.settle()
    assert list(registers.effective()) == [("global", "pause")]
    send(registers, GLOBAL, b"")
    assert registers.effective() == {}


def test_an_unsupported_scope_is_listed_and_not_in_force(registers: Registers) -> None:
    """A scope of a later version has no register, only a problem that the report lists."""
    send(registers, "cascade/constraints/team/x/@pause", PAUSE)
    assert (registers.effective(), len(registers), statuses(registers)) == ({}, 0, ["unsupported"])


def test_another_type_on_a_short_topic_is_noticed_once(clock: FakeClock) -> None:
    """A valid message of another type replaces the pause of a short topic, and one notice says so."""
    notices: list[Notice] = []
    registers = Registers(clock, notice=notices.append)
    send(registers, GLOBAL, PAUSE)
    for _ in range(3):
        send(registers, GLOBAL, limit(2))
    assert list(registers.effective()) == [("global", "concurrency")]
    (notice,) = notices
    assert notice.topic == GLOBAL
    assert "now holds concurrency" in notice.text
    assert f"{GLOBAL}/@pause" in notice.text


def test_a_register_that_expired_before_it_arrived_is_noticed(clock: FakeClock) -> None:
    """The notice has the difference of the clocks: a sender whose clock is behind sees why nothing happened."""
    notices: list[Notice] = []
    registers = Registers(clock, notice=notices.append)
    for _ in range(3):
        send(registers, GLOBAL, {**PAUSE, "expires_at": clock.now() - 37})
    (notice,) = notices
    assert "37 s ago" in notice.text
    assert registers.effective() == {}


def test_a_run_register_covers_only_a_run_of_this_process(registers: Registers) -> None:
    """A ``run:`` register of another run is ``no_match`` and not in force; it is while the run is here."""
    topic = constraint_topic("run:9a81", "pause")
    send(registers, topic, PAUSE)
    seen = [(statuses(registers), list(registers.effective()))]
    registers.begin_run("9a81")
    seen.append((statuses(registers), list(registers.effective())))
    registers.end_run("9a81")
    seen.append((statuses(registers), list(registers.effective())))
    nothing: tuple[list[str], list[tuple[str, str]]] = (["no_match"], [])
    assert seen == [nothing, (["applied"], [("run:9a81", "pause")]), nothing]


def test_a_run_register_that_has_expired_does_not_come_back(registers: Registers, clock: FakeClock) -> None:
    """A register that expires before its run begins is not in force in that run."""
    topic = constraint_topic("run:9a81", "pause")
    send(registers, topic, {**PAUSE, "expires_at": clock.now() + 5})
    clock.ticks += 5
    registers.expire()
    registers.begin_run("9a81")
    assert (statuses(registers), registers.effective()) == (["expired"], {})


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


def test_registers_of_other_sources_and_projects_are_not_counted(clock: FakeClock) -> None:
    """Registers that concern other engines take no room, whatever their number, and neither do bad ones."""
    registers = Registers(clock, own_scopes=OWN[:3], limit=3)
    for number in range(2 * MAX_PROBLEMS):
        send(registers, constraint_topic(f"source:other-{number}"), PAUSE)
        send(registers, constraint_topic(f"project:other-{number}"), b"?")
    send(registers, constraint_topic("task:a"), PAUSE)
    assert (len(registers), registers.to_report, registers.over_limit) == (1, 1, 0)


def test_only_what_has_no_effect_here_is_evicted(clock: FakeClock) -> None:
    """A ``run:`` register that covers nothing gives its place to a new one; one in force never does."""
    registers = Registers(clock, limit=3)
    for name in ("old", "older"):
        send(registers, constraint_topic(f"run:{name}"), PAUSE)
    for name in "abc":
        send(registers, constraint_topic(f"task:{name}"), PAUSE)
    assert {key[0] for key in registers.effective()} == {"task:a", "task:b", "task:c"}
    send(registers, constraint_topic("task:d"), PAUSE)
    send(registers, constraint_topic("run:new"), PAUSE)
    assert {key[0] for key in registers.effective()} == {"task:a", "task:b", "task:c"}
    assert registers.over_limit == 2


def test_one_without_effect_does_not_replace_another(clock: FakeClock) -> None:
    """Runs that are not here keep their order of arrival; a flood of them evicts none."""
    registers = Registers(clock, limit=2)
    for name in ("first", "second", "third"):
        send(registers, constraint_topic(f"run:{name}"), PAUSE)
    kept = [registers.get(constraint_topic(f"run:{name}")) for name in ("first", "second", "third")]
    assert [each is not None and each.content is not None for each in kept] == [True, True, False]
    assert registers.over_limit == 1


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


def test_a_repeated_message_moves_its_expiry(registers: Registers, clock: FakeClock) -> None:
    """Repeating a message prolongs it without any other change; the rounding of brokers moves nothing."""
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


def test_i8_an_expired_register_is_not_reported_as_applied(registers: Registers, clock: FakeClock) -> None:
    """I8 a report never claims what is not in force: expired on arrival, or repeated after its expiry."""
    message = {**PAUSE, "expires_at": clock.now() - 1}
    send(registers, GLOBAL, message)
    send(registers, GLOBAL, message)
    assert registers.effective() == {}
    assert statuses(registers) == ["expired"]


def test_a_moved_expiry_replaces_the_earlier_one(registers: Registers, clock: FakeClock) -> None:
    """Prolonging a register replaces its deadline; the earlier one has no effect."""
    send(registers, GLOBAL, {**PAUSE, "expires_at": clock.now() + 1})
    send(registers, GLOBAL, {**PAUSE, "expires_at": clock.now() + 9})
    clock.ticks += 5
    registers.expire()
    assert ("global", "pause") in registers.effective()
    assert registers.next_expiry() == clock.ticks + 4
    send(registers, GLOBAL, b"")
    assert registers.next_expiry() is None


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


def test_i6_one_scope_written_in_many_ways_is_bounded(registers: Registers) -> None:
    """I6 for spellings: topics that decode to one scope cannot pile up under it."""
    for number in range(200):
        spelling = "".join(f"%{ord('a'):02x}" if number >> bit & 1 else "a" for bit in range(8))
        send(registers, f"cascade/constraints/task/{spelling}", PAUSE)
    assert len(registers) == MAX_ALIKE


def test_i6_a_register_that_changes_its_type_counts_for_the_new_one(registers: Registers) -> None:
    """I6 for spellings that had another type before: the limit for one scope and type still holds."""
    for number in range(200):
        spelling = "".join(f"%{ord('a'):02x}" if number >> bit & 1 else "a" for bit in range(8))
        topic = f"cascade/constraints/task/{spelling}"
        send(registers, topic, {"type": "rate_limit", "params": {"rate": 1}} if number % 2 else limit(number))
        send(registers, topic, PAUSE)
    assert len(registers._in_force.topics(("task:aaaaaaaa", "pause"))) == MAX_ALIKE
    kept = {content.id for content in registers.values.values() if content.id != "pause-task:aaaaaaaa"}
    assert kept == {"ratelimit-task:aaaaaaaa", "concurrency-task:aaaaaaaa"}


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


def test_registers_of_other_sources_are_not_in_force(clock: FakeClock) -> None:
    """A pause of another source is neither kept nor in force here nor reported, and neither is a bad one."""
    registers = Registers(clock)
    send(registers, constraint_topic("source:other"), {**PAUSE, "expires_at": clock.now() + 1})
    assert registers.effective() == {}
    assert len(registers) == 0
    assert (statuses(registers), registers.to_report) == ([], 0)
    assert registers.next_expiry() is None
    send(registers, constraint_topic("source:other"), b"?")
    assert registers.to_report == 0


def test_topics_that_begin_alike_are_rejected_one_by_one(registers: Registers) -> None:
    """Each topic has its own rejection, however long the topic: clearing one leaves the others."""
    one, other = (constraint_topic(f"run:{'x' * 900}{number}") for number in (1, 2))
    send(registers, one, PAUSE)
    for topic in (one, other):
        send(registers, topic, b"?")
    assert list(registers.problems) == [one, other]
    send(registers, other, b"")
    assert list(registers.problems) == [one]
    assert registers.get(one) is not None


def test_what_a_set_does_not_have_is_removed_in_slices(registers: Registers) -> None:
    """Pending removals are in force until they are done; a message that arrives meanwhile is newer than the set."""
    old, older, newest = (constraint_topic(f"task:{name}") for name in ("old", "older", "newest"))
    for topic in (old, older, newest):
        send(registers, topic, PAUSE)
    registers.take_changes()
    registers.remove([old, older, newest])
    assert registers.has_changes
    send(registers, newest, limit(3))
    assert not registers.settle(1)
    assert len(registers.values) == 2
    assert registers.settle()
    assert set(registers.effective()) == {("task:newest", "concurrency")}
    registers.clear()
    assert (len(registers), registers.has_changes) == (0, False)


def test_a_value_that_follows_a_problem_is_not_forgotten_with_the_problems(registers: Registers) -> None:
    """A flood of bad messages lifts nothing, also not a pause whose topic had begun with a bad message."""
    mended = constraint_topic("task:mended")
    send(registers, mended, b"?")
    send(registers, mended, PAUSE)
    for number in range(MAX_PROBLEMS + 1):
        send(registers, constraint_topic(f"task:x{number}"), b"?")
    assert registers.problems_forgotten == 1
    assert ("task:mended", "pause") in registers.effective()


def test_i6_a_register_among_many_of_one_scope_can_still_change(registers: Registers) -> None:
    """The limit of spellings rejects new topics only."""
    spellings = [
        "".join(f"%{ord('a'):02x}" if number >> bit & 1 else "a" for bit in range(8))
        for number in range(MAX_ALIKE)
    ]
    for spelling in spellings:
        send(registers, f"cascade/constraints/task/{spelling}", limit(5))
    send(registers, f"cascade/constraints/task/{spellings[0]}", limit(2))
    assert (registers.over_limit, registers.problems) == (0, {})
    assert registers.effective()["task:aaaaaaaa", "concurrency"].rule == Concurrency(2)


def test_a_topic_that_had_only_a_problem_takes_room_when_its_value_comes(clock: FakeClock) -> None:
    registers = Registers(clock, limit=1)
    send(registers, constraint_topic("task:a"), PAUSE)
    send(registers, constraint_topic("task:b"), b"?")
    send(registers, constraint_topic("task:b"), PAUSE)
    assert (len(registers), registers.over_limit) == (1, 1)
    assert "limit of 1 registers" in registers.problems[constraint_topic("task:b")].reason


def test_what_is_beyond_the_limits_is_counted_anew_with_each_set(clock: FakeClock) -> None:
    """A set keeps the counts of what arrived with it, and forgets those from before."""
    registers = Registers(clock, limit=1)
    for name in "abc":
        send(registers, constraint_topic(f"task:{name}"), PAUSE)
    for number in range(MAX_PROBLEMS):
        send(registers, constraint_topic(f"task:x{number}"), b"?")
    registers.remove([])
    assert (registers.over_limit, registers.problems_forgotten) == (2, 2)
    registers.remove([])
    assert (registers.over_limit, registers.problems_forgotten) == (0, 0)
    send(registers, constraint_topic("task:d"), PAUSE)
    registers.clear()
    assert (registers.over_limit, registers.problems_forgotten) == (0, 0)


def test_a_run_that_begins_and_ends_moves_its_registers_between_the_rooms(clock: FakeClock) -> None:
    """The register of a local run takes no room from those of tasks, and takes it again when the run has ended."""
    registers = Registers(clock, limit=1)
    send(registers, constraint_topic("run:here"), PAUSE)
    registers.begin_run("here")
    send(registers, constraint_topic("task:a"), PAUSE)
    assert set(registers.effective()) == {("run:here", "pause"), ("task:a", "pause")}
    registers.end_run("here")
    send(registers, constraint_topic("task:a"), b"")
    send(registers, constraint_topic("task:b"), PAUSE)  # takes the place of what covers nothing any more
    assert (list(registers.values), registers.over_limit) == ([constraint_topic("task:b")], 0)


def test_a_problem_of_an_own_scope_is_listed_before_those_of_tasks(registers: Registers) -> None:
    """A report that has no room for all problems shows the operator's own one."""
    send(registers, GLOBAL, b"?")
    for number in range(5):
        send(registers, constraint_topic(f"task:x{number}"), b"?")
    assert next(registers.reported()).topic == GLOBAL


def test_a_bad_message_that_is_repeated_is_noticed_once(clock: FakeClock) -> None:
    """Its notice says that a value stays in force only where there is one."""
    notices: list[Notice] = []
    registers = Registers(clock, notice=notices.append)
    send(registers, GLOBAL, b"?")
    revision = registers.revision
    send(registers, GLOBAL, b"?")
    assert (len(notices), registers.revision) == (1, revision)
    assert "stays in force" not in notices[0].text
    send(registers, GLOBAL, PAUSE)
    send(registers, GLOBAL, b"?")
    assert notices[1].text.endswith("its last valid value stays in force")


def test_only_an_expiry_of_a_clock_asks_to_compare_clocks(clock: FakeClock) -> None:
    """What the broker itself has let expire says nothing about the clocks of two machines."""
    notices: list[Notice] = []
    registers = Registers(clock, notice=notices.append)
    send(registers, GLOBAL, {**PAUSE, "expires_at": clock.now() - 5}, deadline=clock.ticks - 1)
    assert statuses(registers) == ["expired"]
    assert notices == []


def test_what_replaces_an_expired_register_lifts_nothing(clock: FakeClock) -> None:
    """So nothing is noticed: another type on a short topic is unexpected only while the first one is in force."""
    notices: list[Notice] = []
    registers = Registers(clock, notice=notices.append)
    send(registers, GLOBAL, {**PAUSE, "expires_at": clock.now() + 5})
    clock.ticks += 6
    registers.expire()
    send(registers, GLOBAL, limit(3))
    assert notices == []


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


def test_of_two_rates_that_are_alike_the_first_one_is_named(registers: Registers) -> None:
    first, second = GLOBAL, f"{GLOBAL}/@rate_limit"
    send(registers, first, {"type": "rate_limit", "params": {"rate": "60/m"}})
    send(registers, second, {"type": "rate_limit", "params": {"rate": "1/s"}})
    effective = registers.effective()["global", "rate_limit"]
    assert isinstance(effective.rule, RateLimit)
    assert (effective.topic, effective.rule.rate) == (first, "60/m")


def test_an_own_register_that_has_expired_gives_its_place_to_a_new_one(clock: FakeClock) -> None:
    """So an operator's pause finds room among a thousand own registers of which one means nothing any more."""
    scopes = [f"source:{number}" for number in range(MAX_OWN + 1)]
    registers = Registers(clock, own_scopes=scopes)
    send(registers, constraint_topic(scopes[0]), {**PAUSE, "expires_at": clock.now() + 1})
    for scope in scopes[1:MAX_OWN]:
        send(registers, constraint_topic(scope), PAUSE)
    clock.ticks += 2
    registers.expire()
    send(registers, constraint_topic(scopes[MAX_OWN]), PAUSE)
    assert (scopes[MAX_OWN], "pause") in registers.effective()
    assert (len(registers), registers.over_limit) == (MAX_OWN, 0)


def test_a_report_names_the_author_that_a_message_claims(registers: Registers) -> None:
    send(registers, GLOBAL, {**PAUSE, "by": "ann@desk"})
    (register,) = registers.reported()
    assert to_wire(register.entry()) == {"id": "pause-global", "status": "applied", "by": "ann@desk"}


def test_what_is_cleared_leaves_nothing_behind(clock: FakeClock) -> None:
    """An engine that follows its broker again begins as if it had never followed one."""

    def state(registers: Registers) -> object:
        return (
            *(
                len(registers),
                registers.values,
                registers.problems,
                registers.topics(),
                registers.effective(),
            ),
            *(registers.to_report, registers.over_limit, registers.problems_forgotten, registers.in_force),
            *(registers.has_changes, registers.next_expiry()),
            *(statuses(registers), list(registers.effective_rows()), registers.take_changes()),
        )

    registers = Registers(clock, limit=2)
    registers.begin_run("here")
    for number in range(2):
        send(registers, constraint_topic(f"task:t{number}"), limit(3, expires_at=clock.now() + 9))
    registers.remove([constraint_topic("task:t0")])
    send(registers, constraint_topic("task:t2"), limit(3))
    for number in range(MAX_PROBLEMS + 1):
        send(registers, constraint_topic(f"task:p{number}"), b"no JSON")
    send(registers, constraint_topic("run:here"), PAUSE)
    revision = registers.revision
    registers.clear()
    assert registers.revision > revision
    assert state(registers) == state(Registers(clock, limit=2))
    registers.end_run("here")
    assert registers.topics() == set()
    registers.remove([])  # the counts begin anew with each set: nothing of the earlier ones is left
    for number in range(2):
        send(registers, constraint_topic(f"task:t{number}"), limit(3))
    send(registers, constraint_topic("run:here"), PAUSE)
    assert (registers.over_limit, registers.problems_forgotten, registers.in_force) == (1, 0, 2)
    registers.begin_run("here")
    assert registers.in_force == 2


def test_what_expired_in_a_run_that_has_ended_gives_its_place_to_a_new_register(clock: FakeClock) -> None:
    """As what expired after the run: neither covers anything here any more."""
    registers = Registers(clock, limit=1)
    registers.begin_run("here")
    send(registers, constraint_topic("run:here"), {**PAUSE, "expires_at": clock.now() + 1})
    clock.ticks += 2
    registers.expire()
    registers.end_run("here")
    send(registers, constraint_topic("task:a"), PAUSE)
    assert (list(registers.effective()), registers.over_limit) == ([("task:a", "pause")], 0)
