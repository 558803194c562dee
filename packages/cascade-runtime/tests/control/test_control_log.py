"""What the log says of constraints: once for each topic and cause, bounded, with the name of the engine."""

import json
import logging
from typing import Any

import pytest
from control_parts import LINES_PER_MINUTE, QUIET, ControlLog, Notice, Registers, parse
from fakes import FakeClock

from cascade.interfaces.topics import constraint_topic

GLOBAL = "cascade/constraints/global"


class Bench:
    """Registers whose notices and changes are logged."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.log = ControlLog("press-3", clock=self.clock)
        self.registers = Registers(self.clock, notice=self.log.notice)

    def send(self, topic: str, payload: bytes) -> None:
        self.registers.apply(topic, parse(topic, payload))
        self.log.changed(self.registers.take_changes(), self.registers)


@pytest.fixture
def bench(caplog: pytest.LogCaptureFixture) -> Bench:
    caplog.set_level(logging.INFO)
    return Bench()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]


def test_a_pause_is_logged_with_its_topic_and_id_and_so_is_its_end(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """INFO names engine, topic and id when a pause comes into force, and the topic when it is lifted."""
    bench.send(f"{GLOBAL}/@pause", b'{"type":"pause","id":"lunch"}')
    bench.send(f"{GLOBAL}/@pause", b'{"type":"pause","id":"lunch"}')
    bench.send(f"{GLOBAL}/@pause", b"")
    assert [each.getMessage() for each in caplog.records] == [
        f"press-3: global is paused by {GLOBAL}/@pause (lunch)",
        f"press-3: global is resumed, {GLOBAL}/@pause was lifted",
    ]


def test_of_several_changes_each_pause_is_logged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever comes between them: a limit, another register of a pause, and the end of one that never began."""
    sent: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("task:a", "pause", {}),
        ("task:b", "concurrency", {"limit": 3}),
        ("task:c", "pause", {}),
        ("task:d", "rate_limit", {"rate": "2/h"}),
        ("task:e", "pause", {}),
    )
    for scope, kind, params in sent:
        payload = json.dumps({"type": kind, "params": params}).encode()
        bench.registers.apply(constraint_topic(scope, kind), parse(constraint_topic(scope, kind), payload))
    bench.log.changed(bench.registers.take_changes(), bench.registers)
    assert [each.getMessage() for each in caplog.records] == [
        f"press-3: {scope} is paused by {constraint_topic(scope, 'pause')} (pause-{scope})"
        for scope in ("task:a", "task:c", "task:e")
    ]
    caplog.clear()
    for scope, kind, _ in sent:
        bench.registers.apply(constraint_topic(scope, kind), parse(constraint_topic(scope, kind), b""))
    ended = {("task:never", "pause"): None, **bench.registers.take_changes()}
    bench.log.changed(ended, bench.registers)
    assert [each.getMessage() for each in caplog.records] == [
        f"press-3: {scope} is resumed, {constraint_topic(scope, 'pause')} was lifted"
        for scope in ("task:a", "task:c", "task:e")
    ]


@pytest.mark.parametrize(
    ("payload", "cause"),
    [
        (b'{"type":"puase"}', "unsupported: unknown type 'puase'"),
        (b"?", "rejected: JSON is malformed"),
        (b'{"type":"pause","expires_at":5}', "had expired when it arrived"),
        (b'{"type":"pause","expires_at":1800000000000}', "this looks like milliseconds"),
    ],
)
def test_a_message_without_effect_is_logged_once(
    bench: Bench, caplog: pytest.LogCaptureFixture, payload: bytes, cause: str
) -> None:
    """Each cause is one WARNING for its topic, with the name of the engine, also if good messages come between."""
    for _ in range(3):
        bench.send(GLOBAL, payload)
        bench.send(GLOBAL, b"")
    (line,) = warnings(caplog)
    assert line.startswith(f"press-3: {GLOBAL} ")
    assert cause in line


