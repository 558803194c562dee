"""What an engine writes of its events: the keys of version 1.0, in their order, and no others."""

from __future__ import annotations

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
    Redactor,
    RunStatus,
    TaskState,
    TaskStateEvent,
)
from cascade.interfaces.events import RunLease
from cascade.wire import Series, to_wire
from cascade.wire import body_of as read_body

PAGE = (Path(__file__).parents[3] / "cascade-interfaces" / "PROTOCOL.md").read_text("utf-8")


def of_kind(kind: str) -> list[dict[str, Any]]:
    """Return the examples of one kind on the protocol's page."""
    return [json.loads(text) for text in re.findall(rf"```json {kind}\n(.*?)```", PAGE, re.DOTALL)]


def body_of(event: Event, clean: Callable[[str], str] = str) -> dict[str, Any]:
    """Return the body of an event as it is on the wire."""
    return to_wire(read_body(event, clean))


MADE_AS_THEY_ARE: dict[str, Callable[..., Event]] = {
    each.__name__: each for each in (ProgressEvent, LogEvent, DataEvent)
}


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
    if "lease" in fields:
        fields["lease"] = RunLease(**fields["lease"])
    return LifecycleEvent(run_id=run_id, timestamp=seconds, **fields)


@pytest.mark.parametrize("example", of_kind("envelope"))
def test_an_envelope_is_what_the_code_writes(example: dict[str, Any]) -> None:
    """Key for key and in the same order."""
    event = event_of(example["body"], example["run_id"], datetime.fromisoformat(example["ts"]).timestamp())
    keys = ("org_id", "project_id", "source", "token")
    series = Series(example["run_id"], **{key: example[key] for key in keys})
    series.seq = example["seq"]
    made = series.envelope(event.timestamp, read_body(event))
    assert json.dumps(made) == json.dumps(example)


@pytest.mark.parametrize("example", of_kind("body"))
def test_a_body_is_what_the_code_writes(example: dict[str, Any]) -> None:
    """Key for key and in the same order."""
    assert json.dumps(body_of(event_of(example, "r", 0.0))) == json.dumps(example)


def event(**changes: Any) -> TaskStateEvent:
    fields: dict[str, Any] = {
        "run_id": "9a81",
        "task_id": "bad:0",
        "task_name": "bad",
        "state": TaskState.FAILED,
        "timestamp": 1795230020.26927,
        "duration_ms": 1.09,
        "error": "ValueError: no",
    }
    return TaskStateEvent(**(fields | changes))


def test_a_tag_named_like_a_secret_is_masked_whole() -> None:
    """Whatever its value is; the others are cleaned, and the name of a tag is a text like any other."""
    tags: dict[str, Any] = {
        "password": 3,
        "api_key": "x",
        "line": 3,
        "ok": True,
        "note": "token=x",
        "pwd=1": 2,
    }
    started = LifecycleEvent("r", Lifecycle.ENGINE_STARTED, 0.0, tags=tags, kept=4)
    body = body_of(started, clean=Redactor().one_line)
    assert body == {
        "type": "LifecycleEvent",
        "event": "ENGINE_STARTED",
        "tags": {
            "password": "***",
            "api_key": "***",
            "line": 3,
            "ok": True,
            "note": "token=***",
            "pwd=***": "***",
        },
        "kept": 4,
    }
    stopped = LifecycleEvent("r", Lifecycle.ENGINE_STOPPED, 0.0, RunStatus.SUCCEEDED)
    assert body_of(stopped)["error"] == ""


CLEAN = Redactor(names=["iban"]).one_line


def data(value: Any, name: str = "row") -> Any:
    return body_of(DataEvent("r", "a:0", "a", 0.0, name, value), CLEAN)


def test_data_goes_out_with_every_text_masked() -> None:
    """Values of keys that are named like a secret are masked whole; numbers, booleans and nulls stay what they are."""
    value = {
        "celsius": 21.5,
        "ok": True,
        "none": None,
        "rows": [1, "iban=2", [{"note": "password=x"}]],
        "password": {"user": "ada"},
        "customer_iban": 7,
        "iban=9": "x",
    }
    assert data(value, "iban=1") == {
        "type": "DataEvent",
        "name": "iban=***",
        "data": {
            "celsius": 21.5,
            "ok": True,
            "none": None,
            "rows": [1, "iban=***", [{"note": "password=***"}]],
            "password": "***",
            "customer_iban": "***",
            "iban=***": "***",
        },
        "task_id": "a:0",
        "task_name": "a",
    }
    assert data("iban=1")["data"] == "iban=***"
    assert len(data(1, "n" * 900)["name"]) == 200


def test_data_that_is_nested_too_deep_is_cut_off() -> None:
    """A reader could not decode it; what stands above goes out."""
    deep: Any = "bottom"
    for _ in range(60):
        deep = [deep]
    shown = data({"a": deep, "b": {"c": [deep]}})["data"]
    assert shown["a"] == deep
    for _ in range(30):
        deep = [{"k": deep}]
    cut, levels = data(deep)["data"], 0
    while cut is not None:
        cut = cut[0] if isinstance(cut, list) else cut["k"]
        levels += 1
    assert 60 < levels < 70
