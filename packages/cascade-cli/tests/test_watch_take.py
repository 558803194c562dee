"""The picture of ``cascade watch``, from the messages of several engines."""

from __future__ import annotations

from typing import Any

import pytest
from cli_modules import (
    ConstraintLine,
    EndedLine,
    EngineLine,
    OfferLine,
    Rates,
    RunningLine,
    WaitingLine,
    describe,
)
from view_plant import NOW, WALL, ViewPlant

from cascade.interfaces.topics import constraint_topic, status_topic
from cascade.interfaces.wire import timestamp
from cascade.wire import progress_of

PAUSE = constraint_topic("source:oven", "pause")
SLOTS = constraint_topic("global", "concurrency")


@pytest.fixture
def plant() -> ViewPlant:
    """No engine yet."""
    return ViewPlant()


def test_engines_are_listed_by_status_and_name_with_age_runs_and_notes(plant: ViewPlant) -> None:
    """Those online first; an age is that of the connection, or of the last word of one that is not connected."""
    row = {"run_id": "r1", "target": "t", "started": timestamp(WALL)}
    pause = {"scope": "source:oven", "type": "pause", "topic": PAUSE}
    plant.online("press", age=300.0)
    plant.online("oven", age=60.0)
    plant.report("oven", "runs", runs=[row, {**row, "run_id": "r2"}], recent=[], more=3)
    plant.report("oven", "constraints", sync="syncing", applied={}, effective=[pause])
    plant.report("press", "constraints", sync="synced", applied={}, effective=[])
    for source, last in (("gone", {"reason": "stopped"}), ("dead", {})):
        plant.say(status_topic(source), {"status": "offline", "session": source, **last})
        plant.report(source, "runs", runs=[row], recent=[])
        plant.report(source, "constraints", sync="syncing", applied={}, effective=[pause])
    plant.event("quiet", "r9", 0, task_id="a:0", task_name="a", state="RUNNING", now=NOW - 30)
    plant.report("nameless", "runs", runs=[], recent=[], now=NOW - 20, retained=False)
    assert plant.picture().engines == (
        EngineLine("oven", "online", "60s", 5, "paused, syncing"),
        EngineLine("press", "online", "5m", 0, ""),
        EngineLine("quiet", "unknown", "30s ago", 0, "only events"),
        EngineLine("dead", "lost", "", 0, ""),
        EngineLine("nameless", "lost", "20s ago", 0, ""),
        EngineLine("gone", "ended", "", 0, ""),
    )


def test_workflows_show_their_next_start_and_last_end(plant: ViewPlant) -> None:
    """Each on each engine that offers it; one that takes no request starts nothing by the clock either."""
    last = {"run_id": "audit~7", "status": "Succeeded", "ended": timestamp(WALL - 300)}
    schedule = {"every": "3h", "text": "Every 3 hours", "next": timestamp(WALL + 10_800)}
    audit = {"name": "audit", "doc": "", "params": {}, "overlap": "skip", "accepting": True}
    plant.online("oven")
    plant.report("oven", "workflows", workflows=[{**audit, "last": last, "schedule": schedule}, {**audit, "name": "wash"}])  # fmt: skip
    plant.say(status_topic("dead"), {"status": "offline", "session": "dead"})
    plant.report("dead", "workflows", workflows=[{**audit, "schedule": schedule}])
    assert plant.picture().workflows == (
        OfferLine("audit", "dead", accepting=False, next="", last="", ago=""),
        OfferLine("audit", "oven", accepting=True, next="3h", last="Succeeded", ago="5m"),
        OfferLine("wash", "oven", accepting=True, next="", last="", ago=""),
    )


def test_an_engine_without_presence_that_has_just_reported_has_no_age(plant: ViewPlant) -> None:
    """When it connected is not known, and it is heard of every 10 s."""
    plant.report("nameless", "runs", runs=[], recent=[], now=NOW - 3, retained=False)
    assert plant.picture().engines == (EngineLine("nameless", "online", "", 0, ""),)


def test_runs_of_lost_engines_stand_behind_those_that_run(plant: ViewPlant) -> None:
    """Both by source and id; the title is the name of the run, else its target."""
    for source in ("b", "a"):
        plant.online(source)
        rows = [{"run_id": f"{source}{number}", "target": "t", "name": "n" * number} for number in (2, 0)]
        plant.report(source, "runs", runs=rows, recent=[])
    plant.online("c")
    plant.report("c", "runs", runs=[{"run_id": "c0", "target": ""}], recent=[])
    plant.say(status_topic("a"), {"status": "offline", "session": "a"})
    assert [(run.run_id, run.progress.status, run.title) for run in plant.picture().runs] == [
        ("b0", "Running", "t"),
        ("b2", "Running", "nn"),
        ("c0", "Running", "(unnamed)"),
        ("a0", "Lost", "t"),
        ("a2", "Lost", "nn"),
    ]


