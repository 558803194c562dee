"""What the log says of constraints: once for each topic and cause, bounded, with the name of the engine."""

import logging

import pytest
from control_parts import LINES_PER_MINUTE, ControlLog, Notice, Registers, parse
from fakes import FakeClock

from cascade.interfaces.topics import constraint_topic

GLOBAL = "cascade/constraints/global"


class Bench:
    """Registers whose notices and changes are logged."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.log = ControlLog("press-3", clock=self.clock)
        self.registers = Registers(self.clock, notice=self.log.notice)

    def send(self, topic: str, payload: bytes, *, live: bool = True) -> None:
        self.registers.apply(topic, parse(topic, payload), live=live)
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


@pytest.mark.parametrize(
    ("payload", "cause"),
    [
        (b'{"type":"puase"}', "unsupported: unknown type 'puase'"),
        (b"?", "rejected: JSON is malformed"),
        (b'{"type":"pause","expires_at":5}', ", and remove the message: cascade resume"),
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


def test_who_gave_a_constraint_a_term_reads_nothing_of_it_afterwards(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """A broker that does not forget it sends it to each later process: only the report says that it has expired."""
    topic = constraint_topic("task:resize", "cancel")
    bench.send(topic, b'{"type":"cancel","expires_at":5}', live=False)
    assert not caplog.records
    assert [each.entry().status for each in bench.registers.reported()] == ["expired"]


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


def test_a_new_store_is_logged_where_it_lifts_something(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """A broker without a disk has a new store at each start: what was not known here is not lifted either."""
    bench.log.store_replaced([])
    bench.log.store_replaced([GLOBAL])
    (line,) = warnings(caplog)
    assert line == (
        f"press-3: the broker has a new store without these constraints, they are lifted: {GLOBAL}. If they are "
        "still needed, publish them again"
    )


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
