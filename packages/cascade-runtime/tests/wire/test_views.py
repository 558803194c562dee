"""What a view keeps and what it lets go when engines, runs and registers come again, late, or are cleared."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cascade.interfaces.topics import ack_topic, constraint_topic, state_topic, status_topic, telemetry_topic
from cascade.wire import EngineView, Register, View, constraint_rows, engine_rows, parse, run_rows

PAUSE = constraint_topic("global", "pause")


def put(view: View, topic: str, data: object, *, now: float = 0.0, retained: bool = False) -> Any:
    return view.fold(topic, json.dumps(data).encode() if data else b"", now=now, retained=retained)


def ts(second: int) -> str:
    return f"2026-11-21T03:00:{second:02}+00:00"


START = 1795230000.0
"""Seconds since the epoch at ``ts(0)``."""


def event(
    view: View, seq: int, kind: str, token: str = "t", attempt: int = 1, project: str = "p", **body: Any
) -> None:
    data = {"run_id": "r", "source": "line", "token": token, "attempt": attempt, "seq": seq, "ts": ts(seq)}
    data |= {"event_id": f"r-{token}-{seq}", "body": {"type": kind} | body}
    put(view, telemetry_topic("o", project, "r"), data)


def started(view: View, token: str = "t", **more: Any) -> None:
    event(view, 0, "LifecycleEvent", token, event="ENGINE_STARTED", **more)


def stopped(view: View, seq: int, token: str = "t", **more: Any) -> None:
    event(view, seq, "LifecycleEvent", token, event="ENGINE_STOPPED", **more)


def task(view: View, seq: int, state: str, token: str = "t", attempt: int = 1, **more: Any) -> None:
    event(view, seq, "TaskStateEvent", token, attempt, task_id="a:0", task_name="a", state=state, **more)


def runs(view: View, *rows: dict[str, Any], session: str = "s", **more: Any) -> None:
    listed = [
        {"run_id": "r", "target": "all", "started": ts(1), "counts": {"RUNNING": 2}} | row for row in rows
    ]
    put(view, state_topic("line", "runs"), {"session": session, "runs": listed} | more)


def recent(**more: Any) -> dict[str, Any]:
    row = {
        "run_id": "r",
        "target": "all",
        "status": "Failed",
        "error": "E: x",
        "started": ts(1),
        "ended": ts(9),
    }
    return row | {"counts": {"FAILED": 1}} | more


def constraints(view: View, source: str = "line", **more: Any) -> EngineView:
    put(view, state_topic(source, "constraints"), {"session": "s", "sync": "synced"} | more)
    return view.engines[source]


# Runs

PLACE = {"org_id": "o", "project_id": "p"}


@pytest.mark.parametrize("report_first", [True, False])
def test_events_on_the_topic_of_another_project_are_not_of_the_engine(report_first: bool) -> None:
    """Row 52: another project's engine publishes the end of this run, its failures, lines and values on its own topic.

    Nothing of that is shown once the engine's report names its project, whether events or the report came first.
    """
    view = View()
    if report_first:
        runs(view, {}, **PLACE)
    for each in (
        {"event": "ENGINE_STARTED"},
        {"event": "ENGINE_STOPPED", "status": "Failed", "error": "forged"},
    ):
        event(view, 0, "LifecycleEvent", token="bad", attempt=9, project="evil", **each)
    for kind in ("logs", "data"):
        body = (
            {"type": "LogEvent", "message": "forged"}
            if kind == "logs"
            else {"type": "DataEvent", "name": "x"}
        )
        put(view, telemetry_topic("o", "evil", "r", kind), {"run_id": "r", "source": "line", "body": body})
    runs(view, {}, **PLACE)
    run = view.runs["line", "r"]
    assert (run.status, run.error, run.place) == ("Running", "", None)
    assert (list(view.logs), dict(view.data), view.engines["line"].project_id) == ([], {}, "p")
    started(view)
    stopped(view, 1, status="Succeeded")
    assert (view.runs["line", "r"].status, view.runs["line", "r"].place) == ("Succeeded", ("o", "p"))


def test_of_a_run_without_a_report_the_project_of_its_first_event_counts() -> None:
    """An engine on NATS, for example, shows MQTT clients its events only."""
    view = View()
    started(view)
    event(view, 1, "LifecycleEvent", project="evil", event="ENGINE_STOPPED", status="Failed")
    assert (view.runs["line", "r"].status, view.not_understood) == ("Running", 1)


def test_a_report_that_lists_a_run_as_active_beats_the_end_of_another_token() -> None:
    """A client of the same project knows no token of the engine's runs; so does a row of a run that has ended."""
    view = View()
    row = {"token": "t", "attempt": 1}
    runs(view, row, **PLACE)
    started(view)
    task(view, 1, "RUNNING")
    for seq, each in enumerate(("ENGINE_STARTED", "ENGINE_STOPPED")):
        event(view, seq, "LifecycleEvent", token="bad", attempt=9, event=each, status="Succeeded")
    run = view.runs["line", "r"]
    assert (run.status, run.token, run.counts, run.is_confirmed) == ("Running", "t", {"RUNNING": 1}, True)
    stopped(view, 2, status="Failed", error="E: x")
    end = recent(token="t")
    runs(view, recent=[end], **PLACE)
    for seq, each in enumerate(("ENGINE_STARTED", "ENGINE_STOPPED")):
        event(view, seq, "LifecycleEvent", token="bad2", attempt=9, event=each, status="Succeeded")
    assert (run.status, run.is_confirmed) == ("Succeeded", False)
    runs(view, recent=[end], **PLACE)
    assert (run.status, run.error, run.token, run.is_confirmed) == ("Failed", "E: x", "t", True)


