"""PROTOCOL.md is true: every example on it is what the code produces."""

import json
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from cascade.interfaces import (
    DataEvent,
    Event,
    Lifecycle,
    LifecycleEvent,
    LogEvent,
    ProgressEvent,
    RunStatus,
    TaskState,
    TaskStateEvent,
)
from cascade.interfaces.topics import ack_topic, decode_level, encode_level, parse_telemetry_topic
from cascade.interfaces.wire.read import Ack, parse_ack
from cascade.interfaces.wire.write import Series, body_of

PAGE = (Path(__file__).parents[1] / "PROTOCOL.md").read_text(encoding="utf-8")
EXAMPLES: list[tuple[str, dict[str, Any]]] = [
    (kind, json.loads(text)) for kind, text in re.findall(r"```json (\w+)\n(.*?)```", PAGE, re.DOTALL)
]


MADE_AS_THEY_ARE: dict[str, Callable[..., Event]] = {
    each.__name__: each for each in (ProgressEvent, LogEvent, DataEvent)
}


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [example for found, example in EXAMPLES if found == kind]


def event_of(body: dict[str, Any], run_id: str, seconds: float) -> Event:
    """Make the event of a body, from its keys alone."""
    fields = {key: value for key, value in body.items() if key != "type"}
    if body["type"] in MADE_AS_THEY_ARE:
        return MADE_AS_THEY_ARE[body["type"]](run_id=run_id, timestamp=seconds, **fields)
    if body["type"] == "TaskStateEvent":
        return TaskStateEvent(
            run_id=run_id, timestamp=seconds, **(fields | {"state": TaskState(fields["state"])})
        )
    fields["event"] = Lifecycle(fields["event"])
    if "status" in fields:
        fields["status"] = RunStatus(fields["status"])
    return LifecycleEvent(run_id=run_id, timestamp=seconds, **fields)


def test_no_example_goes_unchecked() -> None:
    """Every block of JSON on the page is of a kind that a test here, or the runtime's for control, compares."""
    assert PAGE.count("```json") == len(EXAMPLES)
    here, control = {"envelope", "body", "status", "ack"}, {"constraint", "store", "report"}
    watchers = {"runs", "graph", "summary", "host"}
    assert {kind for kind, _ in EXAMPLES} == here | control | watchers


@pytest.mark.parametrize("example", of_kind("envelope"))
def test_an_envelope_is_what_the_code_writes(example: dict[str, Any]) -> None:
    """Key for key and in the same order."""
    event = event_of(example["body"], example["run_id"], datetime.fromisoformat(example["ts"]).timestamp())
    keys = ("org_id", "project_id", "source", "token")
    series = Series(example["run_id"], **{key: example[key] for key in keys})
    series.seq = example["seq"]
    made = series.envelope(event.timestamp, body_of(event))
    assert json.dumps(made) == json.dumps(example)


@pytest.mark.parametrize("example", of_kind("body"))
def test_a_body_is_what_the_code_writes(example: dict[str, Any]) -> None:
    """Key for key and in the same order."""
    assert json.dumps(body_of(event_of(example, "r", 0.0))) == json.dumps(example)


@pytest.mark.parametrize("example", of_kind("ack"))
def test_an_acknowledgement_is_read(example: dict[str, Any]) -> None:
    """As the page says."""
    ack = parse_ack(ack_topic("press-line-3"), json.dumps(example).encode())
    assert ack == Ack("press-line-3", "collector-1", {"9a81-c41e07d2": 173}, {"9a81-c41e07d2": ((40, 41),)})


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
