"""The list of runs, one run and the last night, as the web page reads them from a collector's file."""

import json
import random
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from collectors import NOW, received
from ops_modules import Change, Received, SqliteFile

from cascade.cli.collected import CollectedFile
from cascade.cli.collected.file import Interrupted
from cascade.cli.collected.listing import Key, RunFilter, RunKey, runs_page
from cascade.cli.collected.night import last_night
from cascade.cli.collected.past import past_run
from cascade.cli.collected.reading import finish
from cascade.cli.collected.runs import latest_runs
from cascade.interfaces.topics import state_topic, status_topic
from cascade.interfaces.wire import timestamp


def life(run: str, seq: int, at: float, source: str = "press", **body: Any) -> Received:
    """The start of a run, or its end if a status is given."""
    what = "ENGINE_STOPPED" if "status" in body else "ENGINE_STARTED"
    body = {
        "type": "LifecycleEvent",
        "event": what,
        "name": "nightly",
        "target": "report",
        "error": "",
        **body,
    }
    return received(seq, at, run=run, source=source, ts=timestamp(at), body=body)


def step(run: str, seq: int, at: float, state: str, key: str = "a:0", **body: Any) -> Received:
    """A state of a task."""
    body = {
        "type": "TaskStateEvent",
        "task_id": key,
        "task_name": key[0],
        "state": state,
        "error": "",
        **body,
    }
    return received(seq, at, run=run, ts=timestamp(at), body=body)


def reported(found: dict[str, Any] | None) -> Any:
    """The row of the run in the report that a page gets."""
    assert found is not None
    report = json.loads(found["messages"][0]["payload"])
    return report["runs"][0]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file of a test is."""
    return tmp_path / "all.sqlite"


def store(path: Path, *messages: Received, changes: tuple[Change, ...] = ()) -> None:
    """Write a collector's file."""
    file = SqliteFile(path)
    file.store(messages, changes)
    file.close()


@pytest.mark.parametrize("most", [1, 7, 100])
def test_pages_are_the_list_as_a_model_has_it(path: Path, most: int, seeded_random: random.Random) -> None:
    """Random runs and filters: all pages together have each run that matches once, the latest first."""
    names, sources = ["nightly", "a%b", "a_b", "BAKE"], ["press-1", "press-2", "oven"]
    statuses = ["Succeeded", "Failed", "Cancelled", "Running"]
    runs = []
    for number in range(60):
        at = NOW + seeded_random.randrange(40)
        name, source, status = (seeded_random.choice(each) for each in (names, sources, statuses))
        runs.append((at, name, status, f"run-{number}", source))
    events = [life(run, 0, at, source, name=name) for at, name, _, run, source in runs]
    events += [
        life(run, 1, at + 1, source, status=status)
        for at, _, status, run, source in runs
        if status != "Running"
    ]
    store(path, *events)
    with CollectedFile(path) as file:
        for _ in range(20):
            chosen = RunFilter(
                name=seeded_random.choice(["", "", "%", "_b", "ake", "RUN-1", "x"]),
                engine=seeded_random.choice(["", "press", "oven"]),
                status=seeded_random.choice(["", *statuses]),
                since=seeded_random.choice([0.0, NOW + 10]),
                until=seeded_random.choice([None, NOW + 30]),
            )
            expected = [
                run
                for at, name, status, run, source in sorted(
                    runs, key=lambda run: (run[0], run[1], run[2], run[3]), reverse=True
                )
                if (chosen.name.lower() in name.lower() or chosen.name.lower() in run.lower())
                and chosen.engine in source
                and chosen.status in ("", status)
                and chosen.since <= at < (chosen.until or NOW * 2)
            ]
            listed: list[str] = []
            behind: Key | None = None
            while True:
                page = finish(runs_page(file, chosen, behind, most=most))
                assert len(page.rows) <= most
                listed += [row["run_id"] for row in page.rows]
                if page.behind is None:
                    break
                behind = page.behind
            assert listed == expected


ENDED: dict[str, Any] = {
    "run_id": "night-7", "token": "t", "target": "report", "name": "nightly", "status": "Cancelled", "error": "cancelled by ann", "by": "ann",
    "started": timestamp(NOW), "ended": timestamp(NOW + 9), "attempt": 1, "counts": {"COMPLETED": 2, "CANCELLED": 58}, "known": 60,
    "tasks": {"a": {"known": 60, "counts": {"COMPLETED": 2, "CANCELLED": 58}, "ms": {"n": 2, "sum": 1.0, "max": 1.0}}},
    "failures": [], "interrupted": [], "graph": {"nodes": [{"id": "a:0", "name": "a", "kind": "map", "known": 60, "counts": {}}], "edges": []},
}  # fmt: skip


