"""Each report, whole: which keys it has, what stands in them, and which texts are masked."""

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

from admission_parts import Wait
from control_parts import (
    ActiveRun,
    RowMaker,
    RunHistory,
    RunTable,
    host_report,
    runs_report,
)

from cascade.interfaces import ProgressEvent, RunStatus, TaskState, TaskStateEvent
from cascade.interfaces.wire import timestamp
from cascade.runtime import LocalConnector

HEAD = {"v": "1.0", "source": "line", "session": "s"}
BEGAN = 1_800_000_000.0


def event(task_id: str, state: TaskState, at: float, took: float = 0.0) -> TaskStateEvent:
    return TaskStateEvent("r1", task_id, task_id.partition(":")[0], state, BEGAN + at, took)


def mask(text: str) -> str:
    """Stand in for what masks secrets in free text."""
    return text.replace("secret", "***")


def reported(
    runs: Iterable[ActiveRun],
    history: RunHistory | None = None,
    *,
    clean: Callable[[str], str] = mask,
    **more: Any,
) -> dict[str, Any]:
    """Return the report of runs 20 s after they began."""
    rows = RowMaker(BEGAN + 20, clean=clean, **more)
    listed = list(runs)
    return runs_report(
        listed, history or RunHistory(), rows, head=HEAD, count=len(listed), paused=True, now=BEGAN + 20
    )


def busy_run() -> ActiveRun:
    """Return a run with a task in every state that a report shows apart."""
    run = ActiveRun("r1", "secret target", BEGAN, name="secret name", tags={"site": "secret"}, attempt=3)
    run.lost_before = 2
    run.facts.known.update(load=20, store=4)
    run.facts.unexpanded = 0
    for number in range(10):
        run.count(event(f"load:{number}", TaskState.RUNNING, 1.0))
        run.count(event(f"load:{number}", TaskState.COMPLETED, 2.0, 1.0 + number))
    run.count(event("load:10", TaskState.RUNNING, 3.0))
    run.count(event("load:11", TaskState.RUNNING, 4.0))
    run.count(event("load:11", TaskState.BLOCKED, 5.0))
    run.count(event("load:12", TaskState.BLOCKED, 5.0))
    run.count(event("store:0", TaskState.RETRYING, 6.0))
    run.facts.retries["store:0"] = BEGAN + 30
    run.note_progress(ProgressEvent("r1", "load:10", "load", BEGAN, 5, 8, message="secret row", unit="rows"))
    run.facts.graph.add_call("load:0", "load", "map")
    run.facts.graph.add_call("store:0", "store", "task")
    return run


def test_a_report_of_runs_shows_all_that_is_known_of_a_run() -> None:
    """Its target, name, tags and what its tasks say are free text, and masked."""
    waits = {Wait("constraint", "topic", "rate_limit"): 2, Wait("slot", "load"): 1, Wait("sync"): 0}
    made = reported([busy_run()], waits=lambda run: waits, ids=lambda topic: f"id of {topic}", lost=9)
    now = timestamp(BEGAN + 20)
    (row,) = made.pop("runs")
    assert made == {**HEAD, "recent": [], "paused": True, "ts": now}
    assert row == {
        "run_id": "r1",
        "target": "*** target",
        "name": "*** name",
        "tags": {"site": "***"},
        "started": timestamp(BEGAN),
        "attempt": 3,
        "counts": {"RUNNING": 1, "COMPLETED": 10, "BLOCKED": 2, "RETRYING": 1},
        "known": 24,
        "open": False,
        "eta_s": 28.0,
        "tasks": {
            "load": {
                "known": 20,
                "counts": {"RUNNING": 1, "COMPLETED": 10, "BLOCKED": 2},
                "ms": {"n": 10, "sum": 55.0, "max": 10.0},
            },
            "store": {"known": 4, "counts": {"RETRYING": 1}},
        },
        "running": [
            {
                "task_id": "load:10",
                "task_name": "load",
                "since": timestamp(BEGAN + 3),
                "done": 5,
                "total": 8,
                "message": "*** row",
                "unit": "rows",
                "paused": False,
            },
            {"task_id": "load:11", "task_name": "load", "since": timestamp(BEGAN + 4), "paused": True},
        ],
        "waiting": [
            {"why": "constraint", "topic": "topic", "type": "rate_limit", "id": "id of topic", "n": 2, "since": now},
            {"why": "slot", "name": "load", "n": 1, "since": now},
            {"why": "retry", "n": 1, "until": timestamp(BEGAN + 30)},
        ],
        "graph": {"rev": 2, "nodes": 2},
        "lost": 7,
    }  # fmt: skip


def test_no_end_is_estimated_while_a_pause_holds_tasks() -> None:
    """Until when is not known; any other reason to wait is part of the rate so far."""
    for kind, is_estimated in (("pause", False), ("concurrency", True)):
        (row,) = reported([busy_run()], waits=lambda run, kind=kind: {Wait("constraint", "t", kind): 1})[
            "runs"
        ]
        assert ("eta_s" in row) is is_estimated


def test_what_remains_of_a_run_that_has_ended() -> None:
    """With its name and tags only where it has them; its error is masked, too."""
    table, run = RunTable(), busy_run()
    table.begin(run)
    table.end("r1", status=RunStatus.FAILED, error="secret: no", now=BEGAN + 7.5, clean=mask)
    table.begin(ActiveRun("r2", "add", BEGAN))
    table.end("r2", status=RunStatus.SUCCEEDED, now=BEGAN + 1)
    second, first = reported([], table.history)["recent"]
    assert first == {
        "run_id": "r1",
        "target": "*** target",
        "name": "*** name",
        "tags": {"site": "***"},
        "status": "Failed",
        "error": "***: no",
        "started": timestamp(BEGAN),
        "ended": timestamp(BEGAN + 7.5),
        "attempt": 3,
        "duration_ms": 7500.0,
        "counts": {"RUNNING": 1, "COMPLETED": 10, "BLOCKED": 2, "RETRYING": 1},
    }
    assert second == {
        "run_id": "r2",
        "target": "add",
        "status": "Succeeded",
        "error": "",
        "started": timestamp(BEGAN),
        "ended": timestamp(BEGAN + 1),
        "attempt": 1,
        "duration_ms": 1000.0,
        "counts": {},
    }
    assert (table.history.completed, table.history.failed) == (10, 0)


def test_a_host_reports_its_link_without_what_a_newer_report_replaced() -> None:
    """A report that was superseded was not lost; the other counts stand as the connector has them."""
    names = ("connections", "accepted", "sent", "pending", "sanitized", "received", "delivered", "window")
    counts = {name: number for number, name in enumerate(names, 1)}

    class Counting(LocalConnector):
        def statistics(self) -> Any:
            dropped = {"superseded": 50, "outbox full": 3, "too large": 4}
            return SimpleNamespace(**counts, dropped=dropped, discarded={"a": 1, "b": 2})

    made = host_report(Counting(), head=HEAD, labels={"site": "secret"}, clean=mask, now=BEGAN)
    assert made["link"] == {**counts, "dropped": 7, "discarded": 3}
    assert made["labels"] == {"site": "***"}
    assert (made["v"], made["source"], made["ts"]) == ("1.0", "line", timestamp(BEGAN))
    assert set(made) == {
        *HEAD, "os", "machine", "python", "cascade", "cpus", "load1", "rss", "memory", "link", "labels", "ts",
    }  # fmt: skip
