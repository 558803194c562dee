"""What a reader makes of the wire: of a recorded run, of duplicates and holes, and of any bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cascade.wire
from cascade.interfaces.subjects import subject_of
from cascade.interfaces.topics import ack_topic, constraint_topic, state_topic, status_topic, telemetry_topic
from cascade.wire import (
    EventMessage,
    Received,
    Register,
    RunView,
    View,
    constraint_rows,
    engine_rows,
    parse_event,
    parse_register,
    run_rows,
)
from cascade.wire.run_view import Room

INTERFACES = Path(__file__).parents[3] / "cascade-interfaces"
RECORDED = [
    json.loads(line) for line in (INTERFACES / "tests/recorded/run.jsonl").read_text("utf-8").splitlines()
]
SOURCE = "press-line-3"
PAUSE = constraint_topic(f"source:{SOURCE}", "pause")


def fold(messages: Iterable[dict[str, Any]], view: View | None = None) -> View:
    view = view or View()
    for message in messages:
        view.fold(message["topic"], message["payload"].encode(), now=0.0, retained=message["retain"])
    return view


def event(
    seq: int | None = 0,
    *,
    token: str = "c41e07d2",
    attempt: int = 1,
    kind: str = "events",
    source: str = "line",
    event_id: str | None = None,
    **body: Any,
) -> EventMessage:
    names = "-".join(["r", token, *([] if kind == "events" else [kind]), str(seq)])
    data = {
        "run_id": "r",
        "source": source,
        "token": token,
        "attempt": attempt,
        "event_id": names if event_id is None else event_id,
        "ts": "2026-11-21T03:00:20+00:00",
        "body": {"type": "TaskStateEvent"} | body,
    }
    data |= {} if seq is None else {"seq": seq}
    found = parse_event(telemetry_topic("o", "p", "r", kind), json.dumps(data).encode())
    assert found is not None
    return found


def task(seq: int, task_id: str, state: str, **more: Any) -> EventMessage:
    return event(seq, task_id=task_id, task_name=task_id[0], state=state, **more)


def lifecycle(seq: int, which: str, **more: Any) -> EventMessage:
    return event(seq, type="LifecycleEvent", event=which, **more)


def put(view: View, topic: str, data: object, *, now: float = 0.0, retained: bool = False) -> Any:
    return view.fold(topic, json.dumps(data).encode(), now=now, retained=retained)


def report(view: View, source: str = "line", **more: Any) -> None:
    """Report constraints of a source, on the reader's clock at 0."""
    put(view, state_topic(source, "constraints"), {"source": source, "sync": "synced"} | more)


def runs_report(view: View, *run_ids: str, session: str = "s", **more: Any) -> None:
    rows = [{"run_id": run_id, "target": "all", "counts": {"RUNNING": 2}} | more for run_id in run_ids]
    put(view, state_topic("line", "runs"), {"session": session, "runs": rows})


def named(topic: str, *, project: str, run_id: str, payload: int = 0) -> EventMessage | None:
    """Read an event whose envelope has these names."""
    data = {"run_id": run_id, "org_id": "local", "project_id": project, "body": {"type": "X" * payload}}
    return parse_event(topic, json.dumps(data).encode())


@pytest.mark.parametrize(
    ("project", "run_id"), [("etl", "2026.11.23"), ("etl.v2", "r"), ("grün", "night 7/8"), ("a=2Eb", "50%")]
)
def test_an_event_of_an_engine_on_nats_has_its_names_for_an_mqtt_client_too(
    project: str, run_id: str
) -> None:
    """nats-server shows subjects as topics, with an escape for each byte that a subject does not have."""
    topic = telemetry_topic("local", project, run_id)
    shown = subject_of(topic).replace(".", "/")
    assert shown != topic
    for each in (topic, shown):
        found = named(each, project=project, run_id=run_id)
        assert found is not None
        names = (found.org_id, found.project_id, found.run_id, found.kind)
        assert names == ("local", project, run_id, "events")


def test_a_topic_like_a_subject_means_itself_unless_the_message_names_the_same() -> None:
    """A name may have an equals sign of its own; a message cannot move to another project, or past the bound of a kind."""
    topic = "cascade/telemetry/local/etl=2Ev2/r/events"
    found = named(topic, project="other", run_id="r")
    assert found is not None
    assert found.project_id == "etl=2Ev2"
    assert named("cascade/telemetry/local/etl/n=2E3/events", project="other", run_id="n.3") is None
    assert named("cascade/telemetry/local/etl/n=FF/events", project="etl", run_id="n\xff") is None
    long = named("cascade/telemetry/local/etl=2Ev2/r/=64ata", project="etl.v2", run_id="r", payload=70_000)
    assert long is not None
    assert (long.kind, long.project_id) == ("=64ata", "etl=2Ev2")


