"""How runs use executors: when they start them, and how many calls they hand over at the same time."""

import asyncio
import time
from typing import Any

import pytest
from observers import watch_tasks
from simple_tasks import double

from cascade.interfaces import ExecutorUnavailable, TaskState, TaskStateEvent
from cascade.runtime import Engine, ThreadExecutor
from cascade.spec import Router, task
from cascade.testkit import time_limit


class Cluster(ThreadExecutor):
    """An executor that has to be started and may be down."""

    def __init__(self, *, up: bool = True) -> None:
        super().__init__(2)
        self.up, self.starts, self.settled = up, 0, 0

    async def start(self) -> None:
        self.starts += 1
        await asyncio.sleep(0)
        if not self.up:
            raise ExecutorUnavailable("Cluster", "no answer", "start one")

    async def settle(self, timeout: float) -> int:
        self.settled += 1
        return await super().settle(timeout)


@task(mode="cluster")
def far(x: int) -> int:
    return x


@task(mode="other")
def farther(x: int) -> int:
    return x


@pytest.mark.parametrize("runs", [1, 2])
@pytest.mark.parametrize("modes", [["auto"], ["auto", "thread"], ["one", "other", "thread"]])
async def test_a_task_reported_as_running_has_a_thread(modes: list[str], runs: int) -> None:
    """No more tasks are reported as RUNNING than there are threads, whatever their mode and their run."""
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


@task
async def known_late() -> Any:
    return far(1)


@task
async def zero() -> int:
    return 0


@pytest.mark.parametrize("cached", [False, True])
async def test_an_executor_is_started_when_a_later_task_needs_it(cached: bool) -> None:
    """A call that a task returns or a router chooses may need an executor; it is started once."""
    cluster = Cluster()
    engine = Engine(executors={"cluster": cluster})
    later = far.with_cache() if cached else far
    assert await engine.run([known_late(), Router(zero(), {0: later.map(x=[4, 5, 4])})]) == [1, [4, 5, 4]]
    assert cluster.starts == 1
    await cluster.close()


async def test_tasks_that_wait_for_an_executor_that_is_down_fail_together() -> None:
    """One attempt is made for all waiting tasks, and tasks that do not need it go on."""
    cluster = Cluster(up=False)
    engine = Engine(executors={"cluster": cluster})
    events = watch_tasks(engine)
    targets = [Router(zero(), {0: far.map(x=[1, 2, 3])}), double(2)]
    with pytest.raises(ExceptionGroup) as raised:
        await engine.run(targets, on_failure="continue")
    assert [type(error) for error in raised.value.exceptions] == [ExecutorUnavailable] * 3
    assert [e.state for e in events if e.task_name == "far"].count(TaskState.FAILED) == 3
    assert [e.state for e in events if e.task_name == "double"] == [TaskState.RUNNING, TaskState.COMPLETED]
    assert cluster.starts == 1


async def test_routes_that_share_a_task_end_although_its_executor_is_down() -> None:
    """Neither route waits for ever for the other one's failure."""
    shared = far(4)
    routes = [Router(zero(), {0: double(shared)}), Router(zero(), {0: shared})]
    async with time_limit(50):
        with pytest.raises(ExceptionGroup) as raised:
            await Engine(executors={"cluster": Cluster(up=False)}).run(routes, on_failure="continue")
    assert [type(error) for error in raised.value.exceptions] == [ExecutorUnavailable]


async def test_an_executor_that_was_down_is_tried_again_by_the_next_run() -> None:
    """Once it is up, it is started once in each run, whatever its mode is called."""
    cluster = Cluster(up=False)
    engine = Engine(executors={"cluster": cluster, "other": cluster})
    with pytest.raises(ExecutorUnavailable, match="no answer"):
        await engine.run([far(1), farther(2)])
    assert cluster.starts == 1
    cluster.up = True
    assert await engine.run([far(1), farther(2)]) == [1, 2]
    assert cluster.starts == 2
    await cluster.close()
