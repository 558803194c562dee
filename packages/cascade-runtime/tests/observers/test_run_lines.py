"""The texts of a run's log and of its progress line, event by event, without an engine."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cascade.interfaces import Lifecycle, LifecycleEvent, Redactor, RunStatus, TaskState, TaskStateEvent
from cascade.runtime import EventBus
from cascade.runtime._observers.run_counts import RunCounts, duration, rate
from cascade.runtime._observers.run_log import logged
from cascade.runtime._support.run_facts import RunFacts


@contextmanager
def logged_bus(caplog: pytest.LogCaptureFixture) -> Iterator[EventBus]:
    """Yield a bus whose runs are logged at DEBUG."""
    caplog.set_level(logging.DEBUG, "cascade.run")
    bus = EventBus()
    with logged(bus, Redactor()):
        yield bus


def began(run_id: str = "r1", **more: Any) -> LifecycleEvent:
    return LifecycleEvent(run_id, Lifecycle.ENGINE_STARTED, 10.0, **more)


def ended(status: RunStatus | None, run_id: str = "r1", **more: Any) -> LifecycleEvent:
    return LifecycleEvent(run_id, Lifecycle.ENGINE_STOPPED, 12.5, status, **more)


def task(state: TaskState, task_id: str = "t:0", **more: Any) -> TaskStateEvent:
    return TaskStateEvent(more.pop("run_id", "r1"), task_id, task_id[0], state, 11.0, **more)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [f"{record.levelname} {record.getMessage()}" for record in caplog.records]
    caplog.clear()
    return found


def test_each_change_of_a_task_has_its_line(caplog: pytest.LogCaptureFixture) -> None:
    """An end shows how long the task took; errors and reasons are masked, and what ends well is for DEBUG."""
    with logged_bus(caplog) as bus:
        bus.publish(began())
        assert lines(caplog) == ["INFO run r1 started"]
        for state, more, line in (
            (TaskState.RUNNING, {}, "DEBUG t:0 of run r1 is running"),
            (TaskState.COMPLETED, {"duration_ms": 1500.0}, "DEBUG t:0 of run r1 completed after 1.5 s"),
            (
                TaskState.FAILED,
                {"duration_ms": 20.0, "error": "OSError: password=x9"},
                "INFO t:0 of run r1 failed after 20 ms: OSError: password=***",
            ),
            (
                TaskState.RETRYING,
                {"reason": "attempt 2 of 3", "error": "OSError: no"},
                "INFO t:0 of run r1 is tried again: attempt 2 of 3: OSError: no",
            ),
            (TaskState.BLOCKED, {"reason": "paused"}, "INFO t:0 of run r1 is blocked: paused"),
            (TaskState.SKIPPED, {"reason": "password=x9"}, "INFO t:0 of run r1 is skipped: password=***"),
            (
                TaskState.CANCELLED,
                {"reason": "global is cancelled"},
                "INFO t:0 of run r1 cancelled after 0 ms: global is cancelled",
            ),
        ):
            bus.publish(task(state, **more))
            assert lines(caplog) == [line]


def test_the_end_of_a_run_counts_its_tasks_and_a_second_attempt_counts_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Two attempts of one run id at the same time are two runs, and one that began before the log has no line."""
    with logged_bus(caplog) as bus:
        bus.publish(began(token="a", name="nightly"))
        bus.publish(began(token="b"))
        assert lines(caplog) == ["INFO run r1 (nightly) started", "INFO run r1 started"]
        for number, state in enumerate((TaskState.COMPLETED, TaskState.COMPLETED, TaskState.FAILED)):
            bus.publish(task(state, f"t:{number}", token="a"))
        caplog.clear()
        bus.publish(ended(RunStatus.FAILED, token="a", error="ValueError: password=x9"))
        bus.publish(ended(RunStatus.SUCCEEDED, token="b"))
        bus.publish(ended(RunStatus.SUCCEEDED, token="b"))
        bus.publish(task(TaskState.RUNNING, token="a"))
        bus.publish(task(TaskState.RUNNING, run_id="earlier"))
        assert lines(caplog) == [
            "INFO run r1 failed after 2.5 s: 2 completed, 1 failed: ValueError: password=***",
            "INFO run r1 succeeded after 2.5 s",
        ]


def counted(*events: TaskStateEvent, tasks: int = 0, unexpanded: int = 0) -> RunCounts:
    facts = RunFacts()
    facts.known, facts.unexpanded = {"t": tasks}, unexpanded
    made = RunCounts(10.0, facts)
    for event in events:
        made.count(event)
    return made


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 ms"),
        (0.9994, "999 ms"),
        (1.0, "1.0 s"),
        (59.94, "59.9 s"),
        (60.0, "1:00"),
        (61.9, "1:01"),
        (3599.0, "59:59"),
        (3600.0, "1:00:00"),
        (90061.0, "25:01:01"),
    ],
)
def test_a_duration_is_shown_in_the_unit_that_a_person_would_use(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("tasks", "seconds", "text"),
    [(1, 2.0, "30/min"), (1, 1.0, "1.0/s"), (19, 2.0, "9.5/s"), (20, 2.0, "10/s"), (59, 60.0, "59/min")],
)
def test_a_rate_is_shown_in_the_unit_that_has_digits(tasks: int, seconds: float, text: str) -> None:
    assert rate(tasks, seconds) == text


def test_a_summary_lists_the_states_that_tasks_ended_in() -> None:
    """In the order of the alphabet; a run without a status was cancelled from outside."""
    made = counted(
        task(TaskState.SKIPPED, "t:0"), task(TaskState.COMPLETED, "t:1"), task(TaskState.FAILED, "t:2")
    )
    assert made.summary(ended(RunStatus.FAILED)) == "failed after 2.5 s: 1 completed, 1 failed, 1 skipped"
    assert made.summary(ended(None)).startswith("cancelled after 2.5 s: ")


def test_what_an_earlier_attempt_has_recorded_is_no_skip() -> None:
    """Nor is a failure that it has kept."""
    reasons = [
        "recorded in attempt 1",
        "recorded in attempt 2",
        "its failure was kept in attempt 1",
        "no input",
    ]
    made = counted(*(task(TaskState.SKIPPED, f"t:{n}", reason=reason) for n, reason in enumerate(reasons)))
    line = "succeeded after 2.5 s: 1 skipped, 3 taken from the record"
    assert made.summary(ended(RunStatus.SUCCEEDED)) == line
