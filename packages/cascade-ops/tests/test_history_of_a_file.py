"""``cascade history --from``: runs and steps from the events that ``cascade collect`` has stored."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from cascade.interfaces.topics import telemetry_topic
from cascade.ops._collecting.message import Received
from cascade.ops._collecting.sqlite_file import SqliteFile
from cascade.wire import parse_event
from testing_tools.memory_broker import MemoryBroker, Person
from testing_tools.retained_reports import cells

NOW = 1_800_000_000.0


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Person:
    """A person at a terminal."""
    return Person(MemoryBroker({}), monkeypatch)


def collected(path: Path, *events: tuple[str, str, str, dict[str, Any]]) -> None:
    """Write a collector's file: source, run, time and body of each event."""
    file = SqliteFile(path)
    for seq, (source, run_id, ts, body) in enumerate(events):
        topic = telemetry_topic("local", "default", run_id)
        message = {
            "v": "1.0",
            "ts": f"2027-01-15T{ts}+00:00",
            "run_id": run_id,
            "source": source,
            "seq": seq,
            "token": "t",
            "event_id": f"{run_id}-{seq}",
            "body": body,
        }
        parsed = parse_event(topic, json.dumps(message).encode())
        assert parsed is not None
        file.store([Received(topic, message, parsed, NOW + seq)])
    file.close()


def test_a_person_reads_the_runs_of_all_boxes_the_latest_first(
    person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run id that several boxes used is a list for a program, and has a column of sources for a person."""
    monkeypatch.setattr(time, "time", lambda: NOW)
    path = tmp_path / "all.sqlite"
    started = {"type": "LifecycleEvent", "event": "ENGINE_STARTED", "name": "nightly"}
    ended = {"type": "LifecycleEvent", "event": "ENGINE_STOPPED", "status": "Failed", "error": "E: x"}
    step = {"type": "TaskStateEvent", "task_id": "a:0", "task_name": "a"}
    collected(
        path,
        ("press", "old", "07:00:00", started),
        ("press", "new", "07:58:20", started),
        ("press", "new", "07:58:20", {**step, "state": "RUNNING"}),
        ("press", "new", "07:58:29", {**step, "state": "FAILED", "error": "E: x"}),
        ("press", "new", "07:58:50", ended),
        ("oven", "new", "07:30:00", started),
    )
    lines = person.types("history", "--from", str(path))[1]
    head, *rows = cells(lines)
    assert head == ["run", "source", "target", "status", "attempts", "began", "took", "steps", "error"]
    assert [row[:2] for row in rows] == [["new", "press"], ["new", "oven"], ["old", "press"]]
    assert rows[0][3:] == ["Failed", "1", "100s ago", "30s", "1 failed", "E: x"]
    head, *rows = cells(person.types("history", "new", "--from", str(path))[1])
    assert head == ["source", "step", "state", "starts", "tries", "began", "took", "size", "error"]
    assert rows == [["press", "a:0", "failed", "1", "1", "100s ago", "9s", "0", "E: x"]]
    documents = json.loads("\n".join(person.types("history", "new", "--from", str(path), "--json")[1]))
    assert [(each["source"], len(each["steps"])) for each in documents] == [("oven", 0), ("press", 1)]
    alone = json.loads("\n".join(person.types("history", "old", "--from", str(path), "--json")[1]))
    assert (alone["source"], alone["steps"]) == ("press", [])


def test_an_empty_list_is_a_sentence(person: Person, tmp_path: Path) -> None:
    """Of a file without tables, of one without events, and of a run without steps."""
    (tmp_path / "empty.sqlite").touch()
    assert person.types("history", "--from", str(tmp_path / "empty.sqlite"))[1] == ["no runs are in the file"]
    collected(tmp_path / "all.sqlite")
    assert person.types("history", "--from", str(tmp_path / "all.sqlite"))[1] == ["no runs are in the file"]
    collected(tmp_path / "one.sqlite", ("press", "run", "07:00:00", {"type": "Other"}))
    assert person.types("history", "run", "--from", str(tmp_path / "one.sqlite"))[1] == [
        "no steps are in the file"
    ]