# A recorded run


def test_a_recorded_run_is_shown_as_it_went() -> None:
    """An engine with a name: a map of 12 with one failure, a retry, a pause and its clearing."""
    view = fold(RECORDED)
    ((source, run_id),) = view.runs
    run = view.runs[source, run_id]
    assert (source, run.status, run.missing, run.duplicates) == (SOURCE, "Failed", 0, 0)
    assert run.counts == {"COMPLETED": 13, "FAILED": 1, "SKIPPED": 2}
    assert [(each.name, each.error) for each in run.failures] == [
        ("audit", "ValueError: no such file:  [31m7")
    ]
    assert [(each.task_id, each.parent, each.item) for each in run.failures] == [("audit:0[7]", "audit:0", 7)]
    assert run.tasks == {}
    (engine,) = engine_rows(view, 0.0)
    assert (engine["status"], engine["sync"], engine["runs"]) == ("ended", "stopped", 0)
    (row,) = run_rows(view, 0.0)
    assert (row["status"], row["known"], row["open"]) == ("Failed", 16, False)
    assert view.store
    json.dumps([engine, row, *constraint_rows(view, 0.0)], allow_nan=False)


@given(st.randoms(use_true_random=False), st.integers(0, len(RECORDED)))
def test_any_order_and_any_loss_leave_a_view_that_can_be_shown(random: Any, size: int) -> None:
    """Whatever arrives, in whatever order: nothing is raised, and no count is negative."""
    messages = [*random.sample(RECORDED, size), *random.choices(RECORDED, k=10)]
    view = fold(messages)
    assert view.not_understood == sum("/sync/" in each["topic"] for each in messages)
    for row in run_rows(view, 0.0):
        assert all(count > 0 for count in row["counts"].values())
    json.dumps([*engine_rows(view, 0.0), *constraint_rows(view, 0.0)], allow_nan=False)


# Any bytes

_ODD = "constraints/@store", "constraints/global", "status/%ff", "state//runs", "status/"
_TOPICS = st.one_of(
    st.sampled_from(("events", "progress", "logs", "data")).map(partial(telemetry_topic, "o", "p", "r")),
    st.sampled_from(("constraints", "runs", "graph", "summary", "host")).map(partial(state_topic, "line")),
    st.sampled_from((ack_topic("line"), status_topic("line"), PAUSE, "other", "")),
    (st.sampled_from(_ODD) | st.text(max_size=20)).map("cascade/".__add__),
)
_READ = {
    key for name in dir(cascade.wire) for key in getattr(getattr(cascade.wire, name), "__struct_fields__", ())
}
_KEYS = st.sampled_from(sorted(_READ)) | st.text(max_size=3)
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(
        ["r", "line", "1.0", "TaskStateEvent", "LifecycleEvent", "ENGINE_STARTED", "RUNNING", "online"]
    )
    | st.sampled_from(["0001-01-01", "9999-12-31T23:59:59.9999999", 10**400, "\ud800", "x" * 5_000])
)
_JSON = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=8),
    max_leaves=20,
)
_OBJECTS = st.dictionaries(_KEYS, _JSON, max_size=10).map(
    lambda data: json.dumps({"run_id": "r", "body": {}} | data).encode()
)
_BYTES = (
    st.binary(max_size=50)
    | _OBJECTS
    | st.sampled_from(
        [b"[" * 100_000, b'{"seq": ' + b"9" * 5_000 + b"}", b"{" * 2_000_000, b'{"a": 1e999}', b"NaN"]
    )
)


@pytest.mark.full
@pytest.mark.process
@given(st.lists(st.tuples(_TOPICS, _BYTES, st.booleans()), max_size=12))
def test_any_bytes_on_any_topic_are_taken_or_left(messages: list[tuple[str, bytes, bool]]) -> None:
    """Nothing is raised, and the rows are strict JSON."""
    view = View()
    for topic, payload, retained in messages:
        view.fold(topic, payload, now=0.0, retained=retained)
        rows = [*engine_rows(view, 0.0), *run_rows(view, 0.0), *constraint_rows(view, 0.0)]
        json.dumps(rows, allow_nan=False)
    for run in view.runs.values():
        assert all(count >= 0 for count in run.counts.values())


@pytest.mark.parametrize(
    "data",
    [
        {"run_id": "", "body": {}},
        {"run_id": 1, "body": {}},
        {"run_id": "other", "body": {}},
        {"run_id": "r", "body": []},
        {"run_id": "r"},
        {"run_id": "r", "body": {}, "seq": "0"},
        {"run_id": "r", "body": {}, "seq": -1},
        {"run_id": "r", "body": {}, "seq": True},
        {"run_id": "r", "body": {}, "v": "2.0"},
        {"run_id": "r", "body": {}, "v": 1.0},
    ],
)
def test_what_is_not_an_event_is_not_understood(data: dict[str, Any]) -> None:
    """Also an event of another run than its topic's: access rules guard topics."""
    assert parse_event(telemetry_topic("o", "p", "r"), json.dumps(data).encode()) is None


