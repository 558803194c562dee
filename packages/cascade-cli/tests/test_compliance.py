"""Which engines obey a change: the state machine of ``--wait``, fed with messages of the wire."""

import asyncio
import json
import time
from collections.abc import Mapping
from io import StringIO
from typing import Any, cast
from unittest.mock import Mock

import pytest
from cli_modules import (
    Change,
    ComplianceTracker,
    Wait,
    _ChangePublisher,
    clearing,
    outcome,
    publishing,
    setting,
)
from hypothesis import given
from hypothesis import strategies as st

from cascade.cli.output import Output
from cascade.interfaces import Message, WatchStream
from cascade.interfaces.topics import constraint_topic, state_topic, status_topic
from cascade.interfaces.wire import timestamp
from cascade.wire import View

PAUSE = constraint_topic("global", "pause")
APPLIED = {"id": "pause-global", "status": "applied"}
PAUSED: dict[str, Any] = {
    "scope": "global",
    "type": "pause",
    "params": {},
    "topic": PAUSE,
    "id": "pause-global",
    "expires_at": None,
}


class Plant:
    """A broker and its engines, as a view shows them."""

    def __init__(self) -> None:
        self.view = View()
        self.now = 100.0
        self.answers: ComplianceTracker | None = None

    def tell(self, topic: str, content: Mapping[str, Any] | None, *, retained: bool = False) -> None:
        payload = b"" if content is None else json.dumps(content).encode()
        message = self.view.fold(topic, payload, now=self.now, retained=retained)
        if self.answers is not None:
            self.answers.note(message)

    def online(self, *sources: str) -> None:
        for source in sources:
            self.tell(status_topic(source), {"status": "online", "session": "s"})
            self.report(source, retained=True)

    def lose(self, source: str) -> None:
        self.tell(status_topic(source), {"status": "offline", "session": "s"})

    def end(self, source: str) -> None:
        self.tell(status_topic(source), {"status": "offline", "session": "s", "reason": "ended"})

    def report(
        self,
        source: str,
        applied: Mapping[str, Any] | None = None,
        *,
        effective: list[dict[str, Any]] | None = None,
        running: int = 0,
        sync: str = "synced",
        retained: bool = False,
        presence: str = "",
        more: int = 0,
        contested: bool = False,
    ) -> None:
        body = {
            "v": "1.0",
            "source": source,
            "session": "s",
            **({"presence": presence} if presence else {}),
            **({"contested": True} if contested else {}),
            "sync": sync,
            "applied": applied or {},
            "effective": effective or [],
            "in_scope_running": running,
            "ts": timestamp(1e9 + self.now),
            **({"more": more} if more else {}),
        }
        self.tell(state_topic(source, "constraints"), body, retained=retained)

    def runs(self, source: str, *run_ids: str) -> None:
        rows = [
            {"run_id": run_id, "target": "t", "started": timestamp(1e9), "counts": {}} for run_id in run_ids
        ]
        self.tell(state_topic(source, "runs"), {"v": "1.0", "source": source, "session": "s", "runs": rows})

    def begin(self, change: Change) -> ComplianceTracker:
        self.answers = ComplianceTracker(change, self.view, now=self.now)
        return self.answers


@pytest.fixture
def plant() -> Plant:
    """A broker without engines."""
    return Plant()


def lists(change: Change, answers: ComplianceTracker, now: float) -> dict[str, Any]:
    """The answers when the time is over, without the empty ones."""
    found = outcome(change, answers.get(now, final=True))
    return {key: value for key, value in found.items() if value and key != "topic"}


def pause() -> Change:
    """A pause of everything."""
    return setting("global", "pause", {})


def test_each_engine_is_on_one_list(plant: Plant) -> None:
    """One applies, one refuses, one is lost, one is silent; an engine that was lost before counts nowhere."""
    plant.online("a", "b", "c", "d", "e")
    plant.lose("e")
    change = pause()
    answers = plant.begin(change)
    plant.report("a", {PAUSE: APPLIED}, running=2)
    plant.report("b", {PAUSE: {"id": "", "status": "unsupported", "reason": "too old"}})
    plant.lose("c")
    assert not answers.complete(plant.now)
    assert lists(change, answers, plant.now) == {
        "applied": ["a"],
        "refused": [{"source": "b", "reason": "too old"}],
        "unknown": [{"source": "c", "why": "lost"}, {"source": "d", "why": "silent"}],
        "running": 2,
    }
    plant.report("d", {PAUSE: APPLIED})
    assert answers.complete(plant.now)
    assert not answers.complete(plant.now, drained=True)
    plant.report("a", {PAUSE: APPLIED})
    assert answers.complete(plant.now, drained=True)


