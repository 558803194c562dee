"""Executors that take calls ahead: what the engine hands over, reports as running, and withdraws."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest
from desk import Desk
from observers import watch_tasks

from cascade.interfaces import TaskState, TaskStateEvent
from cascade.interfaces.ahead import CallWithdrawn
from cascade.runtime import Engine, LocalConnector, LocalHub
from cascade.spec import task
from cascade.testkit import eventually


class Ahead:
    """Runs calls on the event loop, when the test releases them; it takes ``ahead`` calls more than it runs."""

    ahead = 0

    def __init__(self, workers: int = 2, ahead: int = 3) -> None:
        self.workers = workers
        self.ahead = ahead
        self.given = 0
        self.most = 0
        self.withdrawals = 0
        self.may_withdraw = asyncio.Event()
        self.may_withdraw.set()
        self._free = asyncio.Semaphore(0)
        self._waiting: deque[tuple[asyncio.Future[bool], Callable[[], None]]] = deque()
        self._running = 0
        self._changed: list[Callable[[], None]] = []

    def start_some(self) -> None:
        while self._waiting and self._running < self.workers:
            future, started = self._waiting.popleft()
            if not future.done():
                self._running += 1
                future.set_result(True)
                started()

    def release(self, count: int = 1) -> None:
        for _ in range(count):
            self._free.release()

    def grow(self, workers: int) -> None:
        self.workers = workers
        self.start_some()
        for changed in self._changed:
            changed()

    async def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return await self.run_ahead(function, args, kwargs, lambda: None)

    async def run_ahead(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        started: Callable[[], None],
    ) -> Any:
        permitted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((permitted, started))
        self.given += 1
        self.most = max(self.most, self.given)
        try:
            self.start_some()
            if not await permitted:
                raise CallWithdrawn
            try:
                await self._free.acquire()
                return function(*args, **kwargs)
            finally:
                self._running -= 1
        finally:
            self.given -= 1
            asyncio.get_running_loop().call_soon(self.start_some)  # after the engine has the outcome

    async def withdraw(self) -> None:
        self.withdrawals += 1
        await self.may_withdraw.wait()
        while self._waiting:
            permitted, _ = self._waiting.popleft()
            if not permitted.done():
                permitted.set_result(False)

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        self._changed.append(changed)
        return lambda: self._changed.remove(changed)

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


def has_given(executor: Ahead, count: int) -> bool:
    return executor.given == count


def most_running(events: list[TaskStateEvent]) -> int:
    """Return the largest number of tasks that were reported as running at the same time."""
    most, now = 0, set[str]()
    for event in events:
        now.discard(event.task_id)
        if event.state is TaskState.RUNNING:
            now.add(event.task_id)
        most = max(most, len(now))
    return most


async def test_calls_are_handed_over_ahead_and_reported_as_running_when_they_start() -> None:
    """At most as many run as there are workers, and five calls are there."""
    executor = Ahead(workers=2, ahead=3)
    engine = Engine(executor=executor)
    events = watch_tasks(engine)
    async with running(engine, [work(x) for x in range(20)]) as run:
        await eventually(lambda: executor.given == 5)
        assert [event.state for event in events] == [TaskState.RUNNING] * 2
        executor.release(20)
        assert await run == list(range(20))
    assert executor.most == 5
    assert most_running(events) == 2
    assert [event.state for event in events].count(TaskState.COMPLETED) == 20


async def test_a_task_that_asks_for_more_than_a_call_is_not_handed_over_ahead() -> None:
    """A time limit would begin too early; a resource would be held by what does not run."""
    for asking in (work.with_timeout(60), work.with_constraints(gpu=1), work.with_retry(2)):
        executor = Ahead(workers=2, ahead=3)
        engine = Engine(executor=executor, system_resources={"gpu": 20})
        async with running(engine, [asking(x) for x in range(8)]) as run:
            await eventually(partial(has_given, executor, 2))
            executor.release(8)
            assert await run == list(range(8))
        assert executor.most == 2


async def test_a_pause_is_reported_when_no_call_taken_ahead_can_start(hub: LocalHub, desk: Desk) -> None:
    """Until they are withdrawn the pause is not reported as applied; then their tasks wait for permission."""
    executor = Ahead(workers=2, ahead=3)
    engine = Engine(executor=executor, connector=LocalConnector(hub, source_id="line-3"))
    events = watch_tasks(engine)
    runs: list[Any] = []

    async def note(topic: str, report: dict[str, Any]) -> None:
        runs.append(report["runs"])

    await desk.connector.subscribe("cascade/state/line-3/runs", note)
    async with running(engine, [work(x) for x in range(6)]) as run:
        await eventually(lambda: executor.given == 5)
        executor.may_withdraw.clear()
        await desk.put("global", "pause")
        await eventually(lambda: executor.withdrawals == 1)
        executor.release()  # a later report, on runs, shows that the one on the pause was held back
        await eventually(lambda: runs and runs[-1] and runs[-1][0]["counts"].get("COMPLETED") == 1)
        assert not desk.applied("global", "pause")
        executor.may_withdraw.set()
        await eventually(lambda: desk.applied("global", "pause"))
        executor.release(5)
        await eventually(lambda: executor.given == 0)
        states = [event.state for event in events]
        assert (states.count(TaskState.RUNNING), states.count(TaskState.COMPLETED)) == (3, 3)
        await desk.lift("global", "pause")
        assert await run == list(range(6))
    assert most_running(events) == 2


async def test_workers_that_join_are_used_by_the_run_that_is_active() -> None:
    """No task has to end for that."""
    executor = Ahead(workers=1, ahead=0)
    engine = Engine(executor=executor)
    async with running(engine, [work(x) for x in range(6)]) as run:
        await eventually(lambda: executor.given == 1)
        executor.grow(4)
        await eventually(lambda: executor.given == 4)
        executor.release(6)
        assert await run == list(range(6))
    assert executor._changed == []


async def test_a_failure_cancels_calls_that_were_taken_ahead() -> None:
    """The run ends with the failure; nothing that had not started starts."""

    @task
    def fail() -> None:
        raise ValueError("boom")

    executor = Ahead(workers=1, ahead=3)
    engine = Engine(executor=executor)
    events = watch_tasks(engine)
    async with running(engine, [fail(), *(work(x) for x in range(6))]) as run:
        await eventually(lambda: executor.given == 4)
        executor.release(1)
        with pytest.raises(ValueError, match="boom"):
            await run
    assert {e.task_name for e in events if e.state is TaskState.COMPLETED} == set()