def test_each_reason_to_wait_is_in_words_with_the_command_that_lifts_it(plant: ViewPlant) -> None:
    """Only a constraint has a command; a reason of a later version is shown as it is.

    The counts are of the events where all have arrived: no reason has more tasks than wait in all.
    """
    plant.online("oven")
    plant.say(SLOTS, {"type": "concurrency", "params": {"limit": 3}})
    whys: list[dict[str, Any]] = [
        {"why": "constraint", "topic": SLOTS, "type": "concurrency"},
        {"why": "constraint", "topic": PAUSE, "type": "pause"},
        {"why": "constraint", "topic": "foreign/topic", "type": "pause"},
        {"why": "resource", "name": "gpu"},
        {"why": "retry", "until": timestamp(WALL + 90)},
        {"why": "retry"},
        {"why": "slot", "name": "audit"},
        {"why": "slot"},
        {"why": "sync"},
        {"why": "weather"},
        {"why": "constraint", "topic": constraint_topic("task:a*", "pause"), "type": "pause"},
    ]
    rows = [{**why, "n": number} for number, why in enumerate(whys, 1)]
    run = {"run_id": "r", "target": "t", "counts": {"BLOCKED": 9}, "waiting": rows}
    plant.report("oven", "runs", runs=[run], recent=[])
    (panel,) = plant.picture().runs
    assert panel.waiting[2].why == "pause"
    assert [line for line in panel.waiting if line.n != 3] == [
        WaitingLine(1, "at most 3 at a time (global)", "cascade clear global concurrency"),
        WaitingLine(2, "pause (source:oven)", "cascade resume source:oven"),
        WaitingLine(4, "resource gpu is taken", ""),
        WaitingLine(5, "next attempt in 90s", ""),
        WaitingLine(6, "next attempt", ""),
        WaitingLine(7, "the limit of the map audit", ""),
        WaitingLine(8, "all worker slots are taken", ""),
        WaitingLine(9, "the engine waits for its constraints", ""),
        WaitingLine(9, "weather", ""),
        WaitingLine(9, "pause (task:a*)", "cascade resume 'task:a*'"),
    ]


def test_an_older_engine_waits_for_the_pauses_and_limits_in_force_while_tasks_wait(plant: ViewPlant) -> None:
    """A cancellation holds nothing back; without a waiting task or a report on constraints nothing is named."""
    plant.online("oven")
    force = [
        {"scope": "global", "type": "concurrency", "params": {"limit": 3}, "topic": SLOTS},
        {"scope": "run:7", "type": "cancel", "params": {}, "topic": constraint_topic("run:7", "cancel")},
        {"scope": "source:oven", "type": "pause", "params": {}, "topic": PAUSE},
    ]
    waits = {"run_id": "r", "target": "t", "counts": {"BLOCKED": 4}}
    plant.report("oven", "runs", runs=[waits], recent=[])
    assert plant.picture().runs[0].waiting == ()
    plant.report("oven", "constraints", sync="synced", applied={}, effective=force)
    assert plant.picture().runs[0].waiting == (
        WaitingLine(4, "at most 3 at a time (global)", "cascade clear global concurrency"),
        WaitingLine(4, "pause (source:oven)", "cascade resume source:oven"),
    )
    plant.report("oven", "runs", runs=[{**waits, "counts": {"RUNNING": 4}}], recent=[])
    assert plant.picture().runs[0].waiting == ()


def test_running_tasks_of_a_report_show_progress_and_notes(plant: ViewPlant) -> None:
    """A note has the pause, the unit and the task's own words; a task without an id has its name."""
    plant.online("oven")
    since = timestamp(WALL - 12)
    rows = [
        {"task_id": "a:1", "task_name": "a", "since": since, "done": 1, "total": 4, "unit": "rows"},
        {"task_id": "a:2", "task_name": "a", "since": since, "paused": True, "unit": "MB", "message": "late"},
        {"task_id": "", "task_name": "bake"},
    ]
    plant.report("oven", "runs", runs=[{"run_id": "r", "target": "t", "running": rows}], recent=[])
    assert plant.picture().runs[0].running == (
        RunningLine("a:1", "12s", 1, 4, "rows"),
        RunningLine("a:2", "12s", None, None, "paused MB late"),
        RunningLine("bake", "", None, None, ""),
    )


def test_without_a_report_running_tasks_and_failures_are_those_of_the_events(plant: ViewPlant) -> None:
    """The longest first, the latest failure first; what waits or has ended does not run."""
    told = [
        ("a:1", "RUNNING", 5.0),
        ("a:2", "RUNNING", 50.0),
        ("a:3", "BLOCKED", 60.0),
        ("a:4", "FAILED", 30.0),
        ("a:5", "FAILED", 20.0),
        ("a:6", "COMPLETED", 20.0),
    ]
    for seq, (task_id, state, ago) in enumerate(told):
        plant.event("oven", "r", seq, ago=ago, task_id=task_id, task_name="a", state=state, error=f"E{seq}")
    progress: dict[str, Any] = {
        "type": "ProgressEvent",
        "task_id": "a:2",
        "done": 3,
        "total": 9,
        "message": "half",
    }
    plant.event("oven", "r", len(told), **progress)
    (panel,) = plant.picture().runs
    assert panel.running == (
        RunningLine("a:2", "50s", 3, 9, "half"),
        RunningLine("a:1", "5s", None, None, ""),
    )
    assert panel.failures == (("a:5", "E4"), ("a:4", "E3"))
    assert (panel.progress.finished, panel.progress.known) == (3, 6)
    assert (panel.missing, panel.doubt, panel.steps) == (None, "", ())
    (later,) = plant.picture(later=13.0).runs
    assert later.doubt == "its last event came 13s ago: not known whether it still runs"
    plant.online("oven")
    assert plant.picture(later=13.0).runs[0].doubt == ""


