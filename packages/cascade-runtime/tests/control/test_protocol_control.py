"""Section 4 of PROTOCOL.md is true: the code parses or produces every example as the section says."""

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from admission_parts import RULES
from control_parts import Constraint, Registers, Rejected, SyncState, constraints_report, parse
from fakes import FakeClock

from cascade.interfaces.control_messages import TYPES
from cascade.interfaces.topics import constraint_topic, parse_constraint_topic

PAGE = (Path(__file__).parents[3] / "cascade-interfaces" / "PROTOCOL.md").read_text(encoding="utf-8")
SECTION = PAGE[PAGE.index("## 4. Control") : PAGE.index("## 5. Reports for watchers")]
EXAMPLES: list[tuple[str, dict[str, Any]]] = [
    (kind, json.loads(text)) for kind, text in re.findall(r"```json (\w+)\n(.*?)```", SECTION, re.DOTALL)
]


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [example for found, example in EXAMPLES if found == kind]


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_no_example_goes_unchecked() -> None:
    """Every block of JSON in the section is of a kind that a test here compares, or one of gates."""
    assert {kind for kind, _ in EXAMPLES} == {"constraint", "store", "report", "gate", "gate_entry"}


@pytest.mark.parametrize("example", of_kind("constraint"))
def test_a_constraint_is_read_as_it_says(example: dict[str, Any]) -> None:
    """It is parsed with all five keys, and with type and parameters alone, on both of its topics."""
    # a cancel of many says when it was written
    assert [key for key in example if key != "ts"] == ["id", "scope", "type", "params", "expires_at"]
    short = {key: example[key] for key in ("type", "params", "expires_at")}
    for kind in ("", example["type"]):
        for message in (example, short):
            found = parse(constraint_topic(example["scope"], kind), json.dumps(message).encode())
            assert isinstance(found, Constraint)
            assert (found.id, found.scope, found.rule.type) == (
                example["id"],
                example["scope"],
                example["type"],
            )
            assert found.expires_at == example["expires_at"]


def test_every_type_has_its_example_and_its_row() -> None:
    """Engines support exactly the types that the section describes."""
    assert {example["type"] for example in of_kind("constraint")} == set(RULES)
    assert set(re.findall(r"^\| `(\w+)` \| (?:none|`)", SECTION, re.MULTILINE)) >= set(RULES)


def test_tools_clear_the_topics_of_every_type() -> None:
    """A tool that clears a scope knows the types that engines obey."""
    assert set(TYPES) == set(RULES)


def test_the_topics_of_the_table_are_those_of_their_scopes() -> None:
    """Each row's topic is built from its scope, and read back."""
    rows = re.findall(r"^\| `([^`]+)` \|.*\| `(cascade/constraints/\S+/@pause)` \|$", SECTION, re.MULTILINE)
    assert len(rows) == 6
    for scope, topic in rows:
        assert constraint_topic(scope, "pause") == topic
        assert parse_constraint_topic(topic) == (scope, "pause")


def test_the_two_lines_that_a_person_types_pause_and_lift() -> None:
    """The messages of the shell lines mean what the text above them says."""
    (topic, payload), (cleared, _) = re.findall(r"mosquitto_pub -r (?:-n )?-t (\S+)(?: -m '(.*)')?", SECTION)
    registers = Registers(FakeClock())
    registers.apply(topic, parse(topic, payload.encode()))
    assert list(registers.effective()) == [("global", "pause")]
    registers.apply(cleared, parse(cleared, b""))
    assert registers.effective() == {}


@pytest.mark.parametrize("example", of_kind("report"))
def test_a_report_is_what_the_code_writes(example: dict[str, Any]) -> None:
    """The report equals the example, also in the order of its keys, for registers set by messages."""
    registers = Registers(FakeClock())
    for topic, payload in (
        ("cascade/constraints/global", b'{"type":"pause"}'),
        ("cascade/constraints/global/@quota", b'{"type":"quota"}'),
        (constraint_topic("task:resize*", "concurrency"), b'{"type":"concurrency","params":{"limit":-1}}'),
    ):
        registers.apply(topic, parse(topic, payload))
    made = constraints_report(
        registers,
        source=example["source"],
        session=example["session"],
        presence=example["presence"],
        sync=example["sync"],
        in_scope_running=example["in_scope_running"],
        now=seconds(example["ts"]),
    )
    assert json.dumps(made) == json.dumps(example)


def test_the_states_of_a_sync_are_all_named() -> None:
    """The section names every value of ``sync``."""
    assert all(f"`{state.value}`" in SECTION for state in SyncState)


@pytest.mark.parametrize("example", of_kind("store"))
def test_the_identity_of_a_store_is_one_key(example: dict[str, Any]) -> None:
    """The message has one key, and its topic is not a register."""
    assert list(example) == ["store"]
    assert isinstance(parse("cascade/constraints/@store", msgspec.json.encode(example)), Rejected)