def test_an_attempt_that_events_show_before_the_report_does_is_shown() -> None:
    """The same run again in one process: its events may overtake the report; then the counts are the report's."""
    view = View()
    runs(view, {"token": "t"}, **PLACE)
    started(view)
    task(view, 1, "FAILED")
    task(view, 0, "RUNNING", token="u", attempt=2)
    run = view.runs["line", "r"]
    assert (run.token, run.counts) == ("t", {"FAILED": 1})
    runs(view, {"token": "u", "attempt": 2, "counts": {"RUNNING": 5}}, **PLACE)
    assert (run.token, run.attempt, run.status, run.counts) == ("u", 2, "Running", {"RUNNING": 5})
    stopped(view, 1, token="u", status="Cancelled")
    assert run.status == "Cancelled"
    task(view, 0, "RUNNING", token="v", attempt=3)
    assert (run.token, run.status) == ("v", "Running")


def test_a_name_that_is_used_again_for_a_run_shows_the_new_run() -> None:
    """The report lists it as active after its row of recent runs; its own events follow or came before."""
    view = View()
    started(view, token="old")
    task(view, 1, "FAILED", token="old")
    stopped(view, 2, token="old", status="Failed", error="E: x")
    runs(view, recent=[recent()])
    run = view.runs["line", "r"]
    assert (run.status, run.recent is None) == ("Failed", False)
    runs(view, {"started": ts(20)})
    assert (run.status, run.error, run.ended, run.started) == ("Running", "", None, START + 20)
    assert (run.counts, run.recent, list(run.failures)) == ({"RUNNING": 2}, None, [])
    task(view, 0, "RUNNING", token="new")
    assert (run.token, run.counts) == ("new", {"RUNNING": 1})


def test_a_row_of_an_earlier_attempt_among_the_recent_runs_changes_nothing() -> None:
    """It ended before this attempt began; the run is active under the same id."""
    view = View()
    event(view, 10, "LifecycleEvent", event="ENGINE_STARTED")
    run = view.runs["line", "r"]
    runs(view, recent=[recent(ended=ts(9))])
    assert (run.status, run.recent) == ("Running", None)
    runs(view, {}, recent=[recent(ended=ts(15))])
    assert (run.status, run.recent) == ("Running", None)
    runs(view, recent=[recent(ended=ts(10))])
    assert (run.status, run.ended, run.counts) == ("Failed", START + 10, {"FAILED": 1})


@pytest.mark.parametrize(
    ("report", "known", "is_open"),
    [({}, 2, True), ({"known": 0}, 2, True), ({"known": 7, "open": False}, 7, False), (None, 1, True)],
)
def test_the_row_of_a_run_says_what_its_report_says(
    report: dict[str, Any] | None, known: int, is_open: bool
) -> None:
    """Without one, the tasks that are known are those whose events came, and more may come."""
    view = View()
    if report is not None:
        runs(view, report)
    else:
        task(view, 0, "RUNNING")
    (row,) = run_rows(view, 0.0)
    assert (row["known"], row["open"]) == (known, is_open)
    stopped(view, 5, status="Succeeded")
    (row,) = run_rows(view, 0.0)
    assert (row["known"], row["open"]) == (known, False)


