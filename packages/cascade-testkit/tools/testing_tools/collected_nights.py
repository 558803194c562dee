"""A collector's file with a night: a run that failed, one whose engine was lost, one that went well; a pause and a lost link."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cascade.interfaces.topics import state_topic, status_topic, telemetry_topic
from cascade.interfaces.wire import timestamp
from cascade.ops._collecting.message import Change, Received
from cascade.ops._collecting.sqlite_file import SqliteFile
from cascade.wire import parse_event

NOW = 1_795_593_600.0
ERROR = "measure:0[3]: OSError: sensor 4 does not answer (1 of 40 failed)"
PLACE = {"org_id": "local", "project_id": "default"}
PAUSE = "cascade/constraints/global/@pause"


class Night:
    """Events of one run, numbered as its engine numbers them."""

    def __init__(self, run_id: str, source: str, *, token: str = "c41e07d2") -> None:
        self._head = {"v": "1.0", "run_id": run_id, "source": source, "token": token, **PLACE}
        self._numbers: dict[str, int] = {}

    def event(self, at: float, kind: str = "events", **body: Any) -> Received:
        """Return the next event of a kind."""
        topic = telemetry_topic("local", "default", self._head["run_id"], kind)
        seq = self._numbers[kind] = self._numbers.get(kind, -1) + 1
        name = f"{self._head['run_id']}-{self._head['token']}" + ("" if kind == "events" else f"-{kind}")
        payload = {**self._head, "ts": timestamp(at), "seq": seq, "event_id": f"{name}-{seq}", "body": body}
        parsed = parse_event(topic, json.dumps(payload).encode())
        assert parsed is not None
        return Received(topic, payload, parsed, at)

    def life(self, at: float, name: str, status: str = "", error: str = "") -> Received:
        """Return the start of the run, or its end if a status is given."""
        body: dict[str, Any] = {
            "type": "LifecycleEvent",
            "event": "ENGINE_STOPPED" if status else "ENGINE_STARTED",
        }
        return self.event(at, **body, name=name, status=status, error=error)

    def task(self, at: float, number: int, state: str, *, name: str = "measure", error: str = "") -> Received:
        """Return a state of a task."""
        more: dict[str, Any] = {"duration_ms": 1.0, "reason": "", "attempt": 1, "error": error}
        key = f"{name}:0[{number}]"
        return self.event(at, type="TaskStateEvent", task_id=key, task_name=name, state=state, **more)


def _night_7(at: float) -> Iterator[Received]:
    run = Night("night-7", "press-1")
    yield run.life(at, "nightly")
    for number in range(40):
        state, error = ("FAILED", "OSError: sensor 4 does not answer") if number == 3 else ("COMPLETED", "")
        yield run.task(at + 10 * number, number, "RUNNING")
        yield run.task(at + 10 * number + 25, number, state, error=error)
    log = {"logger": "shop", "task_id": "measure:0[3]", "task_name": "measure", "skipped": 0}
    yield run.event(at + 50, "logs", type="LogEvent", level="WARNING", message="sensor 4 is slow", **log)
    value = {"task_id": "measure:0[3]", "task_name": "measure", "data": {"celsius": 21.5}}
    yield run.event(at + 60, "data", type="DataEvent", name="temperature", **value)
    yield run.life(at + 500, "nightly", "Failed", ERROR)


def _ended(at: float) -> dict[str, Any]:
    counts = {"COMPLETED": 39, "FAILED": 1, "SKIPPED": 1}
    tasks = {
        "measure": {
            "known": 40,
            "counts": {"COMPLETED": 39, "FAILED": 1},
            "ms": {"n": 40, "sum": 1e6, "max": 25e3},
        },
        "report": {"known": 1, "counts": {"SKIPPED": 1}, "ms": {"n": 0, "sum": 0.0, "max": 0.0}},
    }
    nodes = [
        {
            "id": "measure:0",
            "name": "measure",
            "kind": "map",
            "known": 40,
            "counts": {"COMPLETED": 39, "FAILED": 1},
        },
        {"id": "report:0", "name": "report", "kind": "task", "known": 1, "counts": {"SKIPPED": 1}},
    ]
    failure = {
        "task_id": "measure:0[3]",
        "task_name": "measure",
        "error": "OSError: sensor 4 does not answer",
    }
    row = {
        "run_id": "night-7", "token": "c41e07d2", "target": "report", "name": "nightly", "tags": {}, "status": "Failed",
        "error": ERROR, "by": "", "started": timestamp(at), "ended": timestamp(at + 500), "attempt": 1,
        "duration_ms": 5e5, "counts": counts, "recorded": 0, "known": 41, "tasks": tasks,
        "failures": [{**failure, "attempt": 1, "ended": timestamp(at + 55)}], "interrupted": [],
        "graph": {"nodes": nodes, "edges": [[0, 1, "argument"]]},
    }  # fmt: skip
    return {
        "v": "1.0",
        "source": "press-1",
        "session": "s",
        "presence": "s",
        "runs": [row],
        "ts": timestamp(at + 500),
    }


def write_night(path: Path, now: float = NOW) -> None:
    """Write the file; the night ends at ``now``, in seconds since the epoch."""
    lost, good = Night("shift-2", "press-2"), Night("bake-3", "oven")
    events = [
        *_night_7(now - 3000),
        lost.life(now - 2000, "shift"),
        *(lost.task(now - 1990 + number, number, "RUNNING", name="weld") for number in range(2)),
        lost.task(now - 1900, 0, "COMPLETED", name="weld"),
        good.life(now - 1500, "bake"),
        good.task(now - 1499, 0, "RUNNING", name="heat"),
        good.task(now - 1300, 0, "COMPLETED", name="heat"),
        good.life(now - 1200, "bake", "Succeeded"),
    ]
    changes = [
        Change(PAUSE, {"type": "pause", "scope": "global", "by": "ann"}, now - 2800),
        Change(PAUSE, {}, now - 2700),
        Change(status_topic("press-2"), {"status": "online", "session": "s"}, now - 2100),
        Change(status_topic("press-2"), {"status": "offline", "session": "s"}, now - 1800),
        Change(state_topic("press-1", "ended"), _ended(now - 3000), now - 2500),
    ]
    file = SqliteFile(path)
    file.store(events, changes)
    file.close()