def test_a_run_is_as_its_engine_reported_its_end(path: Path) -> None:
    """With what events cannot know: the author, how many tasks were known, the graph. A later attempt is not that end."""
    events = [
        life("night-7", 0, NOW),
        step("night-7", 1, NOW + 1, "RUNNING"),
        step("night-7", 2, NOW + 2, "COMPLETED"),
    ]
    end = life("night-7", 3, NOW + 9, status="Cancelled", error="cancelled by ann")
    report = Change(
        state_topic("press", "ended"), {"v": "1.0", "runs": [ENDED, {"run_id": "other"}, 7]}, NOW + 9
    )
    store(path, *events, end, changes=(report, report))
    key = RunKey("night-7", "press", "local", "default")
    with CollectedFile(path) as file:
        found = finish(past_run(file, key))
        assert ENDED.items() <= reported(found).items()
        assert found is not None
        assert found["bars"] == [["a:0", "a", NOW + 1, NOW + 2, "COMPLETED"]]
        (listed,) = finish(runs_page(file, RunFilter())).rows
        assert (listed["by"], listed["known"], listed["counts"]) == ("ann", 60, ENDED["counts"])
        assert finish(past_run(file, key._replace(source="oven"))) is None
    again = life("night-7", 0, NOW + 20)
    store(
        path,
        received(
            0, NOW + 20, run="night-7", token="u", attempt=2, ts=again.payload["ts"], body=again.event.body
        ),
    )
    with CollectedFile(path) as file:
        found = finish(past_run(file, key))
        row = reported(found)
        assert (row["status"], row.get("by"), row["counts"]) == ("Running", None, {"COMPLETED": 1})


def test_a_run_without_a_report_is_what_its_events_say(path: Path) -> None:
    """Tasks by name, failures in their order, what ran when its engine was lost; log lines and values."""
    said = received(0, NOW + 2, run="night-7", kind="logs", body={"type": "LogEvent", "message": "hot"})
    store(
        path,
        life("night-7", 0, NOW),
        *(step("night-7", 1 + n, NOW + n, "RUNNING", key) for n, key in enumerate(("a:0", "a:1", "b:0"))),
        step("night-7", 4, NOW + 5, "FAILED", "b:0", error="E: x"),
        step("night-7", 5, NOW + 6, "FAILED", "a:1", error="E: y"),
        said,
        changes=(Change(status_topic("press"), {"status": "offline", "session": "s"}, NOW + 30),),
    )
    with CollectedFile(path) as file:
        found = finish(past_run(file, RunKey("night-7", "press", "local", "default")))
    row = reported(found)
    assert (row["status"], row["counts"], row["known"]) == ("Lost", {"RUNNING": 1, "FAILED": 2}, 3)
    assert [(task["task_id"], task["error"]) for task in row["failures"]] == [
        ("b:0", "E: x"),
        ("a:1", "E: y"),
    ]
    assert row["interrupted"] == [{"task_id": "a:0", "task_name": "a", "since": timestamp(NOW)}]
    assert row["tasks"]["a"] == {
        "known": 2,
        "counts": {"RUNNING": 1, "FAILED": 1},
        "ms": {"n": 1, "sum": 5000.0, "max": 5000.0},
    }
    assert found is not None
    (line,) = (each for each in found["messages"] if each["topic"] == said.topic)
    assert json.loads(line["payload"])["body"]["message"] == "hot"