def test_runs_that_are_over_show_how_and_when(plant: ViewPlant) -> None:
    """A name stands for the target; a run without a time of its end stands last."""
    plant.online("oven")
    recent = [
        {"run_id": "a", "target": "t", "status": "Weird"},
        {
            "run_id": "b",
            "target": "t",
            "name": "nightly",
            "status": "Failed",
            "error": "ValueError: x",
            "started": timestamp(WALL - 900),
            "ended": timestamp(WALL - 300),
            "counts": {"FAILED": 1},
        },
    ]
    plant.report("oven", "runs", runs=[], recent=recent)
    assert plant.picture().ended == (
        EndedLine(
            "b", "nightly", "oven", progress_of({"FAILED": 1}, status="Failed"), "10m", "5m", "ValueError: x"
        ),
        EndedLine("a", "t", "oven", progress_of({}, status="Ended"), "", "", ""),
    )


def test_a_run_never_shows_more_ended_than_known(plant: ViewPlant) -> None:
    """A report's counts may be ahead of its total; a run without tasks has no share yet, nor has one that may get more."""
    plant.online("oven")
    rows = [
        {"run_id": "a", "target": "t", "counts": {"COMPLETED": 5}, "known": 3, "open": False},
        {"run_id": "b", "target": "t", "counts": {}, "known": 0, "open": False},
        {"run_id": "c", "target": "t", "counts": {"COMPLETED": 1}, "known": 4, "open": True},
        {"run_id": "d", "target": "t", "counts": {"COMPLETED": 4}, "known": 4, "open": True},
    ]
    plant.report("oven", "runs", runs=rows, recent=[])
    found = [run.progress for run in plant.picture().runs]
    assert [(each.finished, each.known, each.percent) for each in found] == [
        (5, 5, 99),
        (0, 0, None),
        (1, 4, None),
        (4, 4, None),
    ]


def test_constraints_show_their_expiry_and_who_obeys_and_refuses(plant: ViewPlant) -> None:
    """An expired one stays until it is cleared."""
    plant.say(SLOTS, {"type": "concurrency", "params": {"limit": 3}, "id": "x", "expires_at": WALL})
    plant.say(PAUSE, {"type": "pause", "id": "x", "by": "olaf", "expires_at": WALL + 7_300})
    plant.say(constraint_topic("run:7", "cancel"), {"type": "cancel", "id": "x"})
    for source, status in (("oven", "applied"), ("press", "unsupported")):
        plant.online(source)
        entry = {"id": "x", "status": status, "reason": "too old"}
        plant.report(source, "constraints", sync="synced", applied={PAUSE: entry}, effective=[])
    assert {line.scope: line for line in plant.picture().constraints} == {
        "global": ConstraintLine("global", "at most 3 at a time", "", "expired", (), ()),
        "run:7": ConstraintLine("run:7", "cancel", "", "", (), ()),
        "source:oven": ConstraintLine(
            "source:oven", "pause", "olaf", "2h left", ("oven",), ("press (too old)",)
        ),
    }


@pytest.mark.parametrize(
    ("kind", "params", "text"),
    [
        ("concurrency", {"limit": 3}, "at most 3 at a time"),
        ("concurrency", {"rate": 3}, "concurrency"),
        ("rate_limit", {"rate": 0.5}, "at most 0.5/s"),
        ("rate_limit", {"rate": 5}, "at most 5/s"),
        ("rate_limit", {"rate": "10/m"}, "at most 10/m"),
        ("rate_limit", {"limit": 3}, "rate_limit"),
        ("rate_limit", {"rate": -(10**16)}, f"at most {-(10**16)}"),
        ("pause", {"limit": 3, "rate": 3}, "pause"),
    ],
)
def test_a_constraint_in_a_few_words(kind: str, params: dict[str, Any], text: str) -> None:
    """A number is a rate per second; other texts are shown as they were written."""
    assert describe(kind, params) == text


def test_a_rate_counts_the_last_ten_seconds_of_each_run() -> None:
    """Older samples are forgotten, and a run that pauses comes to a rate of 0; runs do not disturb each other."""
    rates = Rates()
    key = ("oven", "r")
    assert rates.note(key, 100, 0.0) is None
    assert rates.note(key, 104, 0.5) is None
    assert rates.note(key, 110, 5.0) == 2.0
    assert rates.note(("oven", "other"), 0, 5.0) is None
    assert rates.note(key, 120, 10.0) == 2.0
    assert rates.note(key, 120, 15.0) == 1.0
    assert rates.note(key, 120, 20.0) == 0.0
    assert rates.note(key, 0, 21.0) is None
    assert rates.note(key, 4, 23.0) == 2.0
