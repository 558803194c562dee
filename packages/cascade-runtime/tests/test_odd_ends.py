"""What becomes of a task's helpers, workers, places under a limit and times when it ends, is tried again or is cancelled."""

import asyncio

import pytest
from desk import Desk
from observers import watch_tasks

from cascade.interfaces import TaskState, TaskStateEvent
from cascade.runtime import Engine, LocalConnector, LocalHub
from cascade.spec import task
from cascade.testing import ManualClock
from cascade.testkit import eventually, time_limit

LIMIT = 50.0
"""Seconds after which what has not happened is a failure."""


@pytest.fixture
def engine(hub: LocalHub) -> Engine:
    return Engine(connector=LocalConnector(hub, source_id="line-3"))


def told(events: list[TaskStateEvent], name: str) -> list[tuple[str, float]]:
    return [(event.state.value, event.duration_ms) for event in events if event.task_name == name]


def states(events: list[TaskStateEvent], name: str) -> list[str]:
    return [state for state, _ in told(events, name)]


async def test_each_event_of_a_task_says_how_long_it_has_taken(desk: Desk, hub: LocalHub) -> None:
    """From its first start on, over its attempts and the times between them, until the cancel ends it."""
    clock = ManualClock()
    engine = Engine(connector=LocalConnector(hub, source_id="line-3"), clock=clock)
    events = watch_tasks(engine)

    @task
    async def flaky() -> None:
        clock.advance(1)
        raise OSError("not yet")

    await desk.put("global", "pause")
    run = asyncio.create_task(engine.run([flaky().with_retry(3, delay=1000)], on_failure="continue"))
    await eventually(lambda: states(events, "flaky") == ["BLOCKED"])
    clock.advance(5)
    await desk.lift("global", "pause")
    await eventually(lambda: states(events, "flaky")[-1:] == ["RETRYING"])
    await desk.put("global", "pause")
    await eventually(lambda: engine._parts.admission.policy.constrained)
    clock.advance(1000)
    await eventually(lambda: states(events, "flaky")[-1:] == ["BLOCKED"])
    clock.advance(2)
    await desk.put("task:flaky", "cancel", expires_at=4e9)
    await asyncio.wait({run})
    assert told(events, "flaky") == [
        ("BLOCKED", 0.0),
        ("RUNNING", 0.0),
        ("RETRYING", 1_000.0),
        ("BLOCKED", 1_001_000.0),
        ("CANCELLED", 1_003_000.0),
    ]


async def test_a_second_cancel_of_a_task_that_cleans_up_does_not_interrupt_it(
    desk: Desk, engine: Engine
) -> None:
    """Two registers cover the task: it is cancelled once, with the reason of the first."""
    events = watch_tasks(engine)
    cleaning, clean = asyncio.Event(), asyncio.Event()
    done: list[str] = []

    @task
    async def leads() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            await clean.wait()
            done.append("clean")

    run = asyncio.create_task(engine.run([leads()], on_failure="continue"))
    await eventually(lambda: states(events, "leads") == ["RUNNING"])
    await desk.put("task:leads", "cancel", expires_at=4e9)
    await cleaning.wait()
    await desk.put("task:le*", "cancel", expires_at=4e9)
    await eventually(lambda: desk.applied("task:le*", "cancel"))
    clean.set()
    async with time_limit(LIMIT):
        await asyncio.wait({run})
    assert done == ["clean"]
    assert [event.reason for event in events if event.state is TaskState.CANCELLED] == [
        "task:leads is cancelled until 2096-10-02T07:06:40Z (cascade/constraints/task/leads/@cancel)"
    ]
