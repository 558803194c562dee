"""``cascade watch`` in a pipe: which lines it prints, and with which code it ends."""

from __future__ import annotations

import json
import os
import time
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest
from cli_modules import (
    SURE_SECONDS,
    Changes,
    Lines,
    Until,
    changes_module,
    in_words,
    only_events,
    show_module,
)
from view_plant import NOW, WALL, ViewPlant

from cascade.cli import main
from cascade.cli.output import Output
from cascade.interfaces.topics import constraint_topic, state_topic, status_topic
from cascade.interfaces.wire import timestamp
from cascade.wire import constraint_rows
from testing_tools.memory_broker import MemoryBroker, Person

PAUSE = constraint_topic("global", "pause")


@pytest.fixture
def plant() -> ViewPlant:
    """No engine yet."""
    return ViewPlant()


def news(changes: Changes, plant: ViewPlant) -> list[str]:
    """What has changed, as a person reads it."""
    return [in_words(kind, row) for kind, row in changes.since_last(plant.view, NOW)]


def test_each_change_is_one_line_with_what_matters(plant: ViewPlant) -> None:
    """Of engines, constraints and runs; a state without tasks is left out, and a run that is over is not open."""
    changes = Changes()
    plant.online("oven")
    plant.say(PAUSE, {"type": "pause", "id": "x", "params": {}, "by": "olaf"})
    assert news(changes, plant) == ["engine oven: online", "constraint pause global: on the broker by olaf"]
    row = {"run_id": "r", "target": "t", "started": timestamp(WALL), "known": 9, "open": True}
    counts = {"COMPLETED": 1, "FAILED": 2, "RUNNING": 3, "BLOCKED": 4, "SKIPPED": 5}
    plant.report("oven", "runs", runs=[{**row, "counts": {}}], recent=[])
    obeys: dict[str, Any] = {"applied": {PAUSE: {"id": "x", "status": "applied"}}}
    plant.report("oven", "constraints", sync="synced", **obeys, effective=[])
    assert news(changes, plant) == [
        "engine oven: online, 1 run",
        "constraint pause global: obeyed by oven by olaf",
        "run r t on oven: Running, no tasks, 9+ known",
    ]
    plant.report("oven", "runs", runs=[{**row, "counts": counts}], recent=[])
    states = "1 completed, 3 running, 4 waiting, 2 failed, 5 skipped"
    assert news(changes, plant) == [f"run r t on oven: Running, {states}, 15+ known"]
    end = {
        **row,
        "status": "Failed",
        "error": "E: x",
        "ended": timestamp(WALL),
        "counts": {"FAILED": 1},
        "known": 9,
    }
    plant.report("oven", "runs", runs=[], recent=[end])
    plant.say(PAUSE, {"type": "pause", "id": "x", "params": {}})
    assert news(changes, plant) == [
        "engine oven: online",
        "constraint pause global: obeyed by oven",
        "run r t on oven: Failed, 1 failed, 9 known: E: x",
    ]
    assert news(changes, plant) == []
    plant.view.fold(PAUSE, b"", now=NOW)
    assert news(changes, plant) == ["constraint pause global: cleared"]


def test_each_change_of_a_workflow_is_one_line(plant: ViewPlant) -> None:
    """Its last end and next start, whether its engine takes requests, and that it is no longer offered."""
    changes, next_ = Changes(), "2026-11-22T03:00:00+01:00"
    plant.online("oven")
    audit = {"name": "audit", "doc": "", "params": {}, "overlap": "skip", "accepting": True}
    plant.report("oven", "workflows", workflows=[audit])
    assert news(changes, plant) == ["engine oven: online", "workflow audit on oven: offered"]
    assert news(changes, plant) == []
    last = {"run_id": "audit~7", "status": "Failed", "ended": timestamp(WALL)}
    schedule = {"every": "10m", "text": "Every 10 minutes", "next": next_}
    plant.report("oven", "workflows", workflows=[{**audit, "last": last, "schedule": schedule}])
    assert news(changes, plant) == [f"workflow audit on oven: offered, last run Failed, next {next_}"]
    plant.report("oven", "workflows", workflows=[{**audit, "accepting": False}])
    ((kind, row),) = changes.since_last(plant.view, NOW)
    assert (kind, row) == ("workflow", {"source": "oven", "name": "audit", "accepting": False, "next": None, "last": None})  # fmt: skip
    assert in_words(kind, row) == "workflow audit on oven: not accepting"
    plant.view.fold(state_topic("oven", "workflows"), b"", now=NOW)
    ((kind, row),) = changes.since_last(plant.view, NOW)
    assert (row["gone"], in_words(kind, row)) == (True, "workflow audit on oven: no longer offered")
    assert news(changes, plant) == []


