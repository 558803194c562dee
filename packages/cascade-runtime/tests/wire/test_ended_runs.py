"""Runs that have ended, as a reader of the report of the latest ends knows them, whatever came before it."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from cascade.interfaces.topics import state_topic, status_topic, telemetry_topic
from cascade.wire import View, interrupted_rows, run_rows

SOURCE, RUN, TOKEN = "line", "r", "aaaa0001"


def ts(second: int) -> str:
    return f"2026-11-21T03:00:{second:02}.000000+00:00"


def ended(
    run_id: str = RUN, token: str = TOKEN, status: str = "Failed", at: int = 9, **more: Any
) -> dict[str, Any]:
    failed = {"task_id": "a:0[1]", "task_name": "a", "error": "E: x", "ended": ts(8)}
    return {
        "run_id": run_id, "token": token, "target": "all", "status": status, "error": "a:0[1]: E: x", "by": "ada",
        "started": ts(1), "ended": ts(at), "attempt": 1, "duration_ms": 8000.0, "counts": {"COMPLETED": 4, "FAILED": 1},
        "known": 61, "tasks": {"a": {"known": 61, "counts": {"COMPLETED": 4, "FAILED": 1}}}, "failures": [failed],
        "interrupted": [], "graph": {"nodes": [], "edges": []}, **more,
    }  # fmt: skip


def recent(row: dict[str, Any]) -> dict[str, Any]:
    whole = ("tasks", "failures", "failures_more", "interrupted", "graph")
    return {key: each for key, each in row.items() if key not in whole}


def active(run_id: str = RUN, token: str = TOKEN, **more: Any) -> dict[str, Any]:
    running = [{"task_id": "a:0[7]", "task_name": "a", "since": ts(3), "paused": False}]
    counts = {"COMPLETED": 3, "RUNNING": 1}
    return {
        "run_id": run_id, "token": token, "target": "all", "started": ts(1), "attempt": 1, "counts": counts, "known": 61,
        "open": False, "tasks": {"a": {"known": 61, "counts": counts}}, "running": running, "waiting": [], **more,
    }  # fmt: skip


def runs(
    *rows: dict[str, Any], recent: tuple[dict[str, Any], ...] = (), presence: str = "p1"
) -> tuple[str, Any]:
    body = {"v": "1.0", "source": SOURCE, "session": presence, "presence": presence, "ts": ts(5)}
    return state_topic(SOURCE, "runs"), body | {"runs": [*rows], "recent": [*recent]}


def ends(*rows: dict[str, Any]) -> tuple[str, Any]:
    body = {"v": "1.0", "source": SOURCE, "session": "s", "presence": "p1", "runs": [*rows], "ts": ts(9)}
    return state_topic(SOURCE, "ended"), body


def event(seq: int, token: str = TOKEN, **body: Any) -> tuple[str, Any]:
    data = {
        "v": "1.0",
        "run_id": RUN,
        "source": SOURCE,
        "token": token,
        "attempt": 1,
        "seq": seq,
        "ts": ts(8),
    }
    return telemetry_topic("o", "p", RUN), data | {"body": body}


FAILED = {"type": "TaskStateEvent", "task_id": "a:0[1]", "task_name": "a", "state": "FAILED", "error": "E: x"}
STOPPED = {
    "type": "LifecycleEvent",
    "event": "ENGINE_STOPPED",
    "status": "Failed",
    "error": "a:0[1]: E: x",
    "by": "ada",
}


def shown(*messages: tuple[str, Any]) -> dict[str, Any]:
    view = View()
    for topic, data in messages:
        view.fold(topic, json.dumps(data).encode() if data else b"", now=0.0)
    rows = [row for row in run_rows(view, 0.0) if row["run_id"] == RUN]
    assert len(rows) == 1
    return rows[0]


def test_a_run_reads_the_same_in_whatever_order_its_end_arrives(seeded_random: random.Random) -> None:
    """The end, the row of recent runs and the last report before it come in any order; its events may come, too."""
    end = ended()
    messages = [
        runs(active()),
        runs(recent=(recent(end),)),
        ends(end),
        ends(end, ended("other", "bbbb0001", at=3)),
    ]
    want = {"status": "Failed", "error": "a:0[1]: E: x", "by": "ada", "counts": end["counts"], "known": 61,
            "finished": 5, "failed": ["a:0[1]"], "interrupted": [], "token": TOKEN, "open": False}  # fmt: skip
    for _ in range(100):
        told = seeded_random.sample(messages, len(messages))
        told += seeded_random.choice([[], [event(0, **STOPPED)], [event(0, **FAILED), event(1, **STOPPED)]])
        seeded_random.shuffle(told)
        row = shown(*told, messages[2])
        assert {key: row[key] for key in want} == want, told


@pytest.mark.parametrize(
    "later", [runs(active(token="bbbb0002")), ends(ended(token="bbbb0002", status="Succeeded", at=20))]
)
@pytest.mark.parametrize("first", [True, False])
def test_a_run_id_that_is_used_again_shows_the_later_run(later: tuple[str, Any], *, first: bool) -> None:
    """The failed one stays in the report of ends behind it; nothing of it is shown as the later run's."""
    _, body = later
    both = ends(*([*body["runs"]] if later[0].endswith("ended") else []), ended())
    row = shown(*((later, both) if first else (both, later)))
    assert (row["token"], row["failed"]) == ("bbbb0002", [] if row["status"] == "Running" else ["a:0[1]"])