@pytest.mark.parametrize(
    ("before", "after", "again", "status"),
    [
        ("p", "q", False, "Lost"),
        ("p", "contested", False, "Running"),
        ("p", "q", True, "Running"),
        ("p", "p", False, "Running"),
        ("p", "", False, "Running"),
        ("", "q", False, "Running"),
        ("", "", False, "Running"),
    ],
)
def test_a_run_is_lost_when_another_birth_shows_that_its_process_has_died(
    before: str, after: str, again: bool, status: str
) -> None:
    """Two engines without presence may share a source; a process that lists the run again has taken it over.

    Where two processes clash, each is born again and again.
    """
    view = View()
    runs(view, {}, {"run_id": "other"}, session="s1", presence=before)
    more: dict[str, Any] = {"session": "s2", "presence": after, "contested": after == "contested"}
    runs(view, *([{}] if again else []), {"run_id": "new"}, **more)
    assert view.runs["line", "r"].status == status
    assert view.runs["line", "other"].status == ("Lost" if status == "Lost" or again else "Running")
    assert view.runs["line", "new"].status == "Running"


def test_what_a_process_calls_lost_is_not_believed_while_another_one_uses_its_name() -> None:
    """The run may go on there: its status is unknown, or what a report lists. Once the name is no longer shared, or nobody is there, it is lost."""
    view = View()
    row = recent(status="Lost", token="t", error="its process died")
    for contested, now, shown in (
        (True, 0.0, ("unknown", None, "")),
        (True, 13.0, ("Lost", "2026-11-21T03:00:09.000000+00:00", "its process died")),
        (False, 0.0, ("Lost", "2026-11-21T03:00:09.000000+00:00", "its process died")),
    ):
        runs(view, recent=[row], contested=contested)
        (found,) = run_rows(view, now)
        assert (found["status"], found["ended"], found["error"]) == shown
    runs(view, {"token": "t"}, contested=True)
    put(view, state_topic("line", "ended"), {"session": "u", "runs": [row]})
    assert [each["status"] for each in run_rows(view, 0.0)] == ["Running"]


# Engines


def test_since_when_a_register_is_obeyed_is_the_time_of_the_first_report_of_it() -> None:
    """By the engine's clock; a report that does not obey it ends that, and the next one begins anew."""
    view = View()

    def obeyed(second: int, status: str = "applied") -> dict[str, float]:
        return constraints(view, applied={PAUSE: {"status": status}}, ts=ts(second)).applied_since

    assert obeyed(1) == {PAUSE: START + 1}
    assert obeyed(2) == {PAUSE: START + 1}
    assert obeyed(3, "expired") == {}
    assert obeyed(4) == {PAUSE: START + 4}
    other = constraints(View(), applied={PAUSE: {"status": "applied"}})
    assert other.applied_since == {PAUSE: 0.0}


@pytest.mark.parametrize(
    ("report", "birth", "another", "no_birth"),
    [
        ("p", ("online", "p"), False, False),
        ("p", ("online", "q"), True, False),
        ("p", ("offline", "q"), False, False),
        ("p", ("online", ""), False, False),
        ("", ("online", "q"), False, False),
        ("p", None, False, True),
        ("", None, False, False),
        (None, ("online", "q"), False, False),
    ],
)
def test_whose_report_an_engine_shows_follows_from_its_birth(
    report: str | None, birth: tuple[str, str] | None, another: bool, no_birth: bool
) -> None:
    """A report names the session of the birth of its process: another process has left one that names another."""
    view = View()
    if report is None:
        put(view, state_topic("line", "summary"), {"up": 1})
    else:
        constraints(view, presence=report, applied={PAUSE: {"status": "applied"}})
    if birth is not None:
        put(view, status_topic("line"), {"status": birth[0], "session": birth[1]})
    engine = view.engines["line"]
    assert (engine.reports_of_another, engine.has_no_birth) == (another, no_birth)
    obeys = report is not None and not another and birth != ("offline", "q")
    assert bool(view.compliance(PAUSE, 0.0)) is obeys


@pytest.mark.parametrize(
    ("effective", "paused"),
    [
        ([{"type": "pause", "scope": "global"}], True),
        ([{"type": "pause", "scope": "project:etl"}], True),
        ([{"type": "cancel", "scope": "global"}, {"type": "pause", "scope": "source:line"}], True),
        ([{"type": "pause", "scope": "task:a"}, {"type": "pause", "scope": "run:r"}], False),
        ([{"type": "concurrency", "scope": "global"}], False),
        ([], False),
    ],
)
def test_an_engine_is_paused_by_a_pause_of_all_that_it_runs(effective: list[object], paused: bool) -> None:
    """Its report on constraints counts before that of its runs, which alone says it in a word."""
    view = View()
    runs(view, paused=not paused)
    assert view.engines["line"].paused is not paused
    constraints(view, effective=effective)
    assert view.engines["line"].paused is paused
    assert engine_rows(view, 0.0)[0]["paused"] is paused
    assert engine_rows(view, 99.0)[0]["paused"] is False


