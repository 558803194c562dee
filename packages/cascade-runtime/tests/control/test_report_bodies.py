"""Each report, whole: which keys it has, what stands in them, and which texts are masked."""

from collections.abc import Callable, Iterable
from typing import Any

from admission_parts import Wait
from control_parts import (
    ActiveRun,
    RowMaker,
    RunHistory,
    runs_report,
)

from cascade.interfaces import ProgressEvent, TaskState, TaskStateEvent
from cascade.interfaces.wire import timestamp

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
