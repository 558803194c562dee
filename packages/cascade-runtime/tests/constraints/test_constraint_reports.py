"""What an engine reports, and when."""

import itertools
import json
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st
from stand_ins import FakeClock

from cascade.interfaces import TaskState, TaskStateEvent
from cascade.runtime.constraints._ledger import Register
from cascade.runtime.constraints.parse import parse
from cascade.runtime.constraints.registers import Registers
from cascade.runtime.constraints.reports import (
    MAX_ENTRIES,
    REPEAT,
    Cadence,
    RunBook,
    constraints_report,
    runs_report,
)

GLOBAL = "cascade/constraints/global"


def report_of(registers: Registers) -> dict[str, object]:
    report = constraints_report(
        registers, source="press-3", session="s", sync="synced", in_scope_running=2, now=1_800_000_000.0
    )
    assert json.loads(json.dumps(report)) == report
    return report


def test_a_report_has_the_keys_of_the_protocol() -> None:
    """Rejections come first, each entry with id and status; what is effective stands beside."""
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
        *("v", "source", "session", "sync", "applied", "effective", "in_scope_running", "ts"),
    ]
    assert report["applied"] == {
        "cascade/constraints/task/a": {
            "id": "",
            "status": "rejected",
            "reason": "JSON is malformed: invalid character (byte 0)",
        },
        GLOBAL: {"id": "pause-global", "status": "expired"},
        f"{GLOBAL}/@quota": {"id": "quota-global", "status": "unsupported", "reason": "unknown type 'quota'"},
        f"{GLOBAL}/@concurrency": {"id": "mine", "status": "applied"},
    }
    assert next(iter(report["applied"])) == "cascade/constraints/task/a"
    assert report["effective"] == [{"scope": "global", "type": "concurrency", "params": {"limit": 3}}]
    assert report["ts"] == "2027-01-15T08:00:00.000000+00:00"


def test_a_long_report_is_cut_and_says_so() -> None:
    """500 entries at most, rejections among them, and the number of the others."""
    registers = Registers(FakeClock(), limit=700)
    for number in range(900):
        topic = f"cascade/constraints/task/t{number}"
        registers.apply(topic, parse(topic, b'{"type":"pause"}'))
    report = report_of(registers)
    applied = report["applied"]
    assert isinstance(applied, dict)
    assert len(applied) == MAX_ENTRIES
    assert [entry["status"] for entry in applied.values()][:201] == ["rejected"] * 200 + ["applied"]
    assert report["more"] == 400
    assert report["over_limit"] == 200


def test_what_concerns_others_is_left_out() -> None:
    """I8: a register of another source is in force nowhere here, and no part of what this engine applies."""
    registers = Registers(FakeClock(), relevant=lambda scope: scope != "source:press-4")
    for topic in ("cascade/constraints/source/press-4", "cascade/constraints/source/press-3"):
        registers.apply(topic, parse(topic, b'{"type":"pause"}'))
    report = report_of(registers)
    assert report["applied"] == {
        "cascade/constraints/source/press-3": {"id": "pause-source:press-3", "status": "applied"}
    }
    assert "more" not in report


def test_a_report_looks_at_no_more_than_it_lists() -> None:
    """With 10,000 registers a report costs what its 500 entries cost, in whatever order they came."""
    registers = Registers(FakeClock())
    for number in range(10_000):
        topic, kind = f"cascade/constraints/task/t{number}", "quota" if number % 40 == 39 else "pause"
        registers.apply(topic, parse(topic, b'{"type":"%s"}' % kind.encode()))
    looked_at: list[str] = []
    reported = registers.reported

    def count() -> Iterator[tuple[str, Register]]:
        for topic, register in reported():
            looked_at.append(topic)
            yield topic, register

    registers.reported = count  # type: ignore[method-assign]
    report = report_of(registers)
    assert len(looked_at) == MAX_ENTRIES
    assert isinstance(report["applied"], dict)
    assert [each["status"] for each in report["applied"].values()] == ["unsupported"] * 250 + [
        "applied"
    ] * 250
    assert report["more"] == 9_500


@given(st.lists(st.floats(0.001, 3), min_size=1, max_size=60))
def test_reports_are_soon_and_not_too_often(gaps: list[float]) -> None:
    """The first follows a change within 5 ms, and however many changes there are, 5 go out a second."""
    cadence = Cadence(soon=0.002, interval=0.2)
    now = 0.0
    sent: list[float] = []
    for gap in gaps:
        changed = now = now + gap
        cadence.touch(now)
        due = cadence.due()
        assert due is not None
        assert due <= max(changed + 0.005, (sent[-1] if sent else -1.0) + 0.2)
        if due <= now + gap:
            now = max(now, due)
            cadence.sent(now)
            sent.append(now)
    assert all(later - earlier >= 0.2 - 1e-9 for earlier, later in itertools.pairwise(sent))


def test_a_report_is_repeated_while_a_run_is_on() -> None:
    """Every 10 s without any change, so that a late observer sees it; never without a run."""
    cadence = Cadence(soon=0.002, interval=0.2)
    assert cadence.due() is None
    cadence.touch(1.0)
    cadence.sent(1.0)
    assert cadence.due() is None
    cadence.repeating = True
    assert cadence.due() == 1.0 + REPEAT


def test_runs_are_counted_by_their_tasks_present_states() -> None:
    """Each task stands in one state; what ended is only counted, so that memory does not grow with it."""
    book = RunBook()
    book.begin("r1", "report", 1_800_000_000.0)
    story = [
        *[(f"a-{n}", TaskState.BLOCKED) for n in range(3)],
        *[(f"a-{n}", TaskState.RUNNING) for n in range(3)],
        ("a-0", TaskState.COMPLETED),
        ("a-1", TaskState.RETRYING),
        ("b-3", TaskState.SKIPPED),
    ]
    for task_id, state in story:
        book.note(TaskStateEvent("r1", task_id, task_id[0], state, 0.0))
    book.note(TaskStateEvent("other", "x-0", "x", TaskState.RUNNING, 0.0))
    (row,) = runs_report(book, source="press-3", session="s", now=0.0)["runs"]
    assert row == {
        "run_id": "r1",
        "target": "report",
        "started": "2027-01-15T08:00:00.000000+00:00",
        "counts": {"RUNNING": 1, "COMPLETED": 1, "SKIPPED": 1, "RETRYING": 1},
    }
    assert len(book._runs["r1"].open) == 2
    book.end("r1")
    assert runs_report(book, source="press-3", session="s", now=0.0)["runs"] == []
