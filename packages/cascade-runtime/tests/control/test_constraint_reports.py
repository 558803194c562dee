"""The contents of an engine's reports, and when they are due."""

import itertools
import json
from collections.abc import Iterator

import pytest
from fakes import FakeClock
from hypothesis import given
from hypothesis import strategies as st

from cascade.interfaces.topics import constraint_topic
from cascade.runtime._control.constraint_parsing import parse
from cascade.runtime._control.register_table import Register
from cascade.runtime._control.registers import Registers
from cascade.runtime._control.reports import (
    MAX_BYTES,
    MAX_ENTRIES,
    REPEAT,
    ReportSchedule,
    constraints_report,
)
from cascade.wire import AppliedEntry, EffectiveEntry, to_wire

GLOBAL = "cascade/constraints/global"

QUOTA = "unknown type 'quota'; known are pause, concurrency, rate_limit, cancel"


def report_of(registers: Registers) -> dict[str, object]:
    report = constraints_report(
        registers,
        source="press-3",
        session="s",
        presence="5f0c9b1e",
        sync="synced",
        in_scope_running=2,
        now=1_800_000_000.0,
    )
    assert json.loads(json.dumps(report)) == report
    return report


def test_a_report_has_the_keys_of_the_protocol() -> None:
    """Each entry has id and status, the newest first, and ``effective`` lists what is in force and why."""
    registers = Registers(FakeClock())
    for topic, payload in (
        (f"{GLOBAL}/@concurrency", b'{"type":"concurrency","params":{"limit":3},"id":"mine"}'),
        (GLOBAL, b'{"type":"pause","expires_at":5}'),
        (f"{GLOBAL}/@quota", b'{"type":"quota"}'),
        ("cascade/constraints/task/a", b"?"),
    ):
        registers.apply(topic, parse(topic, payload))
    report = report_of(registers)
    assert list(report) == [
        *("v", "source", "session", "presence", "sync", "applied", "effective", "in_scope_running", "ts"),
    ]
    assert report["applied"] == {
        "cascade/constraints/task/a": {
            "id": "",
            "status": "rejected",
            "reason": "JSON is malformed: invalid character (byte 0)",
        },
        GLOBAL: {"id": "pause-global", "status": "expired"},
        f"{GLOBAL}/@quota": {"id": "quota-global", "status": "unsupported", "reason": QUOTA},
        f"{GLOBAL}/@concurrency": {"id": "mine", "status": "applied"},
    }
    own = [f"{GLOBAL}/@quota", GLOBAL, f"{GLOBAL}/@concurrency"]
    assert list(report["applied"]) == [*own, "cascade/constraints/task/a"]
    assert report["effective"] == [
        {
            "scope": "global",
            "type": "concurrency",
            "params": {"limit": 3},
            "topic": f"{GLOBAL}/@concurrency",
            "id": "mine",
            "expires_at": None,
        }
    ]
    assert report["ts"] == "2027-01-15T08:00:00.000000+00:00"


def test_a_long_report_is_cut_and_counts_the_rest() -> None:
    """A report lists at most 500 entries, the newest first, and the number of the others."""
    registers = Registers(FakeClock(), limit=700)
    for number in range(900):
        topic = f"cascade/constraints/task/t{number}"
        registers.apply(topic, parse(topic, b'{"type":"pause"}'))
    report = report_of(registers)
    applied = report["applied"]
    assert isinstance(applied, dict)
    assert len(applied) == MAX_ENTRIES
    assert next(iter(applied)) == "cascade/constraints/task/t699"
    assert {entry["status"] for entry in applied.values()} == {"applied"}
    assert report["more"] == 400
    assert report["over_limit"] == 200


def test_registers_of_other_sources_are_not_reported() -> None:
    """I8: a register of another source is not in force here, so this engine does not report it as applied."""
    registers = Registers(FakeClock(), own_scopes=("source:press-3",))
    for topic in ("cascade/constraints/source/press-4", "cascade/constraints/source/press-3"):
        registers.apply(topic, parse(topic, b'{"type":"pause"}'))
    report = report_of(registers)
    assert report["applied"] == {
        "cascade/constraints/source/press-3": {"id": "pause-source:press-3", "status": "applied"}
    }
    assert "more" not in report