def test_a_report_of_the_value_before_is_no_answer(plant: Plant) -> None:
    """The id is the same, so the expiry and the parameters of what is in force decide."""
    topic = constraint_topic("task:x", "rate_limit")
    entry = {topic: {"id": "ratelimit-task:x", "status": "applied"}}

    def row(rate: str) -> list[dict[str, Any]]:
        return [
            {
                "scope": "task:x",
                "type": "rate_limit",
                "params": {"rate": rate, "capacity": 1.0},
                "topic": topic,
                "id": "ratelimit-task:x",
                "expires_at": None,
            }
        ]

    plant.online("a")
    plant.tell(topic, {"type": "rate_limit", "params": {"rate": "10/m"}})
    plant.report("a", entry, effective=row("10/m"))
    answers = plant.begin(setting("task:x", "rate_limit", {"rate": "20/m"}))
    plant.report("a", entry, effective=row("10/m"))  # was on its way when the change was written
    assert not answers.complete(plant.now)
    plant.report("a", entry, effective=row("20/m"))
    assert answers.complete(plant.now)


def test_what_is_in_force_already_needs_no_new_report(plant: Plant) -> None:
    """An engine reports only what changes."""
    plant.online("a")
    plant.tell(PAUSE, pause().message, retained=True)
    plant.report("a", {PAUSE: APPLIED}, retained=True)
    assert plant.begin(pause()).complete(plant.now)


def test_a_refusal_from_before_counts_only_when_the_time_is_over(plant: Plant) -> None:
    """It may be about what the register held before."""
    plant.online("a")
    refused = {PAUSE: {"id": "", "status": "rejected", "reason": "bad"}}
    plant.report("a", refused)
    change = pause()
    answers = plant.begin(change)
    assert not answers.complete(plant.now)
    assert lists(change, answers, plant.now) == {"refused": [{"source": "a", "reason": "bad"}]}


def test_a_cleared_register_is_applied_where_it_is_not_in_force_any_more(plant: Plant) -> None:
    """Also where it never was."""
    plant.online("a", "b")
    plant.tell(PAUSE, pause().message, retained=True)
    plant.report("a", {PAUSE: APPLIED})
    change = clearing("global", "pause", plant.view.registers)
    answers = plant.begin(change)
    assert lists(change, answers, plant.now) == {
        "applied": ["b"],
        "unknown": [{"source": "a", "why": "silent"}],
    }
    plant.report("a")
    assert lists(change, answers, plant.now) == {"applied": ["a", "b"]}


def test_a_run_is_somewhere_or_nowhere(plant: Plant) -> None:
    """Engines without it say so; one that had it and has it no longer has cancelled it."""
    topic = constraint_topic("run:9a81", "cancel")
    no_match = {topic: {"id": "cancel-run:9a81", "status": "no_match"}}
    plant.online("a", "b")
    plant.runs("a", "9a81")
    change = setting("run:9a81", "cancel", {}, expires_at=2e9)
    answers = plant.begin(change)
    plant.report("a", no_match)
    plant.report("b", no_match)
    assert answers.complete(plant.now)
    assert lists(change, answers, plant.now) == {"applied": ["a"], "no_match": ["b"]}
    plant.end("a")
    assert lists(change, answers, plant.now) == {"applied": ["a"], "no_match": ["b"]}


@pytest.mark.parametrize(("scope", "expected"), [("source:a", ["a"]), ("project:acme", ["a", "b"])])
def test_engines_outside_the_scope_are_not_waited_for(plant: Plant, scope: str, expected: list[str]) -> None:
    """Of another source, or of a project that is known to be another."""
    plant.online("a", "b", "c")
    plant.view.engines["a"].project_id = "acme"
    plant.view.engines["c"].project_id = "other"
    change = setting(scope, "pause", {})
    answers = plant.begin(change)
    for source in "abc":
        plant.report(source, {change.topic: {"id": f"pause-{scope}", "status": "applied"}})
    assert answers.complete(plant.now)
    assert lists(change, answers, plant.now) == {"applied": expected}


