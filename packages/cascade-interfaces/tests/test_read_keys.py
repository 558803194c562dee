"""Each key of each message by itself: what it says, what stands there without it, and which values say nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any

import pytest

from cascade.interfaces.topics import ack_topic, constraint_topic, state_topic, status_topic, telemetry_topic
from cascade.interfaces.wire import read

TS, SECONDS = "2026-11-21T03:00:20.250000+00:00", 1795230020.25
EVENTS = telemetry_topic("o", "p", "r")

WRONG: dict[str, list[Any]] = {
    "text": [1, True, None, [], {}],
    "time": [SECONDS, "yesterday", None, []],
    "number": ["1", True, None, [], {}],
    "whole": [-1, 1.5, "1", True, None, [], 1 << 63],
    "flag": [0, 1, "true", None],
    "mapping": [[], 1, "x", True, None],
    "rows": [{}, 1, "x", None],
}
"""Values that a key of this type cannot have: the message is read as if the key was missing."""


def parsed(topic: str, data: dict[str, Any]) -> Any:
    return read.parse(topic, json.dumps(data).encode())


def state(kind: str, data: dict[str, Any]) -> Any:
    return parsed(state_topic("line", kind), {"v": "1.0"} | data)


def event(data: dict[str, Any], kind: str = "events") -> Any:
    return parsed(telemetry_topic("o", "p", "r", kind), {"run_id": "r", "body": {}} | data)


def task(*bodies: dict[str, Any]) -> Any:
    view = read.View()
    for body in bodies:
        head = {"run_id": "r", "source": "line", "body": {"task_id": "a:0"} | body}
        view.fold(EVENTS, json.dumps(head).encode(), now=0.0)
    return view.runs["line", "r"].tasks["a:0"]


STARTED = {"type": "TaskStateEvent", "state": "RUNNING"}
ACTIVE = {"run_id": "r"}

READ: dict[str, Callable[[dict[str, Any]], Any]] = {
    "event": event,
    "log": lambda data: read.log_line(event({"body": {"type": "LogEvent"} | data}, "logs")),
    "data": lambda data: read.data_item(event({"body": {"type": "DataEvent", "name": "t"} | data}, "data")),
    "task": lambda data: task(STARTED | data),
    "progress": lambda data: task(STARTED, {"type": "ProgressEvent"} | data),
    "presence": lambda data: parsed(status_topic("line"), {"status": "online"} | data),
    "register": lambda data: parsed(constraint_topic("global", "pause"), {"type": "pause"} | data),
    "constraints": lambda data: state("constraints", data),
    "compliance": lambda data: state("constraints", {"applied": {"t": data}}).applied["t"],
    "runs": lambda data: state("runs", data),
    "run": lambda data: state("runs", {"runs": [ACTIVE | data]}).runs[0],
    "totals": lambda data: state("runs", {"runs": [ACTIVE | {"tasks": {"a": data}}]}).runs[0].tasks[0],
    "running": lambda data: state("runs", {"runs": [ACTIVE | {"running": [data]}]}).runs[0].running[0],
    "waiting": lambda data: state("runs", {"runs": [ACTIVE | {"waiting": [data]}]}).runs[0].waiting[0],
    "recent": lambda data: state("runs", {"recent": [{"run_id": "r"} | data]}).recent[0],
    "graph report": lambda data: state("graph", data),
    "graph": lambda data: state("graph", {"runs": [ACTIVE | data]}).runs[0],
    "node": lambda data: state("graph", {"runs": [ACTIVE | {"nodes": [data]}]}).runs[0].nodes[0],
    "summary": lambda data: state("summary", data),
    "host": lambda data: state("host", data),
    "ack": lambda data: parsed(ack_topic("line"), {"v": "1.0"} | data),
}
"""How each part of the wire is read from the keys that it may have."""

# Part of the wire, type of the values, what stands there without the key, and the keys: those whose attribute has
# another name stand with it, as ``key>attribute``.
TEXTS = {
    "event": "source token event_id",
    "log": "level logger message task_id task_name",
    "data": "task_id task_name",
    "task": "task_name>name error reason parent node",
    "progress": "message unit",
    "presence": "session reason host version",
    "register": "by",
    "constraints": "session sync presence",
    "compliance": "status reason id",
    "runs": "session presence org_id project_id",
    "run": "target name",
    "running": "task_id task_name message unit",
    "waiting": "why topic type id name",
    "recent": "target status error name",
    "graph report": "session",
    "node": "id name kind",
    "summary": "last_status",
    "ack": "by",
}
OTHERS: list[tuple[str, str, Any, str]] = [
    ("event", "time", None, "ts>seconds"),
    ("event", "whole", 1, "attempt"),
    ("log", "whole", 0, "skipped"),
    ("task", "number", 0.0, "duration_ms"),
    ("task", "whole", 1, "attempt"),
    ("task", "whole", None, "item"),
    ("progress", "number", None, "done total"),
    ("presence", "whole", None, "pid"),
    ("presence", "time", None, "ts>seconds"),
    ("register", "mapping", {}, "params"),
    ("register", "number", None, "expires_at"),
    ("constraints", "whole", 0, "in_scope_running more"),
    ("constraints", "time", None, "ts>seconds"),
    ("constraints", "mapping", {}, "applied"),
    ("constraints", "rows", (), "effective"),
    ("runs", "whole", 0, "more recent_more"),
    ("runs", "time", None, "ts>seconds"),
    ("runs", "flag", None, "paused"),
    ("runs", "rows", (), "runs recent"),
    ("run", "time", None, "started"),
    ("run", "whole", 1, "attempt"),
    ("run", "whole", None, "known"),
    ("run", "flag", None, "open"),
    ("run", "number", None, "eta_s"),
    ("run", "mapping", {}, "tags counts"),
    ("run", "mapping", (), "tasks"),
    ("run", "rows", (), "running waiting"),
    ("run", "whole", 0, "tasks_more running_more waiting_more lost"),
    ("totals", "mapping", {}, "counts"),
    ("totals", "whole", 0, "known"),
    ("running", "time", None, "since"),
    ("running", "number", None, "done total"),
    ("running", "flag", False, "paused"),
    ("waiting", "whole", 0, "n"),
    ("waiting", "time", None, "since until"),
    ("recent", "time", None, "started ended"),
    ("recent", "number", None, "duration_ms"),
    ("recent", "mapping", {}, "counts tags"),
    ("recent", "whole", 1, "attempt"),
    ("graph report", "rows", (), "runs"),
    ("graph report", "whole", 0, "more"),
    ("graph report", "time", None, "ts>seconds"),
    ("graph", "whole", 0, "rev more"),
    ("graph", "flag", False, "folded"),
    ("graph", "rows", (), "nodes edges"),
    ("node", "whole", 1, "known"),
    ("summary", "whole", 0, "runs running waiting completed failed"),
    ("summary", "flag", False, "paused"),
    ("summary", "time", None, "ts>seconds"),
    ("host", "mapping", {}, "memory link labels"),
    ("host", "time", None, "ts>seconds"),
    ("ack", "mapping", {}, "upto missing"),
]
GOOD: dict[str, Any] = {"text": "what it says", "number": 2.5, "whole": 7, "flag": True}
"""What a key of this type says; it arrives as it is."""


def cases() -> list[Any]:
    texts = [(part, "text", "", keys) for part, keys in TEXTS.items()]
    return [
        pytest.param(part, key, attribute or key, kind, missing, id=f"{part}-{key}")
        for part, kind, missing, keys in (*texts, *OTHERS)
        for key, _, attribute in (each.partition(">") for each in keys.split())
    ]


def own_default(kind: type[Any], attribute: str) -> object:
    """Return what an instance has that a program makes without this attribute."""
    (found,) = (each for each in fields(kind) if each.name == attribute)
    return found.default if found.default_factory is MISSING else found.default_factory()


@pytest.mark.parametrize(("part", "key", "attribute", "kind", "missing"), cases())
def test_a_key_says_its_own_attribute_and_nothing_else(
    part: str, key: str, attribute: str, kind: str, missing: object
) -> None:
    """Without the key its default stands there, as with a value of a wrong type; other attributes never change."""
    build = READ[part]
    bare = build({})
    assert getattr(bare, attribute) == missing
    assert type(getattr(bare, attribute)) is type(missing)
    if bare != READ["register"]({}):  # of a register that cannot be read there are no parameters at all
        assert own_default(type(bare), attribute) in (MISSING, missing)
    for wrong in WRONG[kind]:
        assert getattr(build({key: wrong}), attribute) == missing
    if kind == "time":
        assert getattr(build({key: TS}), attribute) == SECONDS
    elif kind in GOOD:
        found = build({key: GOOD[kind]})
        assert getattr(found, attribute) == GOOD[kind]
        changed = [name for name in bare.__slots__ if getattr(found, name) != getattr(bare, name)]
        assert changed == [attribute]
