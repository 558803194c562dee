"""Section 4 of PROTOCOL.md is true: its examples are obeyed, and its reports are what the code writes."""

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from cascade.interfaces import TaskState, TaskStateEvent
from cascade.interfaces.topics import constraint_topic, parse_constraint_topic
from cascade.runtime.constraints.parse import Constraint, parse
from cascade.runtime.constraints.registers import Registers
from cascade.runtime.constraints.reports import RunBook, constraints_report, runs_report

PAGE = (Path(__file__).parents[3] / "cascade-interfaces" / "PROTOCOL.md").read_text(encoding="utf-8")
EXAMPLES: list[tuple[str, dict[str, Any]]] = [
    (kind, json.loads(text)) for kind, text in re.findall(r"```json (\w+)\n(.*?)```", PAGE, re.DOTALL)
]


class StoppedClock:
    def now(self) -> float:
        return 1_700_000_000.0

    def monotonic(self) -> float:
        return 100.0


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [example for found, example in EXAMPLES if found == kind]


@pytest.mark.parametrize("example", of_kind("constraint"), ids=lambda example: str(example["id"]))
def test_an_example_of_a_constraint_is_obeyed(example: dict[str, Any]) -> None:
    """It has exactly the five keys, and means the same when only its type is written."""
    assert list(example) == ["id", "scope", "type", "params", "expires_at"]
    topic = constraint_topic(example["scope"], example["type"])
    whole = parse(topic, json.dumps(example).encode())
    assert isinstance(whole, Constraint)
    assert (whole.scope, whole.id) == (example["scope"], example["id"])
    short = {key: example[key] for key in ("type", "params", "expires_at")}
    assert parse(topic, json.dumps(short).encode()) == whole


def test_the_topics_of_the_scopes_are_the_codes() -> None:
    """Each row of the table of scopes names the topic that the code builds and reads."""
    rows = re.findall(r"^\| `([^`]+)` \| .* \| `(cascade/constraints/[^`]+)` \|$", PAGE, re.MULTILINE)
    assert len(rows) == 5
    for scope, topic in rows:
        assert constraint_topic(scope, "pause") == topic
        assert parse_constraint_topic(topic) == (scope, "pause")


def test_the_two_lines_for_a_person_pause_and_lift() -> None:
    """What mosquitto_pub sends in the example is a pause, and then an empty message that clears it."""
    (payload,) = re.findall(r"mosquitto_pub -r -t cascade/constraints/global -m '([^']+)'", PAGE)
    registers = Registers(StoppedClock())
    registers.apply("cascade/constraints/global", parse("cascade/constraints/global", payload.encode()))
    assert list(registers.effective()) == [("global", "pause")]
    assert "mosquitto_pub -r -n -t cascade/constraints/global" in PAGE
    registers.apply("cascade/constraints/global", parse("cascade/constraints/global", b""))
    assert not registers.effective()


def test_the_example_of_a_report_is_what_the_code_writes() -> None:
    """Registers with the example's messages give the example's report, key for key and in its order."""
    (example,) = of_kind("report")
    registers = Registers(StoppedClock())
    for topic, payload in (
        ("cascade/constraints/global", b'{"type":"pause"}'),
        ("cascade/constraints/global/@quota", b'{"type":"quota"}'),
        ("cascade/constraints/task/resize*/@concurrency", b'{"type":"concurrency","params":{"limit":-1}}'),
    ):
        registers.apply(topic, parse(topic, payload))
    made = constraints_report(
        registers,
        source=example["source"],
        session=example["session"],
        sync=example["sync"],
        in_scope_running=example["in_scope_running"],
        now=datetime.fromisoformat(example["ts"]).timestamp(),
    )
    assert json.dumps(made) == json.dumps(example)


def test_the_example_of_the_runs_is_what_the_code_writes() -> None:
    """A run with the example's counts gives the example's report."""
    (example,) = of_kind("runs")
    (row,) = example["runs"]
    book = RunBook()
    book.begin(row["run_id"], row["target"], datetime.fromisoformat(row["started"]).timestamp())
    number = 0
    for state, count in row["counts"].items():
        for _ in range(count):
            number += 1
            book.note(TaskStateEvent(row["run_id"], f"t-{number}", "t", TaskState(state), 0.0))
    made = runs_report(
        book,
        source=example["source"],
        session=example["session"],
        now=datetime.fromisoformat(example["ts"]).timestamp(),
    )
    assert json.dumps(made) == json.dumps(example)


def test_the_example_of_a_store_has_one_key() -> None:
    """The identity of a broker's store is a text under "store", and its topic is no register."""
    assert [list(example) for example in of_kind("store")] == [["store"]]
    assert parse_constraint_topic("cascade/constraints/@store") is None
