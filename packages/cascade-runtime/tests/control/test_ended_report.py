"""The report of how runs ended: final, the first failures, and bounded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from control_parts import ActiveRun, RunTable, ended_report

from cascade.interfaces import RunStatus, TaskState, TaskStateEvent

HEAD = {"v": "1.0", "source": "s", "session": "x", "presence": "p"}


def ended(*, names: int, failures: int, text: str = "x", nodes: int = 0) -> list[Any]:
    """Return the runs that are reported after one of so many names, nodes and failed tasks."""
    run = ActiveRun("r", text * 300, 0.0, token="t", tags={text: text})
    for number in range(max(names, nodes)):
        name = f"{text * 100}{number}"
        run.facts.known[name] = 1
        if number < nodes:
            run.facts.graph.add_call(name, name, "task")
    run.facts.known |= {"g": 40, **({"f": failures} if failures else {})}
    for number in range(failures):
        run.count(TaskStateEvent("r", f"f:0[{number}]", "f", TaskState.FAILED, 1.0, error=text * 500))
    for number in range(40):
        run.count(TaskStateEvent("r", f"g:0[{number}]", "g", TaskState.RUNNING, 1.0))
    table = RunTable()
    table.begin(run)
    table.end("r", status=RunStatus.FAILED, error=text * 500, by="ada", now=2.0)
    return table.history.whole


@pytest.mark.parametrize("text", ["x", "ü", "\U0001f525"])
@pytest.mark.parametrize("names", [0, 100, 2_500])
@pytest.mark.parametrize("failures", [0, 20, 300])
def test_a_report_of_ends_stays_below_its_bound_and_says_what_it_leaves_out(
    text: str, names: int, failures: int
) -> None:
    """The graph goes first, then the tasks, then the failures but the first; the row of the run never goes."""
    (run,) = ended(names=names, failures=failures, text=text, nodes=names)
    report = ended_report([run, run], head=HEAD, now=3.0)
    assert len(json.dumps(report)) <= 64 * 1024
    for row in report["runs"]:
        tasks, failed, interrupted = row["tasks"], row["failures"], row["interrupted"]
        assert len(tasks) + row.get("tasks_more", 0) == names + 1 + (failures > 0)
        assert len(failed) + row.get("failures_more", 0) == row["counts"].get("FAILED", 0) == failures
        assert len(interrupted) + row.get("interrupted_more", 0) == row["counts"]["RUNNING"] == 40
        assert [each["task_id"] for each in failed] == [f"f:0[{n}]" for n in range(len(failed))]
        assert bool(failed) == bool(failures)
        assert "graph" not in row or tasks
        assert (row["known"], row["by"]) == (names + failures + 40, "ada")


def test_a_small_report_of_ends_has_everything() -> None:
    """Details go only where there is no room."""
    (run,) = ended(names=3, failures=20, nodes=3)
    (row,) = ended_report([run], head=HEAD, now=3.0)["runs"]
    assert (len(row["graph"]["nodes"]), len(row["tasks"]), len(row["failures"])) == (3, 5, 20)
