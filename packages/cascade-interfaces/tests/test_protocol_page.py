"""PROTOCOL.md is true: every example on it is what the code produces."""

import json
import re
from pathlib import Path
from typing import Any

from cascade.interfaces import (
    Lifecycle,
    RunStatus,
    TaskState,
)
from cascade.interfaces.topics import decode_level, encode_level, parse_telemetry_topic

PAGE = (Path(__file__).parents[1] / "PROTOCOL.md").read_text(encoding="utf-8")
EXAMPLES: list[tuple[str, dict[str, Any]]] = [
    (kind, json.loads(text)) for kind, text in re.findall(r"```json (\w+)\n(.*?)```", PAGE, re.DOTALL)
]


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [example for found, example in EXAMPLES if found == kind]


def test_no_example_goes_unchecked() -> None:
    """Every block of JSON on the page is of a kind that a test here, or of the runtime, or of its document compares."""
    assert PAGE.count("```json") == len(EXAMPLES)
    here, control = (
        {"envelope", "body", "status", "ack"},
        {"constraint", "store", "report", "gate", "gate_entry"},
    )
    watchers = {"runs", "graph", "ended", "summary", "host"}
    starting = {"workflows", "request", "response", "lease"}
    assert {kind for kind, _ in EXAMPLES} == here | control | watchers | starting


def test_the_topics_on_the_page_are_the_codes() -> None:
    """The topic of the example is read back, and the table of encoded levels is right both ways."""
    (topic,) = re.findall(r"On `(cascade/telemetry/local/[^`]+)`", PAGE)
    assert parse_telemetry_topic(topic) == ("local", "default", "9a8110f0", "events")
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|$", PAGE, re.MULTILINE)
    rows = [row for row in rows if not row[1].startswith("cascade/")]
    assert len(rows) == 4
    for text, level in rows:
        assert encode_level(text) == level
        assert decode_level(level) == text


def test_every_state_is_on_the_page() -> None:
    """No state of a task, end of a run or key of a message is missing from the tables."""
    names = [*TaskState, *RunStatus, *Lifecycle]
    keys = {key for _, example in EXAMPLES for key in example}
    assert [name for name in (*names, *keys) if f"`{name}`" not in PAGE and f'"{name}"' not in PAGE] == []