def test_a_lost_store_is_no_clear(plant: ViewPlant) -> None:
    """Row 48: nobody has cleared what the broker lost; engines that still obey are named once they have had time to report."""
    changes, now = Changes(), NOW
    for source in ("oven", "press"):
        plant.online(source)
    for topic in (PAUSE, constraint_topic("task:a", "pause")):
        plant.say(topic, {"type": "pause", "id": "x", "params": {}})
    list(changes.since_last(plant.view, now))

    def lines(gone: set[str]) -> list[str]:
        return [in_words(kind, row) for kind, row in changes.since_last(plant.view, now, gone)]

    row: dict[str, Any] = {"type": "pause", "params": {}, "id": "x", "expires_at": None}
    plant.report(
        "oven",
        "constraints",
        sync="stale",
        applied={},
        effective=[{**row, "scope": "global", "topic": PAUSE}],
    )
    plant.view.fold(PAUSE, b"", now=now)
    plant.view.fold(constraint_topic("task:a", "pause"), b"", now=now)
    plant.view.fold(status_topic("press"), b"", now=now)
    assert lines({PAUSE, constraint_topic("task:a", "pause")}) == [
        "engine press: the broker no longer knows it",
        "constraint pause task:a: no longer on the broker",
        "engine oven: online, paused",
    ]
    now += 3.0
    assert lines({PAUSE}) == ["constraint pause global: not on the broker, still obeyed by oven"]
    assert (lines({PAUSE}), constraint_rows(plant.view, now)[0]["on_broker"]) == ([], False)
    plant.say(PAUSE, {"type": "pause", "id": "x", "params": {}})
    assert lines(set()) == ["constraint pause global: on the broker"]
    # a clear that was seen: the report follows it within milliseconds
    plant.view.fold(PAUSE, b"", now=now)
    assert lines(set()) == []
    plant.report("oven", "constraints", sync="synced", applied={}, effective=[])
    assert lines(set()) == ["constraint pause global: cleared", "engine oven: online"]


def test_runs_come_in_the_order_of_their_messages_and_failures_last(plant: ViewPlant) -> None:
    """A task that fails again in another attempt at another time is another failure."""
    changes = Changes()
    failed: dict[str, Any] = {
        "task_id": "a:0",
        "task_name": "a",
        "state": "FAILED",
        "error": "E",
        "attempt": 2,
    }
    plant.event("oven", "r1", 0, **failed)
    plant.event("oven", "r2", 0, task_id="a:0", task_name="a", state="RUNNING")
    kinds = [(kind, row.get("run_id")) for kind, row in changes.since_last(plant.view, NOW)]
    assert kinds == [("engine", None), ("run", "r1"), ("run", "r2"), ("failure", "r1")]
    plant.event("oven", "r1", 1, ago=-5.0, **failed)
    (run, failure) = changes.since_last(plant.view, NOW)
    assert run[0] == "run"
    assert failure == (
        "failure",
        {"source": "oven", "run_id": "r1", "task_id": "a:0", "task_name": "a", "attempt": 2, "error": "E"},
    )
    assert in_words(*failure) == "failure a:0 of r1: E"