def test_the_last_night_has_runs_pauses_and_lost_links(path: Path) -> None:
    """Those that failed first; a pause ends where it was lifted or expired, a lost link with the next birth. One may have begun before."""
    pause = {"type": "pause", "by": "ann"}
    changes: list[tuple[str, float, dict[str, Any]]] = [
        ("cascade/constraints/global/@pause", -50.0, pause),
        ("cascade/constraints/global/@pause", 10.0, {}),
        ("cascade/constraints/source/press/@pause", 20.0, {**pause, "expires_at": NOW + 25}),
        ("cascade/constraints/task/a*/@pause", 20.0, pause),
        ("cascade/constraints/global/@rate_limit", 20.0, {"type": "rate_limit"}),
        (status_topic("press"), 30.0, {"status": "offline"}),
        (status_topic("press"), 40.0, {"status": "online"}),
        (status_topic("oven"), 30.0, {"status": "offline", "reason": "ended"}),
        ("cascade/constraints/project/etl/@pause", 50.0, pause),
    ]
    store(
        path,
        *(life(run, 0, NOW + at) for run, at in (("good", 5), ("bad", 1), ("early", -500), ("late", 200))),
        *(
            life(run, 1, NOW + at, status=status)
            for run, at, status in (
                ("good", 50, "Succeeded"),
                ("bad", 3, "Failed"),
                ("early", -300, "Failed"),
            )
        ),
        changes=tuple(Change(topic, payload, NOW + at) for topic, at, payload in changes),
    )
    with CollectedFile(path) as file:
        found = finish(last_night(file, NOW, NOW + 100))
    assert [row["run_id"] for row in found["runs"]] == ["bad", "good"]
    bands = sorted(
        (band["start"] - NOW, band["end"] and band["end"] - NOW, band["kind"], band["of"], band["by"])
        for band in found["bands"]
    )
    assert bands == [
        (-50.0, 10.0, "pause", "global", "ann"), (20.0, 25.0, "pause", "source:press", "ann"), (30.0, 40.0, "lost", "press", ""),
        (50.0, None, "pause", "project:etl", "ann"),
    ]  # fmt: skip


