"""What a reader makes of each key of each message: whatever a writer says arrives, under its own name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from cascade.interfaces.topics import ack_topic, constraint_topic, state_topic, status_topic, telemetry_topic
from cascade.interfaces.wire import read

TS = "2026-11-21T03:00:20+00:00"
LATER = "2026-11-21T03:00:28.500000+00:00"
SECONDS = 1795230020.0
EVENTS = telemetry_topic("o", "p", "r")


def parsed(topic: str, data: object) -> Any:
    return read.parse(topic, json.dumps(data).encode())


def state(kind: str, data: Mapping[str, Any]) -> Any:
    return parsed(state_topic("line", kind), data)


PRESENCE = {
    "status": "offline",
    "session": "s1",
    "reason": "ended",
    "host": "vm",
    "pid": 7,
    "version": "1.2",
    "ts": TS,
}
EVENT = {
    "v": "1.3",
    "run_id": "r",
    "org_id": "o",
    "project_id": "p",
    "source": "line",
    "seq": 4,
    "token": "c41e07d2",
    "attempt": 3,
    "event_id": "r-c41e07d2-4",
    "ts": TS,
    "body": {"type": "LifecycleEvent"},
}
REGISTER = {"id": "x", "type": "pause", "params": {"a": 1}, "expires_at": 9.5, "by": "ada"}
CONSTRAINTS = {
    "session": "s",
    "sync": "synced",
    "applied": {"t": {"status": "rejected", "reason": "no", "id": "i"}, "bad": 1},
    "effective": [{"type": "pause"}, 3],
    "in_scope_running": 2,
    "more": 5,
    "ts": TS,
    "presence": "b",
}
RECENT = {
    "run_id": "q",
    "target": "all",
    "status": "Failed",
    "error": "E: x",
    "started": TS,
    "ended": LATER,
    "duration_ms": 8500.0,
    "counts": {"FAILED": 1},
    "attempt": 2,
    "name": "nightly",
    "tags": {"line": 3},
}
GRAPH = {
    "session": "s",
    "more": 4,
    "ts": TS,
    "runs": [{"run_id": "r", "rev": 2, "folded": True, "nodes": [], "edges": [], "more": 3}, {"rev": 1}],
}
SUMMARY = {
    "up": 1,
    "runs": 1,
    "running": 2,
    "waiting": 3,
    "completed": 4,
    "failed": 5,
    "paused": True,
    "last_status": "Failed",
    "ts": TS,
}


def test_every_key_of_a_message_is_read() -> None:
    """Presence, events, registers and each report, with all that they may have."""
    assert parsed(status_topic("line"), PRESENCE) == read.Presence(
        "line", False, session="s1", reason="ended", host="vm", pid=7, version="1.2", seconds=SECONDS
    )
    assert parsed(EVENTS, EVENT) == read.EventMessage(
        "r",
        {"type": "LifecycleEvent"},
        kind="events",
        org_id="o",
        project_id="p",
        source="line",
        seq=4,
        token="c41e07d2",
        attempt=3,
        event_id="r-c41e07d2-4",
        seconds=SECONDS,
    )
    topic = constraint_topic("global", "pause")
    assert parsed(topic, REGISTER) == read.Register(
        topic, "global", "pause", id="x", params={"a": 1}, expires_at=9.5, by="ada"
    )
    assert state("constraints", CONSTRAINTS) == read.ConstraintsReport(
        "line",
        "s",
        "synced",
        applied={"t": read.Compliance("rejected", "no", "i")},
        effective=({"type": "pause"},),
        in_scope_running=2,
        more=5,
        seconds=SECONDS,
        presence="b",
    )
    assert state("summary", SUMMARY) == read.Summary(
        "line", True, 1, 2, 3, 4, 5, paused=True, last_status="Failed", seconds=SECONDS
    )
    assert state("graph", GRAPH) == read.GraphReport(
        "line", "s", (read.RunGraph("r", 2, True, (), (), more=3),), more=4, seconds=SECONDS
    )


def test_every_key_of_a_run_that_has_ended_is_read() -> None:
    """And a row without a ``run_id`` is left out, among active runs too; what the lists leave out is counted."""
    found = state(
        "runs",
        {
            "session": "s",
            "presence": "b",
            "org_id": "o",
            "project_id": "p",
            "paused": True,
            "runs": [{"target": "all"}],
            "more": 6,
            "recent": [RECENT, {"status": "Failed"}],
            "recent_more": 7,
            "ts": TS,
        },
    )
    row = read.RecentRow(
        "q",
        "all",
        "Failed",
        error="E: x",
        started=SECONDS,
        ended=SECONDS + 8.5,
        duration_ms=8500.0,
        counts={"FAILED": 1},
        attempt=2,
        name="nightly",
        tags={"line": 3},
    )
    assert found == read.RunsReport(
        "line",
        "s",
        (),
        more=6,
        seconds=SECONDS,
        presence="b",
        org_id="o",
        project_id="p",
        paused=True,
        recent=(row,),
        recent_more=7,
    )


def test_a_host_shows_its_values_and_not_the_head_of_the_message() -> None:
    """Version, source, sessions and time say nothing of the host; what is not a container stays as it is."""
    head = {"v": "1.0", "source": "line", "session": "s", "presence": "b", "ts": TS}
    values: dict[str, Any] = {"os": "Linux", "cpus": 2, "load1": 0.5, "virtual": True, "cgroup": None}
    found = state(
        "host", head | values | {"labels": {"hall": "2"}, "link": {"sent": 1}, "memory": {"total": 3}}
    )
    assert found == read.HostReport(
        "line", values, memory={"total": 3}, link={"sent": 1}, labels={"hall": "2"}, seconds=SECONDS
    )


def test_lines_and_data_have_every_key_of_their_messages() -> None:
    """Each is read only from its own kind of topic, and only if it names its type."""
    log = {
        "level": "INFO",
        "logger": "app",
        "message": "hello",
        "task_id": "a:0",
        "task_name": "a",
        "skipped": 3,
    }
    data = {"name": "t", "data": [1], "task_id": "a:0", "task_name": "a"}
    found: dict[tuple[str, str], Any] = {}
    for kind in ("events", "logs", "data"):
        for type_ in ("LogEvent", "DataEvent"):
            body = {"type": type_} | log | data
            found[kind, type_] = parsed(telemetry_topic("o", "p", "r", kind), EVENT | {"body": body})
    assert {key for key, each in found.items() if read.log_line(each)} == {("logs", "LogEvent")}
    assert {key for key, each in found.items() if read.data_item(each)} == {("data", "DataEvent")}
    assert read.log_line(found["logs", "LogEvent"]) == read.LogLine(
        "line",
        "r",
        "INFO",
        "app",
        "hello",
        task_id="a:0",
        task_name="a",
        skipped=3,
        seconds=SECONDS,
    )
    assert read.data_item(found["data", "DataEvent"]) == read.DataItem(
        "line", "r", "t", [1], task_id="a:0", task_name="a", seconds=SECONDS
    )


def test_a_task_stands_with_every_key_of_its_event() -> None:
    """A page shows them; the time is that of its source."""
    body = {
        "type": "TaskStateEvent",
        "task_id": "a:0",
        "task_name": "a",
        "state": "RETRYING",
        "duration_ms": 12.5,
        "error": "E: x",
        "reason": "again",
        "attempt": 2,
        "parent": "m:0",
        "item": 3,
        "node": "a-2",
    }
    view = read.View()
    view.fold(EVENTS, json.dumps(EVENT | {"body": body}).encode(), now=0.0)
    assert view.runs["line", "r"].tasks == {
        "a:0": read.TaskView(
            "a:0",
            "a",
            "RETRYING",
            since=SECONDS,
            duration_ms=12.5,
            error="E: x",
            reason="again",
            attempt=2,
            parent="m:0",
            item=3,
            node="a-2",
        )
    }


@pytest.mark.parametrize(
    ("topic", "data", "missing"),
    [
        (status_topic("line"), {"status": "online"}, read.Presence("line", True)),
        (EVENTS, {"run_id": "r", "body": {}}, read.EventMessage("r", {}, org_id="o", project_id="p")),
        (
            state_topic("line", "constraints"),
            {"session": 1, "in_scope_running": -1, "more": "x"},
            read.ConstraintsReport("line", "", "", {}, (), 0),
        ),
        (state_topic("line", "runs"), {"runs": {}, "recent": 0}, read.RunsReport("line", "", ())),
        (state_topic("line", "graph"), {"runs": None, "more": None}, read.GraphReport("line", "", ())),
        (state_topic("line", "summary"), {"paused": 1}, read.Summary("line", False)),
        (state_topic("line", "host"), {"memory": []}, read.HostReport("line", {})),
        (ack_topic("line"), {"upto": []}, read.Ack("line", "", {}, {})),
    ],
)
def test_what_a_message_does_not_say_stays_open(topic: str, data: object, missing: object) -> None:
    """As does what it says in a wrong type: the rest of the message is read."""
    assert parsed(topic, data) == missing


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({}, read.RunRow("r", "", None, {})),
        ({"known": 0, "open": False, "eta_s": 0}, read.RunRow("r", "", None, {}, known=0, open=False, eta_s=0)),
        ({"known": True, "open": 1, "eta_s": True}, read.RunRow("r", "", None, {})),
        ({"attempt": 0, "lost": -1, "graph": []}, read.RunRow("r", "", None, {})),
        ({"counts": {"A": 0, "B": -1, "C": 1.5, "D": True}}, read.RunRow("r", "", None, {"A": 0})),
        ({"tags": {"a": "x", "b": 1.5, "c": False, "d": None, "e": []}}, read.RunRow("r", "", None, {}, tags={"a": "x", "b": 1.5, "c": False})),
        ({"tasks": {"a": {"counts": {"RUNNING": 2, "FAILED": 3}}, "b": 1}}, read.RunRow("r", "", None, {}, tasks=(read.TaskTotals("a", 5, {"RUNNING": 2, "FAILED": 3}),))),
        ({"tasks": {"a": {"known": 0, "counts": {"RUNNING": 2}}}}, read.RunRow("r", "", None, {}, tasks=(read.TaskTotals("a", 0, {"RUNNING": 2}),))),
        ({"running": [{"task_id": "a"}, 1]}, read.RunRow("r", "", None, {}, running=(read.RunningRow("a", "", None),))),
        ({"waiting": [{"why": "slot"}, "x"]}, read.RunRow("r", "", None, {}, waiting=(read.WaitingRow("slot", 0),))),
    ],
)  # fmt: skip
def test_a_run_row_is_read_key_by_key(row: dict[str, Any], found: read.RunRow) -> None:
    """A key of a wrong type is missing, 0 and false are said; the calls that an engine knows follow from its counts."""
    assert state("runs", {"runs": [{"run_id": "r"} | row]}).runs == (found,)


def test_a_node_stands_for_one_call_unless_it_says_how_many() -> None:
    """Also for none, as a map of an empty list does."""
    nodes = [{"id": "a", "name": "a"}, {"id": "b", "name": "b", "known": 0}]
    edges = [[1, 1], [0, 1, 5], [0, 1.0], [0, 1, "condition", "more"]]
    (graph,) = state("graph", {"runs": [{"run_id": "r", "nodes": nodes, "edges": edges}]}).runs
    assert [node.known for node in graph.nodes] == [1, 0]
    assert graph.edges == (read.GraphEdge(1, 1), read.GraphEdge(0, 1), read.GraphEdge(0, 1, "condition"))


@pytest.mark.parametrize(
    ("missing", "holes"),
    [
        ([[0, 0]], ((0, 0),)),
        ([[3, 4], [6, 6]], ((3, 4), (6, 6))),
        ([[4, 3], [1], [1, 2, 3], [-1, 2], [True, 2], "12", [1.0, 2]], None),
        ({"3": 4}, None),
    ],
)
def test_an_acknowledgement_shows_the_holes_that_make_sense(
    missing: object, holes: tuple[tuple[int, int], ...] | None
) -> None:
    """Each has a first and a last number; a run without any stands in ``upto`` alone."""
    found = parsed(
        ack_topic("line"),
        {"by": "c", "upto": {"r-t": 9, "q-t": 0}, "missing": {"r-t": missing, "x": [[1, 2]]}},
    )
    assert found == read.Ack("line", "c", {"r-t": 9, "q-t": 0}, {"r-t": holes} if holes else {})


@pytest.mark.parametrize(
    ("up", "expected"), [(1, True), (0, False), (True, True), (False, False), ("1", False), (None, False)]
)
def test_a_summary_is_up_as_a_number_or_a_boolean(up: object, expected: bool) -> None:
    """Version 1.0 sends a number; a text says neither."""
    assert state("summary", {"up": up}).up is expected


@pytest.mark.parametrize("topic", [state_topic("line", "runs"), ack_topic("line"), EVENTS])
def test_a_message_of_version_2_is_not_understood(topic: str) -> None:
    """Any minor version of 1 is read; a version that is not a text is not."""
    data = {"run_id": "r", "body": {}, "by": "c"}
    assert parsed(topic, data | {"v": "1.99"}) is not None
    for version in ("2.0", "10.0", "1", 1.0, None):
        assert parsed(topic, data | {"v": version}) is None


@pytest.mark.parametrize("length", [100, 2_000])
def test_a_topic_of_more_than_1000_characters_is_not_understood(length: int) -> None:
    """Its name would stand in the memory of every reader; so would a long name of a run."""
    name = "x" * length
    topics = [
        status_topic(name),
        state_topic(name, "runs"),
        ack_topic(name),
        constraint_topic(f"run:{name}", "pause"),
    ]
    messages = [parsed(topic, {"status": "online", "type": "pause", "by": "c"}) for topic in topics]
    messages.append(parsed(telemetry_topic("o", "p", name), {"run_id": name, "body": {}}))
    assert [message is not None for message in messages] == [length <= 1_000] * 5


@pytest.mark.parametrize(
    ("topic", "cleared"),
    [
        (status_topic("line"), True),
        (state_topic("line", "host"), True),
        (ack_topic("line"), True),
        (constraint_topic("global", "pause"), True),
        (state_topic("line", "unknown"), False),
        (state_topic("", "host"), False),
        (EVENTS, False),
    ],
)
def test_an_empty_message_clears_what_is_retained(topic: str, cleared: bool) -> None:
    """Telemetry is not retained, and of a topic that is not read nothing can be cleared."""
    assert read.parse(topic, b"") == (read.Cleared(topic) if cleared else None)


@pytest.mark.parametrize(
    ("status", "understood"),
    [("online", True), ("offline", True), ("away", False), (1, False), (None, False)],
)
def test_a_presence_is_online_or_offline(status: object, understood: bool) -> None:
    """Another status is not a presence, and a message without one neither."""
    found = parsed(status_topic("line"), {"status": status, "session": "s"})
    assert (found is not None) is understood


def test_the_identity_of_the_store_is_read_from_its_topic_alone() -> None:
    """It is not a register, and without a text there is none."""
    topic = "cascade/constraints/@store"
    view = read.View()
    assert view.fold(topic, b'{"store": "9a"}', now=0.0) == read.Store("9a")
    assert view.store == "9a"
    assert parsed(topic, {"store": 1}) == read.Cleared(topic)
    assert read.parse(topic, b"[]") is None
    assert view.registers == {}
    assert parsed("cascade/constraints/global/@store", {"store": "9a"}).problem == "it names no type"


def test_an_event_of_more_than_a_mebibyte_is_not_read() -> None:
    """No engine sends one; a reader would hold all of it in memory."""
    for size, read_ in ((900_000, True), (1_100_000, False)):
        assert (parsed(EVENTS, {"run_id": "r", "body": {"pad": "x" * size}}) is not None) is read_


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("1e999", None),
        ("-1e999", None),
        ("NaN", None),
        ("1e308", 1e308),
        ("-2.5", -2.5),
        ("0", 0),
        ("true", None),
        ('"1"', None),
        (f"1{'0' * 400}", None),
    ],
)
def test_a_number_is_finite_and_no_boolean(value: str, number: float | None) -> None:
    """The rest of the message is read."""
    payload = f'{{"runs": [{{"run_id": "r", "eta_s": {value}}}]}}'.encode()
    found = read.parse(state_topic("line", "runs"), payload)
    assert isinstance(found, read.RunsReport)
    assert [row.eta_s for row in found.runs] == [number]


@pytest.mark.parametrize(
    ("ts", "seconds"),
    [
        ("2026-11-21T03:00:20+00:00", SECONDS),
        ("2026-11-21T04:00:20+01:00", SECONDS),
        ("2026-11-21T03:00:20Z", SECONDS),
        ("yesterday", None),
        ("", None),
        (SECONDS, None),
        (None, None),
    ],
)
def test_a_time_is_read_in_any_zone(ts: object, seconds: float | None) -> None:
    """A time that cannot be read is missing."""
    assert state("summary", {"up": 1, "ts": ts}).seconds == seconds