def test_what_was_shown_long_ago_is_forgotten_first(
    plant: ViewPlant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watch for months has a bound; the latest rows are still shown once."""
    monkeypatch.setattr(changes_module, "MAX_SEEN", 2)
    changes = Changes()
    for source in ("a", "b", "c"):
        plant.online(source)
    assert len(news(changes, plant)) == 3
    assert news(changes, plant)[0] == "engine a: online"


class Link:
    """A feed as lines show it, at a fixed time."""

    def __init__(self, plant: ViewPlant, monkeypatch: pytest.MonkeyPatch, *, json: bool = False) -> None:
        monkeypatch.setattr(time, "monotonic", lambda: NOW)
        self.feed: Any = SimpleNamespace(
            gone=set(),
            notice="",
            waits="",
            view=plant.view,
            lost_since=None,
            problem="",
            without_state=lambda now: [*self.silent],
        )
        self.silent: list[str] = []
        self._stream = StringIO()
        self._lines = Lines(Output(self._stream, json=json))

    def printed(self) -> list[str]:
        """The lines of one more look."""
        self._stream.seek(0)
        self._stream.truncate()
        self._lines.update(self.feed)
        return self._stream.getvalue().splitlines()


def test_the_link_is_named_when_it_is_lost_and_when_it_is_back(
    plant: ViewPlant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once each; meanwhile nothing is known of what changes, and afterwards only changes are printed."""
    link = Link(plant, monkeypatch, json=True)
    plant.online("oven")
    assert [json.loads(line)["kind"] for line in link.printed()] == ["engine"]
    link.feed.lost_since, link.feed.problem = NOW, "the broker is gone"
    plant.online("press")
    lost = '{"kind": "link", "status": "lost", "reason": "the broker is gone"}'
    assert [link.printed(), link.printed()] == [[lost], []]
    link.feed.lost_since = None
    linked, engine = map(json.loads, link.printed())
    assert linked == {"kind": "link", "status": "linked", "reason": ""}
    assert (engine["kind"], engine["source"]) == ("engine", "press")
    assert link.printed() == []


def test_a_person_reads_the_time_of_day_before_each_line(
    plant: ViewPlant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of the change."""
    told = SimpleNamespace(monotonic=lambda: NOW, strftime={"%H:%M:%S": "12:00:01"}.__getitem__)
    monkeypatch.setattr(show_module, "time", told)  # of this module alone: timestamps use the time, too
    link = Link(plant, monkeypatch)
    link.feed.lost_since = NOW
    assert link.printed() == ["12:00:01 link lost"]
    link.feed.lost_since = None
    plant.online("oven")
    assert link.printed() == ["12:00:01 link linked", "12:00:01 engine oven: online"]


def test_engines_of_which_only_events_come_are_noted_once_each(
    plant: ViewPlant, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On standard error, so that a program that reads the lines is not disturbed."""
    link = Link(plant, monkeypatch)

    def noted(*silent: str) -> str:
        link.silent = [*silent]
        assert link.printed() == []
        return capsys.readouterr().err

    assert noted() == ""
    assert noted("a") == f"{only_events.in_words(['a'], over_nats=False)}\n"
    assert noted("a") == ""
    assert noted("a", "b") == f"{only_events.in_words(['b'], over_nats=False)}\n"


def test_a_note_of_several_engines_speaks_of_several() -> None:
    """And of at most five by name."""
    names = [f"e{number}" for number in range(5)]
    text = only_events.in_words(names, over_nats=False)
    assert text == (
        "only events of e0, e1, e2, e3, e4 arrive, neither a birth nor a report: whether they are online, which "
        "constraints they obey and what waits is not known; if they are connected over NATS, MQTT clients get only "
        "their events, and what you set over MQTT does not reach them: use --broker nats://HOST; if they are "
        "connected over MQTT, this user may not read cascade/status/+ and cascade/state/+/+"
    )
    one = only_events.in_words(names[:1], over_nats=False)
    assert "whether it is online, which constraints it obeys and what" in one
    assert "if it is connected over NATS, MQTT clients get only its events" in one
    over_nats = only_events.in_words([*names, "x", "y"], over_nats=True)
    assert over_nats.startswith("only events of e0, e1, e2, e3, e4 and 2 more arrive, ")
    assert over_nats.endswith("what waits is not known; cascade doctor finds the cause")
    assert "does not reach it: use" in one


def test_until_done_names_how_the_run_has_ended(plant: ViewPlant) -> None:
    """A run whose engine comes back within the time goes on, and the time begins anew."""
    until = Until("run-1")
    row = {"run_id": "run-1", "target": "t", "started": timestamp(WALL)}
    plant.online("oven")
    plant.report("oven", "runs", runs=[row], recent=[])
    assert until.end(plant.view, NOW) is None
    for start in (NOW, NOW + 100):
        plant.say(status_topic("oven"), {"status": "offline", "session": "oven"})
        assert until.end(plant.view, start) is None
        assert until.end(plant.view, start + SURE_SECONDS - 1) is None
        plant.online("oven")
        assert until.end(plant.view, start + SURE_SECONDS - 0.5) is None
    end = {**row, "status": "Failed", "error": "E: x", "ended": timestamp(WALL)}
    plant.report("oven", "runs", runs=[], recent=[end])
    found = until.end(plant.view, NOW + 200)
    assert found is not None
    assert (found.code, found.text) == (1, "run run-1 failed: E: x")
    plant.online("press")
    died = {**end, "run_id": "run-2", "status": "Lost", "error": "its process died while 1 task ran"}
    plant.report("press", "runs", runs=[], recent=[died])
    lost = Until("run-2").end(plant.view, NOW)
    assert lost is not None
    assert (lost.code, lost.text) == (1, "run run-2 lost: its process died while 1 task ran")


def test_until_done_does_not_wait_for_ever_for_an_end_that_did_not_arrive(plant: ViewPlant) -> None:
    """The engine no longer lists the run, and how it has ended is not known."""
    until = Until("run-1")
    plant.online("oven")
    row = {"run_id": "run-1", "target": "t"}
    plant.report("oven", "runs", runs=[], recent=[{**row, "status": "Odd", "ended": timestamp(WALL)}])
    assert until.end(plant.view, NOW) is None
    end = until.end(plant.view, NOW + SURE_SECONDS)
    assert end is not None
    text = "run run-1 is no longer running: how it has ended is not known"
    assert (end.code, end.text) == (1, text)


def test_until_done_believes_the_report_of_the_engine(plant: ViewPlant) -> None:
    """Events end a run only if the engine's report has their token, or no report of its runs arrives.

    What another engine lists later under the same id changes nothing.
    """
    until = Until("run-1")
    place: dict[str, Any] = {"org_id": "local", "project_id": "default"}
    plant.online("oven")
    plant.report("oven", "runs", runs=[], recent=[], **place)
    end: dict[str, Any] = {"type": "LifecycleEvent", "event": "ENGINE_STOPPED", "status": "Succeeded"}
    plant.event("oven", "run-1", 0, **end)
    assert until.end(plant.view, NOW) is None
    row = {"run_id": "run-1", "target": "t", "started": timestamp(WALL), "ended": timestamp(WALL)}
    plant.report("evil", "runs", runs=[], recent=[{**row, "status": "Cancelled"}], project_id="evil")
    found = until.end(plant.view, NOW + SURE_SECONDS)
    assert found is not None
    why = "its engine does not report what events say of its end"
    assert (found.code, found.text) == (1, f"run run-1 is no longer running: {why}")
    plant.report("oven", "runs", runs=[], recent=[{**row, "status": "Succeeded", "token": "t"}], **place)
    found = until.end(plant.view, NOW)
    assert found is not None
    assert (found.code, found.text) == (0, "run run-1 succeeded")
    (asked, other) = (Until(run).end(plant.view, NOW) for run in ("run-1", "run-1@evil"))
    assert asked is not None
    assert other is not None
    assert (asked.code, asked.text) == (2, "several engines have a run run-1: write run-1@evil, run-1@oven")
    assert other.code == 4


def test_until_done_takes_a_beginning_that_means_one_run(plant: ViewPlant) -> None:
    """Of several runs with one name the latest; three characters are not enough, nor is an ambiguous beginning."""
    plant.online("oven")
    rows = [
        {
            "run_id": run_id,
            "target": "t",
            "name": "nightly",
            "status": status,
            "started": timestamp(WALL + started),
            "ended": timestamp(WALL + 60),
        }
        for run_id, status, started in (
            ("abcd1", "Succeeded", 0),
            ("abcd2", "Cancelled", 9),
            ("xyz12", "Failed", 5),
            ("audit~monday", "Succeeded", 3),
        )
    ]
    plant.report("oven", "runs", runs=[], recent=rows)

    def code(run: str) -> int | None:
        end = Until(run).end(plant.view, NOW)
        return None if end is None else end.code

    codes = {
        "nightly": 4,
        "abcd1": 0,
        "abcd": None,
        "xyz1": 1,
        "xyz": None,
        "yz12": None,
        "monday": 0,
        "day": None,
    }
    assert {run: code(run) for run in codes} == codes


@pytest.mark.parametrize(
    ("status", "code", "note"),
    [
        ("Succeeded", 0, "run r0 succeeded"),
        ("Failed", 1, "run r0 failed: E: x"),
        ("Cancelled", 4, "run r0 cancelled"),
    ],
)
@pytest.mark.parametrize("form", ["--plain", "--json", ""])
def test_the_command_ends_with_the_code_of_the_run(
    status: str, code: int, note: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How it has ended stands on standard error; on a terminal the last picture stays."""
    error = "E: x" if status == "Failed" else ""
    row = {"run_id": "r0", "target": "audit", "status": status, "error": error, "ended": timestamp(WALL)}
    report = {"v": "1.0", "source": "oven", "session": "s", "runs": [], "recent": [row]}
    birth = {"status": "online", "session": "s"}
    broker = MemoryBroker({status_topic("oven"): birth, state_topic("oven", "runs"): report})
    person = Person(broker, monkeypatch)
    ended, lines, err = person.types("watch", "--until-done", "r0", *filter(None, [form]))
    assert (ended, err) == (code, f"{note}\n")
    if form == "--plain":
        assert lines[0].endswith("engine oven: online")
        assert f"run r0 audit on oven: {status}, no tasks, 0 known" in lines[1]
        assert len(lines) == 2
    elif form == "--json":
        assert [json.loads(line)["kind"] for line in lines] == ["engine", "run"]
    else:
        shown = "\n".join(lines)
        assert "cascade watch mqtt://broker.example  linked" in shown
        assert "ENDED  1" in shown


def test_until_done_says_that_it_waits_for_a_run_that_nobody_knows(
    plant: ViewPlant, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its name may be mistyped. The lines have the note once, whatever it takes the name for later."""
    until, link = Until("night-7"), Link(plant, monkeypatch)
    plant.online("oven")
    row = {"run_id": "night-6", "target": "t", "started": timestamp(WALL)}
    plant.report("oven", "runs", runs=[row], recent=[])
    assert until.end(plant.view, NOW) is None
    waits = "no run night-7 is known: the watch waits for one that begins"
    assert until.note(plant.view) == f"{waits}; did you mean night-6?"
    for link.feed.waits in (until.note(plant.view), waits):
        link.printed()
    assert capsys.readouterr().err == f"{waits}; did you mean night-6?\n"
    plant.report("oven", "runs", runs=[{**row, "run_id": "night-7"}], recent=[])
    assert until.end(plant.view, NOW) is None
    assert until.note(plant.view) == ""


def test_a_reader_that_has_gone_ends_the_command_with_0(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``cascade watch | head -1`` does."""

    class Gone(StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    broker = MemoryBroker({status_topic("oven"): {"status": "online", "session": "s"}})
    Person(broker, monkeypatch)
    monkeypatch.setattr("sys.stdout", Gone())
    monkeypatch.setattr(Output, "_close", lambda output: setattr(output, "closed", True))
    assert main(["watch"]) == 0
    assert (broker.links, broker.streams) == (0, [])


def test_a_reader_that_goes_while_nothing_happens_is_noticed() -> None:
    """Nothing is written then that could fail; a reader that only waits has not gone."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        output = Output(stream)
        seen = []
        for closes in (False, True):
            if closes:
                os.close(reader)
            output.check_reader()
            seen.append(output.closed)
        assert seen == [False, True]
    Output(StringIO()).check_reader()