def test_a_slow_disk_gets_smaller_questions_and_a_reader_that_has_gone_ends_them(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that takes too long is tried again with fewer rows; the list is the same."""
    store(path, *(life(f"run-{n}", 0, NOW + n) for n in range(300)))
    asked: list[int] = []

    class Slow(CollectedFile):
        def rows(self, query: str, values: Any = (), *, within: float | None = None) -> list[tuple[Any, ...]]:
            if within is not None:
                asked.append(values[-1])
                if values[-1] > 100:
                    raise Interrupted
            return super().rows(query, values, within=within)

    with Slow(path) as file:
        page = finish(runs_page(file, RunFilter(), most=250))
        assert [row["run_id"] for row in page.rows] == [f"run-{n}" for n in reversed(range(50, 300))]
        assert asked[0] > 100 > min(asked)
    with CollectedFile(path) as left:
        left.cancel()
        with pytest.raises(Interrupted):
            finish(runs_page(left, RunFilter()))


def test_a_run_whose_engine_never_came_back_is_lost_for_every_reader(path: Path) -> None:
    """It is as its last report had it. A link that comes back, or events that still come, show that it goes on; another process does not."""

    def says(at: float, *messages: Received, **change: Any) -> tuple[str, str, Any]:
        changes = [Change(status_topic("press"), change, NOW + at)] if change else []
        if change.get("status") == "offline":
            changes.append(Change(state_topic("press", "runs"), last, NOW + at))
        store(path, *messages, changes=tuple(changes))
        with closing(sqlite3.connect(path)) as connection:
            ((status,),) = connection.execute("SELECT status FROM run")
        with CollectedFile(path) as file:
            (listed,) = finish(runs_page(file, RunFilter())).rows
            opened = reported(finish(past_run(file, RunKey("night-7", "press", "local", "default"))))
        assert (opened["status"], opened["counts"], opened["known"]) == (
            status,
            listed["counts"],
            opened["known"],
        )
        return (
            status,
            listed["status"],
            (opened["known"], [each["task_id"] for each in opened["interrupted"]]),
        )

    running = {"task_id": "a:0", "task_name": "a", "since": timestamp(NOW + 1)}
    row = {"run_id": "night-7", "token": "t", "counts": {"RUNNING": 1}, "known": 61, "running": [running]}
    last = {"v": "1.0", "source": "press", "runs": [row], "ts": timestamp(NOW + 2)}
    one, two = ({"status": "online", "host": "pi", "pid": pid} for pid in (1, 2))
    begun = (life("night-7", 0, NOW), step("night-7", 1, NOW + 1, "RUNNING"))
    assert says(0, *begun, **one)[:2] == ("Running", "Running")
    assert says(9, status="offline") == ("Lost", "Lost", (61, ["a:0"]))
    assert says(10, **one)[:2] == ("Running", "Running")
    assert says(20, **two)[:2] == ("Lost", "Lost")
    assert says(30, step("night-7", 2, NOW + 30, "COMPLETED"))[:2] == ("Running", "Running")


def test_a_run_that_went_on_is_not_the_attempt_that_was_lost(path: Path) -> None:
    """Its engine reports both ends, again with each link; that of the later attempt counts, and no lost one ends one that runs."""
    lost = {**ENDED, "status": "Lost", "attempt": 1, "ended": timestamp(NOW + 5)}
    good = {**ENDED, "status": "Succeeded", "token": "u", "attempt": 2, "ended": timestamp(NOW + 9)}

    def ends(*rows: dict[str, Any]) -> Change:
        return Change(state_topic("press", "ended"), {"v": "1.0", "runs": [*rows]}, NOW + 20)

    def status(*messages: Received, ended: Change) -> list[str]:
        store(path, *messages, changes=(ended,))
        with CollectedFile(path) as file:
            return [row["status"] for row in finish(runs_page(file, RunFilter())).rows]

    def second(seq: int, at: float, like: Received) -> Received:
        body = like.event.body
        return received(seq, at, run="night-7", token="u", attempt=2, ts=like.payload["ts"], body=body)

    assert status(life("night-7", 0, NOW), ended=ends(lost)) == ["Lost"]
    assert status(second(0, NOW + 6, life("night-7", 0, NOW + 6)), ended=ends(lost)) == ["Running"]
    stopped = second(1, NOW + 9, life("night-7", 1, NOW + 9, status="Succeeded"))
    assert status(stopped, ended=ends(good, lost)) == ["Succeeded"]
    assert status(ended=ends({**good, "run_id": "other", "token": "x"}, lost)) == ["Succeeded"]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT token FROM ending").fetchall() == [("u",)]


@pytest.mark.parametrize("status", ["Succeeded", "Failed", "Cancelled", "Lost"])
def test_a_run_whose_last_event_was_lost_ended_as_its_engine_reports(path: Path, status: str) -> None:
    """Whether the report comes before the last event or without it, and whatever comes late."""
    row = {**ENDED, "status": status, "error": "no paper", "ended": timestamp(NOW + 5)}
    ended = Change(state_topic("press", "ended"), {"v": "1.0", "runs": [row]}, NOW + 6)
    begin, end = life("night-7", 0, NOW), life("night-7", 2, NOW + 5, status=status, error="no paper")

    def listed(*messages: Received) -> Any:
        store(path, *messages, changes=(ended,))
        with CollectedFile(path) as file:
            (found,) = finish(runs_page(file, RunFilter())).rows
        return found["status"], found["error"], found["ended"]

    as_it_was = (status, "no paper", timestamp(NOW + 5))
    assert listed(step("night-7", 1, NOW + 1, "RUNNING"))[0] != status
    assert listed(begin) == as_it_was
    assert listed() == as_it_was
    assert listed(end) == as_it_was


def test_an_id_that_is_used_again_shows_the_later_run(path: Path) -> None:
    """Without a record it is another run, which takes over no tasks; one that goes on has a higher attempt. Of another engine it is a run of its own."""

    def again(token: str, at: float, *messages: Received, **more: Any) -> list[Received]:
        return [
            received(
                seq, at + seq, run="night-7", token=token, ts=like.payload["ts"], body=like.event.body, **more
            )
            for seq, like in enumerate(messages)
        ]

    first = (
        life("night-7", 0, NOW),
        step("night-7", 1, NOW + 1, "FAILED", "a:0"),
        step("night-7", 2, NOW + 2, "FAILED", "b:0"),
        life("night-7", 3, NOW + 3, status="Failed"),
    )
    later = [life("night-7", 0, NOW + 20, name=""), step("night-7", 1, NOW + 21, "COMPLETED", "b:0")]
    store(path, *first, *again("u", NOW + 20, *later), *again("v", NOW + 30, *later[:1], source="oven"))
    with CollectedFile(path) as file:
        row = reported(finish(past_run(file, RunKey("night-7", "press", "local", "default"))))
    assert (row["status"], row["known"], row["failures"], row["attempt"]) == ("Running", 1, [], 1)
    assert datetime.fromisoformat(row["started"]).timestamp() == NOW + 20
    with CollectedFile(path) as file:
        (found,) = (each for each in latest_runs(file, 10) if each["source"] == "press")
    assert (found["status"], found["target"], found["counts"]) == ("Running", "report", {"completed": 1})

    end = life("night-7", 2, NOW + 22, status="Succeeded")
    store(path, *again("u", NOW + 20, *later, end)[2:])
    with CollectedFile(path) as file, closing(sqlite3.connect(path)) as connection:
        (found,) = (each for each in latest_runs(file, 10) if each["source"] == "press")
        assert (found["status"], found["counts"], found["attempts"]) == ("Succeeded", {"completed": 1}, 1)
        assert connection.execute("SELECT source, step, state, starts FROM step").fetchall() == [
            ("press", "b:0", "COMPLETED", 0)
        ]
        assert connection.execute("SELECT source, status, attempts FROM run ORDER BY source").fetchall() == [
            ("oven", "Running", 1),
            ("press", "Succeeded", 1),
        ]