def test_a_report_reads_only_the_registers_that_it_lists() -> None:
    """With 10,000 registers a report costs as much as its 500 entries, in any order of arrival."""
    registers = Registers(FakeClock())
    for number in range(10_000):
        topic, kind = f"cascade/constraints/task/t{number}", "quota" if number % 40 == 39 else "pause"
        registers.apply(topic, parse(topic, b'{"type":"%s"}' % kind.encode()))
    read: list[str] = []
    reported = registers.reported

    def count() -> Iterator[Register]:
        for register in reported():
            read.append(register.topic)
            yield register

    registers.reported = count  # type: ignore[method-assign]
    report = report_of(registers)
    assert len(read) <= MAX_ENTRIES + 1
    assert isinstance(report["applied"], dict)
    assert next(iter(report["applied"])) == "cascade/constraints/task/t9998"
    assert report["more"] == 10_000 - len(report["applied"])


def test_a_report_fits_into_64_kib_and_begins_with_what_matters() -> None:
    """Thousands of long entries: a report has at most 64 KiB, and first a pause that is older than all of them."""
    registers = Registers(FakeClock())
    registers.apply(f"{GLOBAL}/@pause", parse(f"{GLOBAL}/@pause", b'{"type":"pause"}'))
    for number in range(2_000):
        topic = constraint_topic(f"task:{'ü' * 90}{number}", "concurrency")
        message = {"type": "concurrency", "params": {"limit": 2}, "id": "\u2713" * 200}
        registers.apply(topic, parse(topic, json.dumps(message).encode()))
    report = report_of(registers)
    assert len(json.dumps(report)) <= MAX_BYTES
    assert isinstance(report["applied"], dict)
    assert isinstance(report["effective"], list)
    assert next(iter(report["applied"])) == f"{GLOBAL}/@pause"
    assert report["effective"][0]["topic"] == f"{GLOBAL}/@pause"
    assert report["more"] == 2_001 - len(report["applied"])
    assert report["effective_more"] == 2_001 - len(report["effective"])


def test_only_changed_entries_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second report of a thousand registers makes the entry and the row of the one that has changed."""
    registers = Registers(FakeClock())
    for number in range(1_000):
        topic = f"cascade/constraints/task/t{number}"
        registers.apply(topic, parse(topic, b'{"type":"pause"}'))
    report_of(registers)
    changed = "cascade/constraints/task/t7"
    registers.apply(changed, parse(changed, b'{"type":"pause","id":"new"}'))
    made: list[object] = []

    def count(part: object) -> int:
        made.append(part)
        return len(json.dumps(part, default=to_wire))

    monkeypatch.setattr("cascade.runtime._control.register_table.encoded_size", count)
    report_of(registers)
    assert [part.id for part in made if isinstance(part, AppliedEntry | EffectiveEntry)] == ["new"] * 2


@pytest.mark.parametrize(
    ("topic", "payload", "status"),
    [
        ("cascade/constraints/run/elsewhere/@pause", b'{"type":"pause"}', "no_match"),
        (f"{GLOBAL}/@pause", b'{"type":"pause","expires_at":5}', "expired"),
    ],
)
def test_a_register_that_covers_nothing_is_reported_as_such(topic: str, payload: bytes, status: str) -> None:
    """I8 a report never claims what is not in force: ``no_match`` and ``expired`` are not in ``effective``."""
    registers = Registers(FakeClock())
    registers.apply(topic, parse(topic, payload))
    report = report_of(registers)
    applied = report["applied"]
    assert isinstance(applied, dict)
    assert (applied[topic]["status"], report["effective"]) == (status, [])


@given(st.lists(st.floats(0.001, 3), min_size=1, max_size=60))
def test_a_report_follows_soon_but_not_too_often(gaps: list[float]) -> None:
    """The first report follows a change within 5 ms; many changes cause at most 5 reports a second."""
    schedule = ReportSchedule(soon=0.002, interval=0.2)
    now = 0.0
    sent: list[float] = []
    for gap in gaps:
        changed = now = now + gap
        schedule.touch(now)
        due = schedule.due()
        assert due is not None
        assert due <= max(changed + 0.005, (sent[-1] if sent else -1.0) + 0.2)
        if due <= now + gap:
            now = max(now, due)
            schedule.sent(now)
            sent.append(now)
    assert all(later - earlier >= 0.2 - 1e-9 for earlier, later in itertools.pairwise(sent))


def test_a_report_is_repeated_while_a_run_is_active() -> None:
    """It is due every 10 s without any change, for late observers, but never without a run."""
    schedule = ReportSchedule(soon=0.002, interval=0.2)
    assert schedule.due() is None
    schedule.touch(1.0)
    schedule.sent(1.0)
    assert schedule.due() is None
    schedule.repeating = True
    assert schedule.due() == 1.0 + REPEAT