@pytest.mark.parametrize(("scope", "status"), [("run:r", "Paused"), ("task:a", "Running")])
def test_an_engine_without_a_report_on_constraints_shows_who_pauses_a_run(scope: str, status: str) -> None:
    """Its report of the run names the registers for which tasks wait; one for some tasks pauses no run."""
    view, topic = View(), constraint_topic(scope, "pause")
    put(view, status_topic("line"), {"status": "online", "session": "s"})
    waiting = [{"why": "constraint", "type": "pause", "topic": topic, "n": 2}]
    runs(view, {"counts": {"BLOCKED": 2}, "waiting": waiting})
    put(view, topic, {"type": "pause", "id": "x", "by": "ada"}, retained=True)
    (row,) = run_rows(view, 0.0)
    assert (row["status"], row["by"]) == (status, "ada" if status == "Paused" else "")


def test_a_row_of_a_register_says_who_obeys_and_who_refuses_it() -> None:
    """By source; those that it does not concern, and those whose report is of another process, stand nowhere."""
    view = View()
    put(view, PAUSE, {"type": "pause", "id": "x", "by": "ada", "params": {"a": 1}, "expires_at": 5})
    answers = {
        "d": "applied",
        "c": "rejected",
        "b": "applied",
        "a": "unsupported",
        "e": "no_match",
        "f": "expired",
    }
    for source, status in answers.items():
        constraints(view, source, applied={PAUSE: {"status": status, "reason": f"of {source}"}})
    (row,) = constraint_rows(view, 0.0)
    assert row == {
        "topic": PAUSE,
        "scope": "global",
        "type": "pause",
        "params": {"a": 1},
        "id": "x",
        "by": "ada",
        "expires_at": 5,
        "applied": ["b", "d"],
        "refused": [{"source": "a", "reason": "of a"}, {"source": "c", "reason": "of c"}],
    }
    (row,) = constraint_rows(view, 99.0)
    assert (row["applied"], row["refused"]) == ([], [])


def test_the_rows_have_exactly_the_keys_of_the_command() -> None:
    """``ps``, ``runs`` and ``constraints`` print them as they are; recent runs stand behind active ones in every report."""
    view = View()
    for _ in range(2):
        runs(view, {"known": 796}, recent=[recent(run_id="q")], paused=True, project_id="acme")
    put(view, PAUSE, {"type": "pause"})
    (engine,) = engine_rows(view, 0.0)
    assert (
        " ".join(engine) == "source status presence host pid since project_id sync paused contested runs held"
    )
    said = (engine["project_id"], engine["runs"], engine["status"], engine["paused"])
    assert said == ("acme", 1, "online", True)
    (silent,) = engine_rows(view, 13.0)
    assert (silent["runs"], silent["status"], silent["paused"]) == (0, "lost", False)
    running, ended = run_rows(view, 0.0)
    keys = "source run_id target status started ended counts tasks finished known open percent left_s error by token attempt failed interrupted held"
    assert " ".join(running) == " ".join(ended) == keys
    assert (running["status"], running["known"], running["open"]) == ("Paused", 796, True)
    assert (ended["status"], ended["error"], ended["open"]) == ("Failed", "E: x", False)
    assert (ended["known"], ended["counts"]) == (1, {"FAILED": 1})
    assert ended["ended"] == "2026-11-21T03:00:09.000000+00:00"
    (constraint,) = constraint_rows(view, 0.0)
    assert " ".join(constraint) == "topic scope type params id by expires_at applied refused"
    put(view, status_topic("line"), {"status": "offline", "session": "p"})
    assert [row["status"] for row in run_rows(view, 0.0)] == ["Lost", "Failed"]


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


def test_what_is_kept_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines heard of least recently are forgotten with their reports; further registers are left out."""
    monkeypatch.setattr("cascade.wire.view.MAX_BYTES", 1_000)
    monkeypatch.setattr("cascade.wire.view.MAX_DATA", 3)
    view = View()
    for number in range(9):
        put(view, state_topic(f"e{number}", "runs"), {"pad": "x" * 300})
        put(view, constraint_topic(f"run:{number}", "pause"), {"type": "pause", "pad": "x" * 300})
        body = {"type": "DataEvent", "name": str(number), "data": 0}
        data = {"run_id": "r", "source": "line", "seq": number, "body": body}
        put(view, telemetry_topic("o", "p", "r", "data"), data)
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
