"""Every report has at most 64 KiB, whatever the runs are: details go first, then rows, and all is counted."""

from __future__ import annotations

import json
from collections import Counter
from itertools import cycle, pairwise
from typing import Any

import pytest
from admission_parts import Wait
from control_parts import MAX_BYTES, ActiveRun, RowMaker, RunTable, graph_report, runs_report

from cascade.interfaces import ProgressEvent, RunStatus, TaskState, TaskStateEvent
from cascade.wire import to_wire

HEAD = {"v": "1.0", "source": "line", "session": "s"}
WIDE = "\U0001f600"  # twelve bytes in JSON


def run_of(number: int, names: int, *, char: str = "n", tags: int = 0) -> ActiveRun:
    """Return a run with one running, one waiting and one ended task of each name, and texts as long as they may be."""
    run = ActiveRun(
        f"{number:03d}{char * 197}",
        char * 200,
        0.0,
        name=char * 200,
        tags={f"{tag:02d}{char * 198}": char * 200 for tag in range(tags)},
    )
    for index in range(names):
        name = f"{index:04d}{char * 196}"
        run.facts.known[name] = 3
        run.facts.graph.add_call(f"{name}:0", name, "task")
        for state in (TaskState.RUNNING, TaskState.BLOCKED, TaskState.COMPLETED):
            run.count(TaskStateEvent(run.run_id, f"{state.value}:{name}"[:200], name, state, 1.0, 5.0))
        key = f"RUNNING:{name}"[:200]
        run.note_progress(ProgressEvent(run.run_id, key, name, 1.0, 1, 2, message=char * 200, unit=char))
    return run


def waits(run: ActiveRun) -> Counter[Wait]:
    return Counter({Wait("constraint", f"{n}{'t' * 990}", "pause"): n for n in range(1, 40)})


def report(*runs: ActiveRun, table: RunTable | None = None) -> dict[str, Any]:
    table = RunTable() if table is None else table
    rows = RowMaker(10.0, waits=waits)
    made = runs_report(runs, table.history, rows, head=HEAD, count=len(runs), paused=False, now=10.0)
    assert len(json.dumps(made).encode()) <= MAX_BYTES
    return made


@pytest.mark.parametrize("char", ["n", WIDE])
@pytest.mark.parametrize(("runs", "names"), [(1, 10), (1, 5_000), (3, 200), (40, 30), (700, 1)])
def test_a_report_of_runs_fits_and_counts_what_it_leaves_out(runs: int, names: int, char: str) -> None:
    """Every list says how many rows are missing, and `more` how many runs."""
    made = report(*(run_of(number, names, char=char, tags=32) for number in range(runs)))
    assert len(made["runs"]) + made.get("more", 0) == runs
    for row in made["runs"]:
        assert row["counts"] == {"RUNNING": names, "COMPLETED": names, "BLOCKED": names}
        assert row["known"] == 3 * names
        for key, count in (("tasks", names), ("running", names), ("waiting", 39)):
            assert len(row[key]) + row.get(f"{key}_more", 0) == count
        assert len(row["tasks"]) <= 100
        assert len(row["running"]) <= 32
        assert len(row["waiting"]) <= 16


def test_recent_runs_with_long_texts_fit() -> None:
    """Their tags are left out first, then the oldest; `recent_more` counts them."""
    table = RunTable()
    for number in range(10):
        run = run_of(number, 1, char=WIDE, tags=32)
        table.begin(run)
        table.end(run.run_id, status=RunStatus.FAILED, error=WIDE * 500, now=9.0)
    made = report(run_of(99, 5_000), table=table)
    assert len(made["recent"]) + made["recent_more"] == 10
    assert made["recent"][0]["run_id"].startswith("009")
    assert "tags" not in made["recent"][0]


@pytest.mark.parametrize("char", ["n", WIDE])
@pytest.mark.parametrize(("runs", "names"), [(1, 300), (1, 5_000), (5, 300)])
def test_a_report_of_graphs_fits_and_counts_what_it_leaves_out(runs: int, names: int, char: str) -> None:
    """Edges, of which some carry a value and some do not, name only nodes that are there."""
    made_runs = [run_of(number, names, char=char) for number in range(runs)]
    for run in made_runs:
        keys = list(run.facts.graph.calls.items())
        for role, ((start, (first, _)), (end, (second, _))) in zip(cycle(["argument", ""]), pairwise(keys)):
            run.facts.graph.add_edge((start, first), (end, second), role)
    made = graph_report(made_runs, head=HEAD, now=10.0)
    assert len(json.dumps(made).encode()) <= MAX_BYTES
    assert len(made["runs"]) + made.get("more", 0) == runs
    for row in made["runs"]:
        assert len(row["nodes"]) + row.get("more", 0) == names
        assert all(max(edge[:2]) < len(row["nodes"]) for edge in row["edges"])
    assert made["runs"][0]["nodes"]


def row_of(ended: int, known: int, *, now: float, started: float = 0.0) -> dict[str, Any]:
    run = ActiveRun("r1", "add", started)
    run.facts.known["add"], run.facts.unexpanded = known, 0
    for number in range(ended):
        run.count(TaskStateEvent("r1", f"add:{number}", "add", TaskState.COMPLETED, 1.0, 5.0))
    (row,) = RowMaker(now).rows([run], MAX_BYTES)
    return to_wire(row)


def test_the_time_left_is_that_of_the_tasks_left() -> None:
    """It needs ten tasks that have ended, and a clock that has not been set back since the run began."""
    assert row_of(10, 40, now=20.0)["eta_s"] == 60.0
    assert row_of(10, 10, now=20.0)["eta_s"] == 0.0
    assert "eta_s" not in row_of(9, 40, now=20.0)
    assert "eta_s" not in row_of(10, 40, now=20.0, started=25.0)


def test_of_too_many_names_those_with_tasks_that_run_are_shown() -> None:
    """One task that runs says more than many that have ended."""
    run = ActiveRun("r1", "add", 0.0)
    for number in range(200):
        run.facts.known[f"many{number}"] = 9
    run.facts.known["one"] = 1
    run.count(TaskStateEvent("r1", "one:0", "one", TaskState.RUNNING, 1.0, 0.0))
    (row,) = RowMaker(10.0).rows([run], MAX_BYTES)
    assert len(row.tasks) == 100
    assert "one" in row.tasks
    assert row.tasks_more == 101
