"""How one run asks for the starts of its tasks, and what it gives back: at moments at which no other task helps.

With a clock that stands still, no timer of the engine looks again at what waits.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from desk import Desk
from observers import watch_tasks

from cascade.interfaces import TaskCancelledError, TaskStateEvent
from cascade.runtime import Engine, LocalConnector, LocalHub, checkpoint
from cascade.spec import task
from cascade.testing import ManualClock
from cascade.testkit import eventually, time_limit

LIMIT = 50.0
"""Seconds after which what has not happened is a failure."""


class Growing:
    """Runs calls on the event loop when the test releases them; workers may join."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.given = 0
        self.watchers: list[Callable[[], None]] = []
        self._released = asyncio.Semaphore(0)

    def release(self, count: int) -> None:
        for _ in range(count):
            self._released.release()

    def grow(self, workers: int) -> None:
        self.workers = workers
        for changed in self.watchers:
            changed()

    async def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.given += 1
        try:
            await self._released.acquire()
            return function(*args, **kwargs)
        finally:
            self.given -= 1

    def watch_workers(self, changed: Callable[[], None]) -> Callable[[], None]:
        self.watchers.append(changed)
        return lambda: self.watchers.remove(changed)

    async def settle(self, timeout: float) -> int:
        return 0

    async def close(self) -> None: ...


@task
def work(x: int) -> int:
    return x


@contextlib.asynccontextmanager
async def running(engine: Engine, targets: Any) -> AsyncIterator["asyncio.Task[Any]"]:
    run = asyncio.create_task(engine.run(targets))
    try:
        yield run
    finally:
        run.cancel()
        await asyncio.wait({run})


def told(events: list[TaskStateEvent], name: str) -> list[str]:
    return [event.state.value for event in events if event.task_name == name]


@pytest.fixture
def engine(hub: LocalHub) -> Engine:
    return Engine(connector=LocalConnector(hub, source_id="line-3"), system_resources={"gpu": 1})


@pytest.mark.parametrize("resources", [{}, {"gpu": 1}])
async def test_workers_that_join_are_used_by_the_run_that_is_active(resources: dict[str, int]) -> None:
    """No task has to end for that, whether the waiting ones were submitted, because they need resources, or not."""
    executor = Growing(workers=1)
    engine = Engine(executor=executor, system_resources={"gpu": 20}, clock=ManualClock())
    async with running(engine, [work(x).with_constraints(**resources) for x in range(6)]) as run:
        await eventually(lambda: executor.given == 1)
        executor.grow(4)
        await eventually(lambda: executor.given == 4)
        executor.release(6)
        assert await run == list(range(6))
    assert executor.watchers == []


async def test_a_cancel_reaches_a_checkpoint_that_a_task_waits_for_as_it_ends(
    desk: Desk, engine: Engine
) -> None:
    """The task cleans up after a helper that a pause holds at a checkpoint: the cancel stops the helper, too."""
    events = watch_tasks(engine)
    ends: list[bool] = []

    @task
    async def leads() -> None:
        async def at_checkpoint() -> None:
            await checkpoint()

        await desk.put("task:leads", "pause")
        await eventually(lambda: desk.applied("task:leads", "pause"))
        helper = asyncio.create_task(at_checkpoint())
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.wait({helper})
            ends.append(helper.cancelled())

    run = asyncio.create_task(engine.run(leads()))
    await eventually(lambda: told(events, "leads") == ["RUNNING", "BLOCKED"])
    await desk.put("task:leads", "cancel", expires_at=4e9)
    async with time_limit(LIMIT):
        with pytest.raises(TaskCancelledError):
            await run
    assert ends == [True]
    assert told(events, "leads") == ["RUNNING", "BLOCKED", "CANCELLED"]
