"""The table of active runs counts each task in its present state."""

from cascade.interfaces import RunStatus, TaskState, TaskStateEvent
from cascade.runtime._control.active_run import ActiveRun
from cascade.runtime._control.run_table import RunTable


def table_of(*stories: tuple[str, TaskState]) -> tuple[RunTable, ActiveRun]:
    """Return a table with one run whose tasks went through these states, in this order."""
    table, run = RunTable(), ActiveRun("r1", "report", 1_800_000_000.0)
    table.begin(run)
    for task_id, state in stories:
        table.count(TaskStateEvent("r1", task_id, task_id[0], state, 0.0))
    return table, run


def test_runs_are_counted_by_their_tasks_present_states() -> None:
    """Each task is in one state; a task that ended is only counted, so that memory does not grow with it."""
    table, run = table_of(
        *[(f"a:{n}", TaskState.BLOCKED) for n in range(3)],
        *[(f"a:{n}", TaskState.RUNNING) for n in range(3)],
        ("a:0", TaskState.COMPLETED),
        ("a:1", TaskState.RETRYING),
        ("b:3", TaskState.SKIPPED),
    )
    assert run.counts() == {"RUNNING": 1, "COMPLETED": 1, "SKIPPED": 1, "RETRYING": 1}
    assert (list(run.running), list(run.waiting)) == (["a:2"], ["a:1"])
    assert (list(run.paused), list(run.failed_attempts)) == ([], ["a:1"])
    table.end("r1", status=RunStatus.SUCCEEDED, now=1_800_000_001.0)
    assert (len(table), table.get("r1")) == (0, None)
    (row,) = table.history.recent
    assert row["counts"] == {"RUNNING": 1, "COMPLETED": 1, "SKIPPED": 1, "RETRYING": 1}


def test_an_event_of_another_run_changes_nothing() -> None:
    """The runs of other engines on the same bus are not in this table."""
    table, run = table_of(("a:0", TaskState.RUNNING))
    revision = table.revision
    table.count(TaskStateEvent("other", "x:0", "x", TaskState.RUNNING, 0.0))
    assert (run.counts(), table.revision) == ({"RUNNING": 1}, revision)
