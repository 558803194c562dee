"""The table of active runs counts each task in its present state."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from control_parts import ActiveRun, RunHistory, RunTable
from fakes import ended_run, recent_run
from hypothesis import given
from hypothesis import strategies as st

from cascade.interfaces import ProgressEvent, RunStatus, TaskState, TaskStateEvent
from cascade.interfaces.events import ENDED_STATES
from cascade.wire import to_wire


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
    assert row.counts == {"RUNNING": 1, "COMPLETED": 1, "SKIPPED": 1, "RETRYING": 1}


STATES = st.sampled_from(list(TaskState))
STORIES = st.lists(
    st.tuples(st.sampled_from(["a:0", "a:1", "b:0", "b:1"]), STATES, st.booleans()), max_size=40
)


@given(STORIES)
def test_each_task_is_counted_in_its_present_state(story: list[tuple[str, TaskState, bool]]) -> None:
    """In whatever states its events say it was, with the progress that it made while it ran."""
    check_counts(story)


def check_counts(story: Iterable[tuple[str, TaskState, bool]]) -> None:
    """Compare the counts after each event with those of a model; a flag has the task report progress."""
    run = ActiveRun("r1", "report", 0.0)
    counts: Counter[str] = Counter()
    open_tasks: dict[str, TaskState] = {}
    running: set[str] = set()
    progress: set[str] = set()
    durations: dict[str, list[float]] = {"a": [], "b": []}
    for number, (task_id, state, progresses) in enumerate(story, 1):
        run.count(TaskStateEvent("r1", task_id, task_id[0], state, 0.0, float(number)))
        counts.subtract([open_tasks.pop(task_id)] if task_id in open_tasks else [])
        counts[state] += 1
        if state in ENDED_STATES:
            durations[task_id[0]].append(float(number))
        else:
            open_tasks[task_id] = state
        if state == TaskState.RUNNING:
            running.add(task_id)
        elif state != TaskState.BLOCKED:  # a running task that is blocked waits at a checkpoint
            running.discard(task_id)
        progress &= running
        if progresses:
            run.note_progress(ProgressEvent("r1", task_id, task_id[0], 0.0, 1.0))
            progress |= running & {task_id}
        assert run.counts() == {state.value: counts[state] for state in TaskState if counts[state]}
        assert {*run.running} == running
        assert run.paused == {each for each in running if open_tasks[each] == TaskState.BLOCKED}
        assert run.waiting == {each: open_tasks[each] for each in open_tasks if each not in running}
        assert {*run.progress} == progress
    for name, totals in run.tasks.items():
        took = durations[name]
        assert (totals.ended, totals.sum_ms, totals.max_ms) == (len(took), sum(took), max(took, default=0.0))


def test_runs_of_an_earlier_process_come_behind_and_once() -> None:
    """The table lists a run of this process once although the broker shows it again, and no old run displaces a newer one."""
    history = RunHistory()
    for number in (20, 21, 22):
        history.ended(ended_run(number))
    earlier = [to_wire(recent_run(number)) for number in (22, *range(19, 0, -1))]
    history.carry_over(earlier)
    ids = [f"r{number}" for number in range(22, 12, -1)]
    assert [row.run_id for row in history.recent] == ids
    assert (len(history.sizes), history.last_status) == (10, "Succeeded")
    history.ended(ended_run(23))
    history.carry_over([to_wire(recent_run(5))])
    assert [row.run_id for row in history.recent] == ["r23", *ids[:-1]]


def test_the_status_of_an_earlier_process_is_the_last_one_until_a_run_ends() -> None:
    history = RunHistory()
    history.carry_over([to_wire(recent_run(7, "Failed")), to_wire(recent_run(6))])
    assert history.last_status == "Failed"
    history.ended(ended_run(8, "Cancelled"))
    history.carry_over([to_wire(recent_run(5))])
    assert (history.last_status, len(history.recent)) == ("Cancelled", 3)


def test_rows_of_an_earlier_process_are_carried_over_as_far_as_they_are_right() -> None:
    """Anyone may have written them: a row with a wrong value, an unknown status or no times is left out, long texts are cut."""
    row = to_wire(recent_run(1))
    wrong: list[dict[str, Any]] = [
        {"status": "Running"},
        {"started": ""},
        {"ended": "soon"},
        {"attempt": "1"},
        {"counts": {"FAILED": -1}},
    ]
    long: dict[str, Any] = dict.fromkeys(("run_id", "target", "name", "error"), "x" * 900) | {
        "counts": {"FAILED": 1, "NEW": 2}
    }
    history = RunHistory()
    history.carry_over([*(row | each for each in wrong), row | long])
    (carried,) = history.recent
    lengths = [len(text) for text in (carried.run_id, carried.target, carried.name, carried.error)]
    assert (lengths, carried.counts) == ([200, 200, 200, 500], {"FAILED": 1})


RUNS = st.lists(st.sampled_from(["Succeeded", "Failed", "Cancelled", "Lost"]), max_size=40)


@given(RUNS, st.integers(min_value=0, max_value=40))
def test_ten_rows_stay_and_the_newest_three_failures_among_them(statuses: list[str], restart: int) -> None:
    """However many runs succeed after them, also beyond a restart of the process; the newest failed run stays whole."""
    history = RunHistory()
    for number, status in enumerate(statuses):
        if number == restart:
            before, history = history, RunHistory()
            history.carry_over([to_wire(row) for row in before.recent])
            history.carry_over_whole([to_wire(row) for row in reversed(before.whole)])
        history.ended(ended_run(number, status))
    kept = [int(row.run_id[1:]) for row in history.recent]
    failed = [number for number, status in enumerate(statuses) if status in ("Failed", "Lost")]
    others = [number for number in range(len(statuses)) if number not in failed[-3:]]
    room = 10 - len(failed[-3:])
    assert kept == sorted({*failed[-3:], *others[-room:]}, reverse=True)
    assert len(history.sizes) == len(kept)
    newest = [len(statuses) - 1] if statuses else []
    assert [int(row.run_id[1:]) for row in history.whole] == [*dict.fromkeys(newest + failed[-1:])]


def test_a_run_of_this_process_is_never_taken_as_one_of_an_earlier_process() -> None:
    """A program that connects again during a run finds its own report on the broker."""
    table = RunTable()
    table.begin(ActiveRun("r1", "report", 0.0, token="c41e07d2"))
    row = to_wire(ended_run(1, "Lost")) | {"token": "c41e07d2"}
    table.history.carry_over([row])
    table.history.carry_over_whole([row])
    assert (table.history.recent, table.history.whole) == ([], [])


def test_an_attempt_that_went_on_stands_only_as_its_later_end() -> None:
    """Failures are kept longer than successes: an earlier one of the same run would be what is left in the end."""
    table = RunTable()
    ends = [
        ("night", RunStatus.FAILED),
        ("night", RunStatus.SUCCEEDED),
        *((f"run-{n}", RunStatus.SUCCEEDED) for n in range(12)),
    ]
    for number, (run_id, status) in enumerate(ends):
        table.begin(ActiveRun(run_id, "report", 0.0, token=str(number)))
        table.end(run_id, status=status, now=float(number))
        assert [row.run_id for row in table.history.recent].count(run_id) == 1
    assert {row.status for row in (*table.history.recent, *table.history.whole)} == {"Succeeded"}
