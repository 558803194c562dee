"""The contents of an engine's reports, and when they are due."""

import itertools
import json

from control_parts import MAX_BYTES, MAX_ENTRIES, REPEAT, Registers, ReportSchedule, constraints_report, parse
from fakes import FakeClock
from hypothesis import given
from hypothesis import strategies as st

from cascade.interfaces.topics import constraint_topic

GLOBAL = "cascade/constraints/global"


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
