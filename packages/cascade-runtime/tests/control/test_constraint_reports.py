"""The contents of an engine's reports, and when they are due."""

import json

from control_parts import MAX_BYTES, MAX_ENTRIES, Registers, constraints_report, parse
from fakes import FakeClock

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