def test_a_lone_surrogate_is_replaced() -> None:
    """A file of events and an acknowledgement's topic could not hold it."""
    data = {"run_id": "r", "body": {}, "source": "a\ud800b", "event_id": "\udfff", "token": "\u2603"}
    found = parse_event(telemetry_topic("o", "p", "r"), json.dumps(data).encode())
    assert found is not None
    assert (found.source, found.event_id, found.token) == ("a?b", "?", "\u2603")


def test_an_event_needs_only_a_run_and_a_body() -> None:
    """As readers of version 1.0 promise; later versions 1.* and unknown types and keys are read too."""
    plain = parse_event(telemetry_topic("o", "p", "r"), b'{"run_id": "r", "body": {"type": "NewEvent"}}')
    assert plain == EventMessage("r", {"type": "NewEvent"}, org_id="o", project_id="p")
    later = parse_event(telemetry_topic("o", "p", "r"), b'{"v": "1.7", "run_id": "r", "body": {}, "x": 1}')
    assert later is not None
    assert later.type == ""


# Duplicates and holes


@given(st.lists(st.integers(0, 40), max_size=80))
def test_holes_and_duplicates_are_those_of_a_set(numbers: list[int]) -> None:
    """In any order: the numbers below the highest that did not come, and those that came again."""
    received = Received()
    seen: set[int] = set()
    for number in numbers:
        assert received.add(event(number)) == (number not in seen)
        seen.add(number)
        missing = set(range(max(seen))) - seen
        assert received.missing == len(missing)
        assert {n for first, last in received.holes() for n in range(first, last + 1)} == missing
    assert (received.messages, received.duplicates) == (len(numbers), len(numbers) - len(seen))


def test_holes_and_ids_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest hole can no longer be filled, but stays counted; the oldest id is forgotten."""
    monkeypatch.setattr("cascade.wire.received.MAX_HOLES", 2)
    monkeypatch.setattr("cascade.wire.received.MAX_IDS", 2)
    received = Received()
    for number in (1, 3, 5, 2**63 - 1):
        received.add(event(number))
    assert len(received.holes()) == 2
    assert received.missing == 3 + 2**63 - 1 - 6
    assert not received.add(event(0))
    for name in "abc":
        received.add(event(None, event_id=name))
    assert len(received._ids) == 2


# Runs


def test_a_run_that_its_engine_no_longer_lists_has_ended() -> None:
    """Also when its last event is lost; that event says how, if it comes. Other sessions list other runs."""
    view = View()
    runs_report(view, "r", "q")
    runs_report(view, "z", session="other")
    assert {run.status for run in view.runs.values()} == {"Running"}
    runs_report(view, "q")
    assert {key[1]: run.status for key, run in view.runs.items()} == {
        "r": "Ended",
        "q": "Running",
        "z": "Running",
    }
    run = view.runs["line", "r"]
    run.fold(task(0, "a-1", "COMPLETED"))
    run.fold(lifecycle(1, "ENGINE_STOPPED", status="Succeeded"))
    assert (run.status, run._counts) == ("Succeeded", {"COMPLETED": 1})
    runs_report(view, "r", "q")
    assert run.status == "Succeeded"


def test_memory_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks, series, runs, engines, registers and sessions beyond the limits are dropped or left out."""
    for name in ("MAX_RUNS", "MAX_ENGINES", "MAX_REGISTERS"):
        monkeypatch.setattr(f"cascade.wire.view.{name}", 3)
    monkeypatch.setattr("cascade.wire.run_view.MAX_SERIES", 3)
    monkeypatch.setattr("cascade.wire.view.MAX_SESSIONS", 3)
    view = View()
    for number in range(10):
        name = f"n{number}"
        put(view, constraint_topic(f"run:{name}", "pause"), {"type": "pause"})
        put(view, status_topic(name), {"status": "online"})
        body = {"type": "TaskStateEvent", "task_id": "t", "state": "RUNNING"}
        put(view, telemetry_topic("o", "p", name), {"run_id": name, "source": name, "seq": 0, "body": body})
        runs_report(view, session=name)
        view.run("line", "r").fold(event(0, token=name))
    assert (len(view.registers), view.left_out, len(view.engines)) == (3, 7, 3)
    assert len(view.runs) == 3
    assert len(view.engines["line"].listed) == 3
    assert len(view.run("line", "r").series()) == 3
    assert view._room.left == 200_000 - 2


