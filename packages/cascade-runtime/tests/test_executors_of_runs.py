"""What runs do with executors: who is started, and how many calls are handed over."""

import asyncio
import contextlib
import threading
import time
from typing import Any

import pytest
from observers import watch_tasks
from simple_tasks import double

from cascade.interfaces import ExecutorUnavailable, LifecycleEvent, TaskState, TaskStateEvent
from cascade.runtime import Engine, ThreadExecutor
from cascade.spec import Router, task
from cascade.testkit import eventually


@task
def quick(x: int) -> int:
    return x


class Cluster(ThreadExecutor):
    """An executor that has to be started, and may not be there."""

    def __init__(self, *, there: bool = True) -> None:
        super().__init__(2)
        self.there, self.starts, self.settled = there, 0, 0

    async def start(self) -> None:
        self.starts += 1
        await asyncio.sleep(0)
        if not self.there:
            raise ExecutorUnavailable("Cluster", "nobody answers", "start one")

    async def settle(self, timeout: float) -> int:
        self.settled += 1
        return await super().settle(timeout)


@task(mode="cluster")
def far(x: int) -> int:
    return x


@pytest.mark.parametrize("runs", [1, 2])
@pytest.mark.parametrize("modes", [["auto"], ["auto", "thread"], ["one", "other", "thread"]])
async def test_a_task_that_says_running_is_running(modes: list[str], runs: int) -> None:
    """No more tasks are told as RUNNING in threads than there are threads, whatever they are called and run by."""
    executor = ThreadExecutor(2)
    engine = Engine(executors=dict.fromkeys(["one", "other", "thread"], executor))
    running, most = 0, 0

    def count(event: TaskStateEvent) -> None:
        nonlocal running, most
        running += 1 if event.state is TaskState.RUNNING else -1
        most = max(most, running)

    engine.bus.subscribe(TaskStateEvent, count)

    def nap() -> None:
        time.sleep(0.001)

    naps = [task(mode=mode)(nap)() for mode in modes for _ in range(12)]
    await asyncio.gather(*(engine.run(naps) for _ in range(runs)))
    await executor.close()
    assert (running, most) == (0, 2)


async def test_a_run_waits_for_workers_that_another_run_has() -> None:
    """It begins when the other one's task ends, though none of its own does."""
    executor, begun, end = ThreadExecutor(1), threading.Event(), threading.Event()
    engine = Engine(executor=executor)

    @task
    def hold() -> str:
        begun.set()
        end.wait(10)
        return "held"

    first = asyncio.create_task(engine.run(hold()))
    await eventually(begun.is_set)
    lifecycle: list[LifecycleEvent] = []
    engine.bus.subscribe(LifecycleEvent, lifecycle.append)
    second = asyncio.create_task(engine.run(quick.map(x=[1, 2, 3])))
    await eventually(lambda: lifecycle)
    end.set()
    assert (await first, await second) == ("held", [1, 2, 3])
    await executor.close()


async def test_a_stubborn_task_takes_no_worker_from_the_next_run() -> None:
    """What an earlier run could not stop is counted no more when that run is over."""
    executor, begun, let_go = ThreadExecutor(1), asyncio.Event(), asyncio.Event()
    engine = Engine(executor=executor, stop_timeout=0.01)

    async def stubborn() -> None:
        begun.set()
        while not let_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await let_go.wait()

    @task
    def hidden() -> Any:
        return stubborn()

    @task
    async def fail() -> None:
        await begun.wait()
        raise ValueError("boom")

    async with asyncio.timeout(20):
        with pytest.raises(ValueError, match="boom"):
            await engine.run([hidden(), fail()])
        assert await engine.run(quick(1)) == 1
    let_go.set()
    await eventually(lambda: not [t for t in asyncio.all_tasks() if t.get_name() == "hidden-0"])
    await executor.close()


async def test_an_executor_that_no_task_needs_is_left_alone() -> None:
    """A cluster that is not there fails only runs that have a part for it, before their first task."""
    cluster = Cluster(there=False)
    engine = Engine(executors={"cluster": cluster})
    assert await engine.run(double(1)) == 2
    assert (cluster.starts, cluster.settled) == (0, 0)
    events = watch_tasks(engine)
    with pytest.raises(ExecutorUnavailable, match="nobody answers"):
        await engine.run([double(1), far(1)])
    assert events == []


async def test_an_executor_is_started_once_in_each_run_that_uses_it() -> None:
    """Whatever it is called, and however many tasks need it."""
    cluster = Cluster()
    engine = Engine(executor=cluster, executors={"cluster": cluster})

    for runs in (1, 2):
        assert await engine.run([far(1), quick(2), *[far(3) for _ in range(300)]]) == [1, 2, *[3] * 300]
        assert (cluster.starts, cluster.settled) == (runs, runs)
    await cluster.close()


@task
async def known_late() -> Any:
    return far(1)


@task
async def zero() -> int:
    return 0


@pytest.mark.parametrize("cached", [False, True])
async def test_an_executor_is_started_when_a_task_is_found_to_need_it(cached: bool) -> None:
    """A call that is returned or chosen later brings its executor with it, which is started once."""
    cluster = Cluster()
    engine = Engine(executors={"cluster": cluster})
    later = far.with_cache() if cached else far
    assert await engine.run([known_late(), Router(zero(), {0: later.map(x=[4, 5, 4])})]) == [1, [4, 5, 4]]
    assert cluster.starts == 1
    await cluster.close()


async def test_tasks_that_wait_for_an_executor_which_is_not_there_fail_together() -> None:
    """One attempt is made for all that wait for it, and what has no need of it goes on."""
    cluster = Cluster(there=False)
    engine = Engine(executors={"cluster": cluster})
    events = watch_tasks(engine)
    targets = [Router(zero(), {0: far.map(x=[1, 2, 3])}), double(2)]
    with pytest.raises(ExceptionGroup) as told:
        await engine.run(targets, on_failure="continue")
    assert [type(error) for error in told.value.exceptions] == [ExecutorUnavailable] * 3
    assert [e.state for e in events if e.task_name == "far"].count(TaskState.FAILED) == 3
    assert [e.state for e in events if e.task_name == "double"] == [TaskState.RUNNING, TaskState.COMPLETED]
    assert cluster.starts == 1


async def test_routes_that_share_a_task_end_although_its_executor_is_not_there() -> None:
    """Neither waits for what the other one has found out."""
    shared = far(4)
    routes = [Router(zero(), {0: double(shared)}), Router(zero(), {0: shared})]
    async with asyncio.timeout(20):
        with pytest.raises(ExceptionGroup) as told:
            await Engine(executors={"cluster": Cluster(there=False)}).run(routes, on_failure="continue")
    assert [type(error) for error in told.value.exceptions] == [ExecutorUnavailable]