def test_a_flood_of_bad_messages_is_a_bounded_number_of_lines(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a client writes, ten lines a minute are logged, the last of which names the report."""
    for number in range(5_000):
        bench.send(constraint_topic(f"task:t{number}"), b"?")
    assert len(warnings(caplog)) == LINES_PER_MINUTE
    assert "cascade/state/press-3/constraints lists them" in warnings(caplog)[-1]
    bench.clock.ticks += 60
    bench.send(GLOBAL, b"?")
    assert len(warnings(caplog)) == LINES_PER_MINUTE + 1
    assert len(bench.log._logged) <= 1_000


def test_text_from_the_broker_is_escaped(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A topic cannot forge a line of the log."""
    bench.log.notice(Notice("cascade/constraints/task/a\nforged", "is rejected: x"))
    bench.send(f"{GLOBAL}/@pause", b'{"type":"pause","id":"a\\nforged"}')
    assert all("\n" not in each.getMessage() for each in caplog.records)


def test_a_new_store_is_logged_whenever_it_lifts_something(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Where it lifts nothing, one line an hour is enough: a broker without a disk has a new store at each start."""
    bench.log.store_replaced([])
    bench.log.store_replaced([])
    assert len(warnings(caplog)) == 1
    bench.log.store_replaced([GLOBAL])
    assert len(warnings(caplog)) == 2
    bench.clock.ticks += QUIET - 1
    bench.log.store_replaced([])
    assert len(warnings(caplog)) == 2
    bench.clock.ticks += 1
    bench.log.store_replaced([])
    assert len(warnings(caplog)) == 3
    assert set(warnings(caplog)) == {
        "press-3: the broker has a new store: its constraints replace all that were known"
    }


def test_lines_about_pauses_come_again_in_the_next_minute(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """The last line of a minute says that there are more; warnings about messages have a number of their own."""
    for number in range(LINES_PER_MINUTE + 5):
        bench.send(constraint_topic(f"task:t{number}"), b'{"type":"pause"}')
    lines = [each.getMessage() for each in caplog.records]
    assert len(lines) == LINES_PER_MINUTE
    assert lines[-1] == "press-3: there are more pauses; they are not logged for a minute"
    assert sum(" is paused by " in line for line in lines) == LINES_PER_MINUTE - 1
    bench.send(GLOBAL, b"?")
    assert len(warnings(caplog)) == 1
    bench.clock.ticks += 59
    bench.send(constraint_topic("task:t0"), b"")
    assert len(caplog.records) == LINES_PER_MINUTE + 1
    bench.clock.ticks += 1
    bench.send(constraint_topic("task:t1"), b"")
    assert caplog.records[-1].getMessage().startswith("press-3: task:t1 is resumed, ")


def test_a_warning_is_repeated_after_an_hour_and_not_before(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Each topic and each cause has an hour of its own."""
    other = constraint_topic("task:other")
    bench.log.notice(Notice(GLOBAL, "is rejected: x"))
    bench.clock.ticks += QUIET - 1
    for notice in (
        Notice(GLOBAL, "is rejected: x"),
        Notice(GLOBAL, "is rejected: y"),
        Notice(other, "is rejected: x"),
    ):
        bench.log.notice(notice)
    assert warnings(caplog) == [
        f"press-3: {GLOBAL} is rejected: x",
        f"press-3: {GLOBAL} is rejected: y",
        f"press-3: {other} is rejected: x",
    ]
    bench.clock.ticks += 1
    caplog.clear()
    for text in ("is rejected: x", "is rejected: y"):
        bench.log.notice(Notice(GLOBAL, text))
    assert warnings(caplog) == [f"press-3: {GLOBAL} is rejected: x"]


def test_what_an_earlier_process_obeyed_is_named_with_the_way_to_do_without(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """In order, at most ten topics, whether they are in force or forgotten; topics are escaped."""
    topics = [constraint_topic(f"task:t{number:02}") for number in range(12)]
    named = f"{', '.join(topics[:10])} and 2 more"
    bench.log.recalled(topics[::-1])
    bench.log.forgotten(topics[::-1])
    bench.log.forgotten([])
    bench.log.removed_by_sync(["cascade/constraints/task/a\nb", *topics[:9]])
    recalled, forgotten, nothing, removed = warnings(caplog)
    assert recalled == (
        "press-3: these constraints are in force because the last process obeyed them, until the broker's replace "
        f"them: {named}. To begin without them: forget_control=True, or cascade run --forget-control"
    )
    assert forgotten == f"press-3: the constraints that the last process obeyed are forgotten: {named}"
    assert nothing == "press-3: the constraints that the last process obeyed are forgotten: there were none"
    assert removed == (
        "press-3: the broker no longer has these constraints, they are lifted: cascade/constraints/task/a\\x0ab, "
        f"{', '.join(topics[:9])}. If they were not cleared meanwhile, publish them again"
    )
