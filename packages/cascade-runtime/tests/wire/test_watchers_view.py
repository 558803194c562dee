"""What a reader makes of the wire for watchers: runs, recent runs, graphs, summary, host, logs and data."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cascade.interfaces.topics import ack_topic, constraint_topic, state_topic, status_topic, telemetry_topic
from cascade.wire import (
    Acknowledgement,
    LogBody,
    Register,
    View,
    constraint_rows,
    engine_rows,
    parse,
    run_rows,
)

SINCE = "2026-11-21T03:00:20+00:00"
LATER = "2026-11-21T03:00:28+00:00"
SECONDS = 1795230020.0

RUN = {
    "run_id": "9a81",
    "target": "report",
    "name": "nightly",
    "tags": {"line": 3},
    "started": SINCE,
    "attempt": 2,
    "counts": {"RUNNING": 2, "COMPLETED": 174, "BLOCKED": 618},
    "known": 796,
    "open": True,
    "eta_s": 41.0,
    "tasks": {
        "audit": {
            "known": 792,
            "counts": {"RUNNING": 2, "BLOCKED": 616},
            "ms": {"n": 174, "sum": 9021.4, "max": 410.2},
        }
    },
    "tasks_more": 4,
    "running": [
        {
            "task_id": "audit:0[175]",
            "task_name": "audit",
            "since": SINCE,
            "done": 120,
            "total": 1000,
            "message": "part 2",
            "unit": "files",
            "paused": True,
        }
    ],
    "running_more": 1,
    "waiting": [
        {
            "why": "constraint",
            "topic": "cascade/constraints/task/audit/@rate_limit",
            "type": "rate_limit",
            "id": "x",
            "n": 616,
            "since": SINCE,
        },
        {"why": "resource", "name": "gpu", "n": 3, "since": SINCE},
        {"why": "retry", "n": 1, "until": LATER},
    ],
    "waiting_more": 2,
    "graph": {"rev": 1, "nodes": 5},
    "lost": 7,
}
RECENT = {
    "run_id": "77fe",
    "target": "report",
    "status": "Failed",
    "error": "ValueError: no such file",
    "started": SINCE,
    "ended": LATER,
    "duration_ms": 8000.0,
    "counts": {"COMPLETED": 40, "FAILED": 1},
}
REPORT = {
    "v": "1.0",
    "source": "line",
    "session": "s",
    "presence": "p",
    "org_id": "local",
    "project_id": "acme",
    "runs": [RUN],
    "recent": [RECENT],
    "recent_more": 3,
    "paused": False,
    "ts": LATER,
}


def put(view: View, topic: str, data: object, *, now: float = 0.0, retained: bool = False) -> Any:
    return view.fold(topic, json.dumps(data).encode(), now=now, retained=retained)


def runs(view: View, **more: Any) -> Any:
    return put(view, state_topic("line", "runs"), REPORT | more)


def event(view: View, kind: str, seq: int = 0, /, *, run_id: str = "9a81", **body: Any) -> Any:
    names = [run_id, "t", *([] if kind == "events" else [kind]), str(seq)]
    envelope = {"run_id": run_id, "source": "line", "seq": seq, "token": "t", "event_id": "-".join(names)}
    envelope |= {"ts": SINCE, "body": body}
    return put(view, telemetry_topic("o", "acme", run_id, kind), envelope)


# The report of runs


def test_the_rows_have_exactly_the_keys_of_the_command() -> None:
    """A command prints them: ``ps``, ``runs`` and ``constraints`` need no further work."""
    view = View()
    runs(view, paused=True)
    put(view, constraint_topic("global", "pause"), {"type": "pause"})
    (engine,) = engine_rows(view, 0.0)
    assert " ".join(engine) == "source status presence host pid since project_id sync paused runs"
    assert (engine["project_id"], engine["runs"], engine["status"]) == ("acme", 1, "online")
    assert engine["paused"] is True
    (silent,) = engine_rows(view, 13.0)
    assert (silent["runs"], silent["status"]) == (0, "lost")  # its runs are lost, too: none is active
    assert silent["paused"] is False  # nothing obeys the pause there
    running, recent = run_rows(view, 0.0)
    keys = "source run_id target status started ended counts known open error"
    assert " ".join(running) == " ".join(recent) == keys
    assert (running["status"], running["known"], running["open"]) == ("Running", 796, True)
    assert (recent["status"], recent["error"], recent["open"]) == (
        "Failed",
        "ValueError: no such file",
        False,
    )
    assert (recent["known"], recent["counts"]) == (41, {"COMPLETED": 40, "FAILED": 1})
    assert recent["ended"] == "2026-11-21T03:00:28.000000+00:00"
    (constraint,) = constraint_rows(view, 0.0)
    assert " ".join(constraint) == "topic scope type params id by expires_at applied refused"


def test_a_recent_run_says_how_it_ended_when_its_events_did_not_come() -> None:
    """The run was listed as active before; the counts are those at its end."""
    view = View()
    runs(view, recent=[])
    runs(view, runs=[], recent=[RECENT | {"run_id": "9a81"}])
    run = view.runs["line", "9a81"]
    assert (run.status, run.error, run.ended) == ("Failed", "ValueError: no such file", SECONDS + 8)
    assert run.counts == {"COMPLETED": 40, "FAILED": 1}


def test_a_repeated_report_changes_the_order_of_runs_only_by_what_is_new() -> None:
    """Recent runs do not come before active ones each time that the report is repeated."""
    view = View()
    for _ in range(3):
        runs(view)
    assert [row["run_id"] for row in run_rows(view, 0.0)] == ["9a81", "77fe"]


def test_a_run_of_an_engine_that_is_lost_is_lost_and_recent_runs_stay() -> None:
    """A retained report outlives its engine, also where presence shows the loss."""
    view = View()
    put(view, state_topic("line", "runs"), REPORT, retained=True)
    put(view, status_topic("line"), {"status": "offline", "session": "p"}, retained=True)
    assert [row["status"] for row in run_rows(view, 0.0)] == ["Lost", "Failed"]
    assert view.live(0.0) == []


def test_a_run_of_a_process_that_was_killed_stays_lost_when_the_name_is_back() -> None:
    """The successor lists no such run: it is not running there, and how it would have ended is not known."""
    view = View()
    runs(view, recent=[])
    put(view, status_topic("line"), {"status": "offline", "session": "p"})
    assert [row["status"] for row in run_rows(view, 0.0)] == ["Lost"]
    put(view, status_topic("line"), {"status": "online", "session": "q"})
    idle = {"session": "q", "presence": "q", "runs": [], "recent": []}
    runs(view, **idle)
    assert [row["status"] for row in run_rows(view, 0.0)] == ["Lost"]
    runs(view, **idle | {"session": "another", "runs": [RUN | {"run_id": "b"}]})
    assert {row["run_id"]: row["status"] for row in run_rows(view, 0.0)} == {
        "9a81": "Lost",
        "b": "Running",
    }
    runs(view, **idle | {"session": "another", "runs": [RUN]})  # a run that goes on under its id
    assert view.runs["line", "9a81"].status == "Running"


def test_a_live_engine_is_online_or_has_reported_in_the_last_12_seconds() -> None:
    """On the clock of the reader; a retained report shows no life, a birth does."""
    view = View()
    put(view, state_topic("named", "runs"), {"runs": []}, retained=True)
    put(view, status_topic("named"), {"status": "online", "session": "1"}, retained=True)
    put(view, state_topic("vm-1", "summary"), {"up": 1}, now=3.0)
    put(view, state_topic("vm-2", "summary"), {"up": 1}, retained=True)
    assert [engine.source for engine in view.live(15.0)] == ["named", "vm-1"]
    assert [engine.source for engine in view.live(15.1)] == ["named"]


@pytest.mark.parametrize(
    ("status", "id_", "applied", "refused"),
    [
        ("applied", "night", True, False),
        ("applied", "", True, False),
        ("applied", "day", False, False),
        ("rejected", "day", False, True),
        ("unsupported", "", False, True),
        ("expired", "night", False, False),
    ],
)
def test_an_engine_that_obeys_what_stood_there_before_is_not_listed(
    status: str, id_: str, applied: bool, refused: bool
) -> None:
    """A refusal counts whichever id it names: the last valid value stays in force."""
    view, topic = View(), constraint_topic("global", "pause")
    put(view, state_topic("a", "constraints"), {"applied": {topic: {"id": id_, "status": status}}})
    put(view, topic, {"id": "night", "type": "pause"})
    (row,) = constraint_rows(view, 0.0)
    assert (row["applied"], [each["source"] for each in row["refused"]]) == (["a"] * applied, ["a"] * refused)


# Graph, summary, host, acknowledgement


def test_an_acknowledgement_shows_what_is_stored_and_no_life() -> None:
    """The collector writes it, not the engine."""
    view = View()
    put(view, ack_topic("line"), {"v": "1.0", "by": "c1", "upto": {"r-t": 9}, "missing": {"r-t": [[3, 4]]}})
    ack = view.engines["line"].ack
    assert ack == Acknowledgement(v="1.0", by="c1", upto={"r-t": 9}, missing={"r-t": [[3, 4]]})
    assert view.live(0.0) == []


# Progress, logs and data


def test_progress_has_a_message_and_a_unit() -> None:
    """They stay with the task until it ends."""
    view = View()
    event(view, "events", task_id="a:0", task_name="a", state="RUNNING", type="TaskStateEvent")
    progress: dict[str, Any] = {"type": "ProgressEvent", "task_id": "a:0", "done": 3, "total": 9}
    event(view, "progress", **progress, message="part 2", unit="files")
    event(view, "events", 1, task_id="a:0", task_name="a", state="BLOCKED", type="TaskStateEvent")
    task = view.runs["line", "9a81"].tasks["a:0"]
    assert (task.done, task.total, task.message, task.unit) == (3, 9, "part 2", "files")


def test_log_lines_stand_in_order_and_a_copy_does_not() -> None:
    """MQTT may deliver a message twice."""
    view = View()
    line: dict[str, Any] = {
        "type": "LogEvent",
        "level": "INFO",
        "logger": "app",
        "message": "hello",
        "task_id": "a:0",
    }
    for seq in (0, 1, 1):
        event(view, "logs", seq, **line, skipped=seq)
    event(view, "events", **line)
    said = [each.content for each in view.logs]
    rest = {"level": "INFO", "logger": "app", "message": "hello", "task_id": "a:0", "task_name": ""}
    assert said == [LogBody(skipped=seq, **rest) for seq in (0, 1)]


# Bounds


def test_what_is_kept_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines heard of least recently are forgotten with their reports; further registers are left out."""
    monkeypatch.setattr("cascade.wire.view.MAX_BYTES", 1_000)
    monkeypatch.setattr("cascade.wire.view.MAX_DATA", 3)
    view = View()
    for number in range(9):
        put(view, state_topic(f"e{number}", "runs"), {"pad": "x" * 300})
        put(view, constraint_topic(f"run:{number}", "pause"), {"type": "pause", "pad": "x" * 300})
        event(view, "data", number, type="DataEvent", name=str(number), data=0)
    assert [name for name in view.engines if name != "line"] == ["e6", "e7", "e8"]
    assert view._sizes.total <= 1_000
    assert (len(view.registers), view.left_out) == (3, 6)
    put(view, constraint_topic("run:0", "pause"), {})
    put(view, constraint_topic("run:8", "pause"), {"type": "pause"})
    assert len(view.registers) == 3
    assert [key[2] for key in view.data] == ["6", "7", "8"]


def test_a_report_or_a_value_that_is_too_long_is_not_read() -> None:
    """Engines send at most 64 KiB; a register that is too long is shown as one that no engine obeys."""
    long = {"source": "line", "pad": "x" * 140_000}
    assert parse(state_topic("line", "runs"), json.dumps(long).encode()) is None
    assert parse(ack_topic("line"), json.dumps(long).encode()) is None
    body = {"run_id": "r", "body": {"type": "DataEvent", "name": "n", "data": "x" * 70_000}}
    assert parse(telemetry_topic("o", "p", "r", "data"), json.dumps(body).encode()) is None
    assert parse(telemetry_topic("o", "p", "r", "events"), json.dumps(body).encode()) is not None
    register = parse(constraint_topic("global", "pause"), json.dumps(long).encode())
    assert isinstance(register, Register)
    assert (register.problem, register.params) == ("it is longer than 64 KiB", None)