def test_a_lost_run_shows_what_ran_when_the_link_broke_before_and_after_the_next_birth() -> None:
    """Before it, the last report is all that is known; the successor's report says the same, and an engine that lives corrects it."""
    view = View()

    def put(message: tuple[str, Any]) -> dict[str, Any]:
        view.fold(message[0], json.dumps(message[1]).encode(), now=0.0, retained=True)
        (row,) = run_rows(view, 0.0) or [{}]
        return {key: row.get(key) for key in ("status", "interrupted", "known", "counts", "finished", "open")}

    put((status_topic(SOURCE), {"status": "online", "session": "p1"}))
    alive = put(runs(active()))
    assert (alive["status"], alive["interrupted"]) == ("Running", [])
    lost = alive | {"status": "Lost", "interrupted": ["a:0[7]"]}
    assert put((status_topic(SOURCE), {"status": "offline", "session": "p1"})) == lost
    put((status_topic(SOURCE), {"status": "online", "session": "p2"}))
    counts, (found,) = alive["counts"], active()["running"]
    interrupted = [{key: found[key] for key in ("task_id", "task_name", "since")}]
    row = ended(status="Lost", counts=counts, interrupted=interrupted, failures=[], at=5)
    assert put(runs(recent=(recent(row),), presence="p2")) == lost
    assert put(ends(row)) == lost
    (run,) = view.runs.values()
    assert [each.since for each in interrupted_rows(view, run, 0.0)] == [ts(3)]
    assert put(runs(active(), presence="p2")) == alive


def test_the_first_twenty_failures_are_those_of_the_events_until_the_report_names_them() -> None:
    """A page that was open knows them; one that was opened later has those of the report."""
    told = [event(seq, **{**FAILED, "task_id": f"a:0[{seq}]"}) for seq in range(150)]
    assert shown(*told)["failed"] == [f"a:0[{seq}]" for seq in range(20)]
    short = ended(failures_more=149)
    assert shown(*told, ends(short))["failed"] == [f"a:0[{seq}]" for seq in range(20)]
    assert shown(ends(short))["failed"] == ["a:0[1]"]


def test_a_report_of_ends_that_is_cleared_leaves_what_is_known_of_the_runs() -> None:
    """``cascade prune`` clears what a dead engine has left."""
    row = shown(ends(ended()), runs(), (state_topic(SOURCE, "ended"), None))
    assert (row["status"], row["failed"]) == ("Failed", ["a:0[1]"])
