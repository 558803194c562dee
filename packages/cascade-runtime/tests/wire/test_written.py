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
from cascade.wire import LifecycleBody, Series, to_wire
from cascade.wire import body_of as read_body

PAGE = (Path(__file__).parents[3] / "cascade-interfaces" / "PROTOCOL.md").read_text("utf-8")
ANY = LifecycleBody(event="ENGINE_STARTED")


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


def make_series(**changes: Any) -> Series:
    fields = {"org_id": "local", "project_id": "default", "source": "vm-14304", "token": "c41e07d2"}
    return Series("9a81", **(fields | changes))


def test_a_series_counts_the_messages_of_one_kind_of_one_attempt() -> None:
    """``seq`` from 0; ``event_id`` from run, token, kind and ``seq``; the run's attempt only from 2."""
    events, progress = make_series(), make_series(kind="progress", attempt=2)
    ids = [each["event_id"] for each in (events.envelope(0.0, ANY), events.envelope(0.0, ANY))]
    assert ids == ["9a81-c41e07d2-0", "9a81-c41e07d2-1"]
    message = progress.envelope(0.0, ANY)
    assert (message["event_id"], message["attempt"]) == ("9a81-c41e07d2-progress-0", 2)
    assert "attempt" not in events.envelope(0.0, ANY)
    assert progress.topic == "cascade/telemetry/local/default/9a81/progress"


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


def progress(**more: Any) -> Any:
    return body_of(ProgressEvent("r", "a:0", "a", 0.0, 3, **more), CLEAN)


def log(message: str, **more: Any) -> Any:
    fields: dict[str, Any] = {"level": "INFO", "logger": "app"} | more
    return body_of(LogEvent("r", "a:0", "a", 0.0, message=message, **fields), CLEAN)


def data(value: Any, name: str = "row") -> Any:
    return body_of(DataEvent("r", "a:0", "a", 0.0, name, value), CLEAN)


def test_a_line_of_a_log_stands_with_its_place_and_what_was_skipped() -> None:
    """Its handler has masked it as a whole; a line that is short enough is masked again, a longer one is only cut."""
    assert log("hello", skipped=4) == {
        "type": "LogEvent",
        "level": "INFO",
        "logger": "app",
        "message": "hello",
        "task_id": "a:0",
        "task_name": "a",
        "skipped": 4,
    }
    assert log("iban=1")["message"] == "iban=***"
    assert log("x" * 5_000)["message"] == "x" * 1_000
    long = log("", level="L" * 900, logger="g" * 900)
    assert (len(long["level"]), len(long["logger"])) == (50, 200)


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