STEPS = st.lists(
    st.tuples(
        st.sampled_from("abcd"),
        st.sampled_from(["applied", "rejected", "no_match", "other", "lose", "end", "online"]),
    ),
    max_size=25,
)


@given(STEPS, STEPS)
def test_every_engine_is_on_at_most_one_list_and_its_latest_word_counts(
    before: list[tuple[str, str]], after: list[tuple[str, str]]
) -> None:
    """Whatever happens: no engine is applied whose latest report does not show the change in force."""
    plant = Plant()
    plant.online("a", "b", "c")
    change = setting("global", "pause", {}, name="mine")

    def happen(source: str, what: str) -> None:
        if what in ("lose", "end", "online"):
            getattr(plant, what)(source)
        else:
            status = "applied" if what == "other" else what
            entry = {"id": "theirs" if what == "other" else "mine", "status": status, "reason": what}
            plant.report(source, {PAUSE: entry})

    for source, what in before:
        happen(source, what if what != "applied" else "other")
    answers = plant.begin(change)
    for source, what in after:
        happen(source, what)
    found = outcome(change, answers.get(plant.now, final=True))
    named = [
        *found["applied"],
        *found["no_match"],
        *(each["source"] for key in ("refused", "unknown") for each in found[key]),
    ]
    assert len(named) == len(set(named))
    for source in found["applied"]:
        engine = plant.view.engines[source]
        assert engine.constraints is not None
        assert engine.constraints.applied[PAUSE].id == "mine"
        assert engine.constraints.applied[PAUSE].status == "applied"
        assert engine.status(plant.now) == "online"
    if answers.complete(plant.now):
        assert "silent" not in [each["why"] for each in found["unknown"]]


def test_a_report_of_another_session_is_no_answer(plant: Plant) -> None:
    """An earlier process of the name has left it, or another client has written it; its own report is one."""
    plant.online("a")
    plant.report("a", {PAUSE: APPLIED}, presence="earlier")
    change = setting("global", "pause", {})
    answers = plant.begin(change)
    plant.report("a", {PAUSE: APPLIED}, effective=[PAUSED], presence="earlier")
    assert not answers.complete(plant.now)
    assert plant.view.compliance(PAUSE, plant.now) == {}
    assert outcome(change, answers.get(plant.now, final=True))["unknown"] == [
        {"source": "a", "why": "silent"}
    ]
    plant.report("a", {PAUSE: APPLIED}, effective=[PAUSED], presence="s")
    assert answers.complete(plant.now)
    assert outcome(change, answers.get(plant.now, final=True))["applied"] == ["a"]
    assert list(plant.view.compliance(PAUSE, plant.now)) == ["a"]
    assert answers.unproved(answers.get(plant.now)) == []


async def test_what_came_while_the_command_stood_still_is_read_before_it_gives_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its deadline is over when it goes on, and the message needs some more turns of the loop."""
    monkeypatch.setattr(publishing, "STANDSTILL", 0.01)
    loop = asyncio.get_running_loop()
    arrived = asyncio.Queue[Message]()
    message = Message(PAUSE, b"{}", retain=False)

    class Stream:
        async def __anext__(self) -> Message:
            return await arrived.get()

    def arrive(turns: int) -> None:
        if turns:
            loop.call_soon(arrive, turns - 1)
        else:
            arrived.put_nowait(message)

    def stand_still() -> None:
        time.sleep(0.1)
        arrive(5)

    loop.call_soon(stand_still)
    publisher = _ChangePublisher(Mock(), cast(WatchStream, Stream()), Output(StringIO(), json=True))
    assert await publisher._next(loop.time() + 0.05) == message


def test_an_answer_whose_session_has_no_birth_is_marked(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its source was never born; an engine without a name has no birth and names none."""
    change = setting("global", "pause", {})
    answers = plant.begin(change)
    plant.report("false", {PAUSE: APPLIED}, effective=[PAUSED], presence="made up")
    plant.report("vm-1", {PAUSE: APPLIED}, effective=[PAUSED])
    given = answers.get(plant.now, final=True)
    assert outcome(change, given)["applied"] == ["false", "vm-1"]
    assert answers.unproved(given) == ["false"]
    stream = StringIO()
    monkeypatch.setattr("time.monotonic", lambda: plant.now)
    publisher = _ChangePublisher(Mock(), Mock(), Output(stream, json=True))
    assert publisher._show(change, answers, Wait()) == 0
    assert json.loads(stream.getvalue())["unproved"] == ["false"]
    assert capsys.readouterr().err.startswith("the session of false has no birth on the broker")
    plant.tell(status_topic("false"), {"status": "online", "session": "made up"})
    assert answers.unproved(given) == []