@pytest.mark.parametrize("order", ["before", "after"])
def test_invented_sources_and_runs_push_no_engine_out(order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 52: an engine may put any source and run into events on its own topics: what has reported is never displaced by that."""
    for name in ("MAX_RUNS", "MAX_ENGINES"):
        monkeypatch.setattr(f"cascade.wire.view.{name}", 5)
    view = View()

    def flood(first: int) -> None:
        for number in range(first, first + 20):
            name = f"n{number}"
            put(
                view,
                telemetry_topic("o", "evil", name),
                {"run_id": name, "source": name, "seq": 0, "body": {"type": "x"}},
            )

    if order == "before":
        flood(0)
    put(view, status_topic("lost"), {"status": "offline", "session": "s"})
    put(view, state_topic("lost", "runs"), {"runs": [], "recent": [{"run_id": "night", "status": "Failed"}]})
    flood(100)
    assert (len(view.engines), len(view.runs)) == (5, 5)
    assert view.engines["lost"].status(0.0) == "lost"
    assert view.runs["lost", "night"].status == "Failed"
    assert list(view.engines)[1:] == ["n116", "n117", "n118", "n119"]
    for number in range(5):
        put(view, state_topic(f"e{number}", "runs"), {"runs": [{"run_id": "r"}]})
    assert list(view.engines) == [f"e{number}" for number in range(5)]
    assert list(view.runs) == [(f"e{number}", "r") for number in range(5)]


def test_tasks_beyond_the_room_are_counted_when_they_end() -> None:
    """And the counts of the engine's report stand for all."""
    run = RunView("line", "r", Room(1))
    for seq, (task_id, state) in enumerate(
        [("a-1", "RUNNING"), ("a-2", "RUNNING"), ("a-1", "COMPLETED"), ("a-2", "COMPLETED")]
    ):
        run.fold(task(seq, task_id, state))
    assert run.counts == {"COMPLETED": 2}


# Engines


def heard(view: View, seq: int, *, now: float, source: str = "line", state: str = "RUNNING") -> None:
    """Fold an event of a task, as a broker delivers it at ``now``."""
    body = {"type": "TaskStateEvent", "task_id": f"a:{seq}", "task_name": "a", "state": state}
    data = {"run_id": "r", "source": source, "token": "t", "seq": seq, "body": body}
    put(view, telemetry_topic("o", "p", "r"), data, now=now)


def test_an_engine_without_state_is_known_as_one_after_twelve_seconds_of_events_alone() -> None:
    """Before, its first report may be on the way; a birth, a will or any report of it ends that, an acknowledgement does not."""
    view = View()
    for source in ("line", "zone", "born", "reported", "dead"):
        heard(view, 0, now=5.0, source=source)
        heard(view, 1, now=16.0, source=source)
    put(view, ack_topic("line"), {"v": "1.0", "by": "c", "upto": {}}, retained=True)
    put(view, status_topic("born"), {"status": "online", "session": "1"}, retained=True)
    put(view, state_topic("reported", "summary"), {"up": 1}, retained=True)
    put(view, status_topic("dead"), {"status": "offline", "session": "1"}, retained=True)
    put(view, state_topic("silent", "runs"), {"runs": []}, retained=True)
    assert view.without_state(17.0) == []
    assert [engine.source for engine in view.without_state(17.1)] == ["line", "zone"]


# Registers


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (b"[]", "it is not a JSON object"),
        (b"\xff", "it is not a JSON object"),
        (b'{"params": {}}', "it names no type"),
        (b'{"type": "cancel"}', "it names the type 'cancel', its topic 'pause'"),
        (b'{"type": "pause", "scope": "global"}', "it names another scope than its topic"),
    ],
)
def test_a_register_that_cannot_be_obeyed_says_why(payload: bytes, problem: str) -> None:
    """It is shown, for the broker retains it."""
    register = parse_register(PAUSE, payload)
    assert isinstance(register, Register)
    assert (register.problem, register.type, register.scope) == (problem, "pause", f"source:{SOURCE}")


def test_counts_are_the_engines_where_events_are_missing() -> None:
    """A slow reader loses events of a burst; the report knows better, until every event has come."""
    view = View()
    view.run("line", "r").fold(task(1, "a-1", "RUNNING"))
    run = view.runs["line", "r"]
    assert (run.counts, run.missing, run.partial) == ({"RUNNING": 1}, 1, True)
    runs_report(view, "r", known=7, open=True, attempt=1)
    assert (run.counts, run.partial) == ({"RUNNING": 2}, False)
    (row,) = run_rows(view, 0.0)
    assert (row["target"], row["known"], row["open"], row["status"]) == ("all", 7, True, "Running")
    run.fold(lifecycle(0, "ENGINE_STARTED"))
    assert run.counts == {"RUNNING": 1}