def test_an_answer_under_a_name_that_two_processes_use_is_no_success(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of them obeys, and the other may work on: the command names the name, and exits with 1."""
    plant.online("a", "press")
    change = pause()
    answers = plant.begin(change)
    for source in ("a", "press"):
        plant.report(source, {PAUSE: APPLIED}, effective=[PAUSED], contested=source == "press")
    stream = StringIO()
    monkeypatch.setattr("time.monotonic", lambda: plant.now)
    publisher = _ChangePublisher(Mock(), Mock(), Output(stream, json=True))
    assert publisher._show(change, answers, Wait()) == 1
    found = json.loads(stream.getvalue())
    assert (found["applied"], found["contested"]) == (["a", "press"], ["press"])
    assert "two processes use the name press, and only one of them answers" in capsys.readouterr().err


def test_an_engine_that_comes_back_meanwhile_is_waited_for_and_what_it_says_counts(plant: Plant) -> None:
    """What the command sees before it ends is part of its answer; a process that follows nothing yet is not."""
    plant.online("a", "back", "restarted")
    for source in ("back", "restarted"):
        plant.lose(source)
    change = pause()
    answers = plant.begin(change)
    plant.report("a", {PAUSE: APPLIED}, effective=[PAUSED])
    assert answers.complete(plant.now)
    for source in ("back", "restarted", "new"):
        plant.tell(status_topic(source), {"status": "online", "session": f"{source} again"})
    assert not answers.complete(plant.now)
    plant.report("restarted", sync="idle", presence="restarted again")
    plant.report("new", sync="idle", presence="new again")
    plant.report("back", {PAUSE: {"id": "", "status": "expired"}}, presence="back again")
    assert answers.complete(plant.now)
    assert lists(change, answers, plant.now) == {
        "applied": ["a"],
        "refused": [{"source": "back", "reason": "expired"}],
    }


@pytest.mark.parametrize("sync", ["synced", "idle"])
def test_a_name_that_two_processes_use_is_no_success_whichever_of_them_is_seen(
    plant: Plant, sync: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was lost when the command began, or the one that is connected runs nothing: the other one may work on."""
    plant.online("a", "press")
    plant.lose("press")
    change = pause()
    answers = plant.begin(change)
    plant.report("a", {PAUSE: APPLIED}, effective=[PAUSED])
    plant.tell(status_topic("press"), {"status": "online", "session": "another"})
    plant.report("press", {PAUSE: APPLIED}, sync=sync, presence="another", contested=True)
    monkeypatch.setattr("time.monotonic", lambda: plant.now)
    assert _ChangePublisher(Mock(), Mock(), Output(StringIO()))._show(change, answers, Wait()) == 1
    assert "two processes use the name press, and" in capsys.readouterr().err


@pytest.mark.parametrize("before", [True, False])
def test_what_one_process_says_of_a_shared_name_another_one_does_not_take_back(
    plant: Plant, before: bool
) -> None:
    """The next report may be of the one that does not know it yet; an engine that has ended says nothing."""
    plant.online("press", "over")
    change = setting("global", "pause", {})
    for source in ("press", "over"):
        plant.report(source, contested=before)
    answers = plant.begin(change)
    for source in ("press", "over"):
        plant.report(source, {PAUSE: APPLIED}, effective=[PAUSED], contested=not before)
        plant.report(source, {PAUSE: APPLIED}, effective=[PAUSED])
    plant.end("over")
    assert answers.contested(plant.now) == ["press"]


@pytest.mark.parametrize(
    ("scope", "named"),
    [
        ("global", "b, c, d, e, f and 3 more"),
        ("source:g", "g"),
        ("source:h", "h"),
        ("source:i", ""),
        ("source:k", ""),
        ("source:a", ""),
    ],
)
def test_engines_that_may_run_on_without_a_link_are_named(
    plant: Plant, scope: str, named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A process without a link runs on; one that ended does not, but another one of its name may."""
    plant.online(*"abcdefghijk")
    for source in "bcdefgi":
        plant.runs(source, f"run of {source}")
    plant.report("h", contested=True)
    plant.report("j", contested=True)
    for source in "bcdefgk":
        plant.lose(source)
    for source in "hij":
        plant.end(source)
    change = setting(scope, "pause", {})
    answers = plant.begin(change)
    plant.report("a", {change.topic: APPLIED}, effective=[PAUSED])
    monkeypatch.setattr("time.monotonic", lambda: plant.now)
    _ChangePublisher(Mock(), Mock(), Output(StringIO()))._show(change, answers, Wait())
    said = f"not connected, so not waited for: {named}; a process of that name that still runs obeys"
    assert (said in capsys.readouterr().err) == bool(named)


@pytest.mark.parametrize("sync", ["syncing", "degraded", "stale"])
def test_an_engine_that_follows_the_broker_badly_is_waited_for(plant: Plant, sync: str) -> None:
    """It has a run, and obeys as soon as it can."""
    plant.online("a")
    plant.report("a", sync=sync, retained=True)
    change = pause()
    answers = plant.begin(change)
    assert not answers.complete(plant.now)
    assert lists(change, answers, plant.now) == {"unknown": [{"source": "a", "why": "silent"}]}


def test_a_clear_waits_for_all_its_registers_and_for_what_still_runs(plant: Plant) -> None:
    """A long report may have left out the entry, and not what is in force; each cleared topic is named."""
    short = constraint_topic("global")
    for topic in (PAUSE, short):
        plant.tell(topic, {"type": "pause"}, retained=True)
    plant.online("a")
    change = clearing("global", "pause", plant.view.registers)
    answers = plant.begin(change)
    plant.report("a", effective=[{**PAUSED, "topic": short}], running=3)
    assert not answers.complete(plant.now)
    plant.report("a", {short: APPLIED}, running=3)
    assert not answers.complete(plant.now)
    plant.report("a", running=3)
    assert answers.complete(plant.now)
    assert not answers.complete(plant.now, drained=True)
    assert lists(change, answers, plant.now) == {"applied": ["a"], "running": 3, "topics": [PAUSE, short]}


@pytest.mark.parametrize(
    ("kind", "name", "left", "more", "applied"),
    [
        ("", "", {"type": "rate_limit", "topic": "cascade/constraints/glob%61l"}, 0, False),
        ("pause", "", {"type": "pause", "topic": "cascade/constraints/glob%61l"}, 0, False),
        ("pause", "", {"type": "rate_limit", "topic": "x"}, 0, True),
        ("pause", "mine", {"type": "pause", "topic": "x"}, 0, True),
        ("", "", {"scope": "task:a", "topic": "x"}, 0, True),
        ("", "", None, 1, False),
        ("pause", "", None, 1, False),
    ],
)
def test_a_clear_is_obeyed_when_the_report_lists_nothing_more_of_it(
    plant: Plant, kind: str, name: str, left: dict[str, Any] | None, more: int, applied: bool
) -> None:
    """Row 49: not while a register of the scope and type is in force under any topic; a report that is cut proves nothing."""
    plant.online("a")
    answers = plant.begin(clearing("global", kind, plant.view.registers, name=name))
    effective = [{**PAUSED, "id": "other", **left}] if left else []
    plant.report("a", effective=effective, more=more)
    kinds = {each.kind for each in answers.get(plant.now, final=True).values()}
    assert kinds == ({"applied"} if applied else {"silent"})
    assert answers.cut(answers.get(plant.now, final=True)) == (["a"] if more else [])


def test_a_clock_that_differs_is_named_where_a_constraint_expires(plant: Plant) -> None:
    """The times in fresh reports show it; one from before the change shows nothing."""
    plant.online("a", "b")
    change = setting("global", "pause", {}, expires_at=2e9)
    answers = plant.begin(change)
    plant.report("a", {PAUSE: APPLIED})
    given = answers.get(plant.now)
    wall = 1e9 + plant.now
    assert list(answers.skewed(given, plant.now, wall)) == []
    plant.now += 1.0
    plant.report("a", {PAUSE: APPLIED})
    assert list(answers.skewed(given, plant.now + 2.0, wall + 3.0)) == []
    assert list(answers.skewed(given, plant.now, wall + 1.0 - 3600)) == [("a", 3600.0)]
    for status, named in (("unsupported", []), ("expired", [("a", 3600.0)])):
        plant.now += 1.0
        plant.report("a", {PAUSE: {**APPLIED, "status": status}})
        found = answers.skewed(answers.get(plant.now), plant.now, 1e9 + plant.now - 3600)
        assert list(found) == named


@pytest.mark.parametrize(
    ("resumed", "other", "held"),
    [
        ("global", "task:*", True),
        ("source:a", "global", True),
        ("task:resize*", "task:resize_all", True),
        ("task:resize*", "task:audit", False),
        ("run:1", "run:2", False),
        ("workflow:a", "workflow:b", False),
        ("run:1", "task:x", True),
        ("global", "gate.power of global", True),
        ("run:1", "gate.power of run:1", True),
    ],
)
def test_a_resume_names_the_pauses_that_still_hold_tasks(
    plant: Plant, resumed: str, other: str, held: bool
) -> None:
    """It is obeyed, and nothing starts all the same."""
    plant.online("a")
    answers = plant.begin(clearing(resumed, "pause", plant.view.registers))
    kind, scope = ("gate.power", resumed) if other.startswith("gate") else ("pause", other)
    row = {**PAUSED, "scope": scope, "type": kind, "topic": constraint_topic(scope, kind)}
    gate = {"state": "closed", "holds": True} if kind != "pause" else {}
    plant.report("a", effective=[{**row, "gate": gate}, {**row, "type": "concurrency", "scope": "global"}])
    given = answers.get(plant.now)
    assert given["a"].kind == "applied"
    assert answers.held(given) == ([{"source": "a", "by": [other]}] if held else [])


def test_a_cancellation_that_has_expired_after_it_was_obeyed_stays_an_answer(plant: Plant) -> None:
    """Its entry is gone after a minute, while --wait --drained waits for a long task; or the run has ended by it."""
    change = setting("task:x", "cancel", {}, expires_at=2e9)
    entry = {"id": change.message["id"] if change.message else "", "status": "applied"}
    plant.online("a", "b")
    answers = plant.begin(change)
    for source in "ab":
        plant.report(source, {change.topic: entry}, running=1)
    assert not answers.complete(plant.now, drained=True)
    plant.report("a")
    plant.report("b", {change.topic: {**entry, "status": "no_match"}})
    assert answers.complete(plant.now, drained=True)
    assert lists(change, answers, plant.now) == {"applied": ["a", "b"]}


@pytest.mark.parametrize(
    ("running", "others", "said"),
    [
        (1, [], "press: 1 task still runs; a call in a thread cannot be stopped\n"),
        (2, [], "press: 2 tasks still run; a call in a thread cannot be stopped\n"),
        (0, [], ""),
        (1, [{**PAUSED, "type": "concurrency", "params": {"limit": 1}}], ""),
    ],
)
def test_calls_that_no_cancel_stops_are_counted_also_when_their_run_has_ended(
    plant: Plant,
    running: int,
    others: list[Any],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The run is cancelled, so the exit code is 0; where other constraints count tasks as well, nothing is known."""
    plant.online("press")
    plant.runs("press", "r1")
    change = setting("run:r1", "cancel", {})
    answers = plant.begin(change)
    entry = {"id": "cancel-run:r1", "status": "no_match"}
    plant.report("press", {change.topic: entry}, effective=others, running=running)
    monkeypatch.setattr("time.monotonic", lambda: plant.now)
    assert answers.complete(plant.now)
    assert answers.complete(plant.now, drained=True) == (running == 0)
    assert _ChangePublisher(Mock(), Mock(), Output(StringIO()))._show(change, answers, Wait()) == 0
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("row", "complete"),
    [
        ({"type": "pause", "topic": constraint_topic("global")}, True),
        ({"type": "cancel", "topic": constraint_topic("global")}, False),
        ({"type": "pause", "expires_at": 2e9}, False),
        ({"type": "pause", "scope": "task:x", "topic": constraint_topic("task:x", "pause")}, False),
    ],
)
def test_a_report_that_is_as_before_shows_the_change_by_what_is_in_force(
    plant: Plant, row: dict[str, Any], complete: bool
) -> None:
    """It may be a stricter register of the scope and type; another type, scope or expiry shows nothing."""
    plant.online("a")
    plant.tell(PAUSE, {"type": "pause", "expires_at": 2e9}, retained=True)
    plant.report("a", {PAUSE: APPLIED}, retained=True)
    answers = plant.begin(pause())
    plant.report("a", {PAUSE: APPLIED}, effective=[{**PAUSED, **row}])
    assert answers.complete(plant.now) is complete


class _Screen(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("change", "wait", "running"),
    [
        (pause(), Wait(), True),
        (setting("global", "concurrency", {"limit": 1}), Wait(), False),
        (setting("global", "concurrency", {"limit": 1}), Wait(drained=True), True),
    ],
)
def test_a_person_reads_a_line_for_each_kind_of_answer(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, change: Change, wait: Wait, running: bool
) -> None:
    """And what still runs, where that matters: after a pause, or after a wait for it; a program reads one for each engine."""
    plant.online("a", "b", "c", "d", "e")
    answers = plant.begin(change)
    assert change.message is not None
    entry = {"id": change.message["id"], "status": "applied"}
    plant.report("a", {change.topic: entry}, running=2)
    plant.report("b", {change.topic: entry}, running=1)
    plant.report("c", {change.topic: {**entry, "status": "rejected", "reason": "too old"}})
    plant.report("d", {change.topic: {**entry, "status": "no_match"}})
    monkeypatch.setattr("time.monotonic", lambda: plant.now)
    screen = _Screen()
    assert _ChangePublisher(Mock(), Mock(), Output(screen))._show(change, answers, wait) == 1
    assert screen.getvalue().splitlines() == [
        "applied     2  a, b",
        "refused     1  c (too old)",
        "unknown     1  e (silent)",
        "no match    1  d",
        *(["running     3  tasks in the scope have not ended yet"] if running else []),
    ]
    for source in ("a", "b"):
        plant.report(source, {change.topic: entry})
    screen = _Screen()
    _ChangePublisher(Mock(), Mock(), Output(screen))._show(change, answers, wait)
    assert "running" not in screen.getvalue()
    pipe = StringIO()
    _ChangePublisher(Mock(), Mock(), Output(pipe))._show(change, answers, wait)
    assert pipe.getvalue().splitlines() == [
        "applied\ta",
        "applied\tb",
        "refused\tc\ttoo old",
        "unknown\te\tsilent",
        "no_match\td",
    ]


@pytest.mark.parametrize(
    ("reports", "drained", "code", "notes"),
    [
        ({"a": "applied", "b": "no_match"}, False, 0, 0),
        ({"a": "applied", "b": "no_match"}, True, 1, 0),
        ({"a": "applied", "b": "rejected"}, False, 1, 0),
        ({"a": "applied"}, False, 1, 0),
        ({"a": "no_match", "b": "no_match"}, False, 1, 0),
        (None, False, 1, 1),
    ],
)
def test_the_exit_code_is_0_only_if_what_was_asked_for_is_true(
    plant: Plant,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    reports: dict[str, str] | None,
    drained: bool,
    code: int,
    notes: int,
) -> None:
    """An engine obeys, none refuses or is silent, and after --drained nothing runs in the scope any more."""
    plant.online(*("ab" if reports is not None else ""))
    change = pause()
    answers = plant.begin(change)
    for source, status in (reports or {}).items():
        plant.report(source, {PAUSE: {"id": "pause-global", "status": status}}, running=1)
    monkeypatch.setattr("time.monotonic", lambda: plant.now)
    assert (
        _ChangePublisher(Mock(), Mock(), Output(StringIO()))._show(change, answers, Wait(drained=drained))
        == code
    )
    assert capsys.readouterr().err.count("no live engine is in the scope global") == notes


@pytest.mark.parametrize(
    ("kind", "name", "cleared"),
    [
        ("", "", ["global", "global/@cancel", "global/@concurrency", "global/@pause", "global/@rate_limit"]),
        ("pause", "", ["global/@pause"]),
        ("concurrency", "", ["global/@concurrency", "global"]),
        ("", "mine", ["global/@pause"]),
        ("pause", "another", []),
        ("cancel", "", ["global/@cancel"]),
    ],
)
def test_a_clear_finds_the_registers_of_its_scope(
    plant: Plant, kind: str, name: str, cleared: list[str]
) -> None:
    """By type and id, also in the short form if that holds the type; never those of another scope."""
    plant.tell(PAUSE, {"type": "pause", "id": "mine"})
    plant.tell(constraint_topic("global", "concurrency"), {"type": "concurrency"})
    plant.tell(constraint_topic("global"), {"type": "concurrency"})
    plant.tell(constraint_topic("run:1", "pause"), {"type": "pause", "id": "mine"})
    change = clearing("global", kind, plant.view.registers, name=name)
    assert [topic.removeprefix("cascade/constraints/") for topic in change.topics] == cleared
    assert change.clears
