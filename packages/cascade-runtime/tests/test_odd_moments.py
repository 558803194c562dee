"""Runs that are cancelled, fail or are held at the moment at which it is least convenient."""

import asyncio
import sys
import threading
from typing import Any

import pytest
from simple_tasks import hold, step

from cascade.interfaces import (
    Lifecycle,
    LifecycleEvent,
    ProgressEvent,
    TaskCancelledError,
    TaskState,
    TaskStateEvent,
    WatchItem,
)
from cascade.interfaces.topics import constraint_topic
from cascade.runtime import Engine, LocalConnector, LocalHub, ThreadExecutor, checkpoint
from cascade.runtime.constraints import Obstacle
from cascade.spec import LazyResult, Router, task
from cascade.testkit import eventually

LIMIT = 5.0


class Flaky:
    """A task whose first attempt fails."""

    def __init__(self, *, threaded: bool = False) -> None:
        self.attempts = 0
        self.task = task(name="flaky")(self._plain if threaded else self._run)

    async def _run(self) -> int:
        return self._plain()

    def _plain(self) -> int:
        self.attempts += 1
        if self.attempts == 1:
            raise OSError("not yet")
        return self.attempts


async def write(hub: LocalHub, scope: str, kind: str, **params: Any) -> None:
    async with LocalConnector(hub, source_id="desk") as desk:
        await desk.publish(constraint_topic(scope, kind), {"type": kind, "params": params}, 1, retain=True)


async def test_an_engine_whose_executor_was_not_there_works_afterwards() -> None:
    """A run that ended before its first task was served leaves the turnstile as it was."""

    class Late(ThreadExecutor):
        tries = 0

        async def start(self) -> None:
            self.tries += 1
            if self.tries == 1:
                raise ConnectionError("no cluster")

    @task
    def offloaded() -> None: ...

    engine = Engine(executor=Late(), system_resources={"gpu": 1})
    with pytest.raises(ConnectionError):
        await engine.run(offloaded())
    async with asyncio.timeout(LIMIT):
        assert await engine.run(step(2).with_constraints(gpu=1)) == 2


@pytest.mark.parametrize("turns", range(8))
async def test_a_run_cancelled_at_any_moment_gives_its_resources_back(turns: int) -> None:
    """Also when a task was let pass and is cancelled before its first step."""
    engine = Engine(system_resources={"gpu": 1})
    run = asyncio.create_task(engine.run(hold().with_constraints(gpu=1)))
    for _ in range(turns):
        await asyncio.sleep(0)
    run.cancel()
    await asyncio.wait({run})
    async with asyncio.timeout(LIMIT):
        assert await engine.run(step(1).with_constraints(gpu=1)) == 1


async def test_a_limit_that_comes_during_a_retrys_delay_does_not_count_who_waits() -> None:
    """Who has no slot between two attempts must not be taken for one that runs, and then wait for itself."""
    hub, flaky = LocalHub(), Flaky()
    engine = Engine(connector=LocalConnector(hub, source_id="line-3"))
    reports: list[dict[str, Any]] = []
    async with LocalConnector(hub, source_id="reader") as reader:

        async def hear(topic: str, data: dict[str, Any]) -> None:
            reports.append(data)

        await reader.subscribe("cascade/state/line-3/constraints", hear)
        run = asyncio.create_task(engine.run(flaky.task().with_retry(2, delay=0.3)))
        await eventually(lambda: flaky.attempts)
        await write(hub, "task:flaky", "concurrency", limit=1)
        await eventually(lambda: reports and reports[-1]["applied"])
        assert reports[-1]["in_scope_running"] == 0
        async with asyncio.timeout(LIMIT):
            assert await run == 2


async def test_a_worker_is_free_for_others_during_a_retrys_delay() -> None:
    """The only thread runs what waits while a failed task sits out its delay."""
    flaky = Flaky(threaded=True)
    order: list[str] = []

    @task
    def other() -> None:
        order.append(f"other, after {flaky.attempts} of flaky")

    await Engine(executor=ThreadExecutor(1)).run([flaky.task().with_retry(2, delay=0.2), other()])
    assert order == ["other, after 1 of flaky"]


async def test_a_retry_that_was_held_is_told_as_running_again() -> None:
    """After BLOCKED comes RUNNING, so that nobody takes a running task for one that waits."""
    hub, flaky = LocalHub(), Flaky()
    engine = Engine(connector=LocalConnector(hub, source_id="line-3"))
    states: list[TaskState] = []
    engine.bus.subscribe(TaskStateEvent, lambda event: states.append(event.state))
    run = asyncio.create_task(engine.run(flaky.task().with_retry(2, delay=0.1)))
    await eventually(lambda: flaky.attempts)
    await write(hub, "global", "pause")
    await eventually(lambda: TaskState.BLOCKED in states)
    async with LocalConnector(hub) as desk:
        await desk.publish(constraint_topic("global", "pause"), None, 1, retain=True)
    async with asyncio.timeout(LIMIT):
        assert await run == 2
    assert states == ["RUNNING", "RETRYING", "BLOCKED", "RUNNING", "COMPLETED"]


class SlowToClose:
    """A stream whose end waits for a word."""

    def __init__(self, stream: Any, word: asyncio.Event) -> None:
        self.stream = stream
        self.word = word

    def __aiter__(self) -> Any:
        return self.stream

    async def aclose(self) -> None:
        await self.word.wait()
        await self.stream.aclose()


async def test_a_run_that_ends_takes_nothing_from_the_one_that_has_just_begun() -> None:
    """I3 while one manager is still leaving and the next one follows the broker already."""
    hub, word = LocalHub(), asyncio.Event()

    class Slow(LocalConnector):
        def watch(self, *filters: str) -> Any:
            return SlowToClose(super().watch(*filters), word)

    await write(hub, "task:held", "pause")
    started: list[str] = []

    @task
    async def held() -> None:
        started.append("held")

    engine = Engine(connector=Slow(hub, source_id="line-3"))
    ended, blocked = [], []
    engine.bus.subscribe(LifecycleEvent, lambda e: ended.append(e) if e.status else None)
    engine.bus.subscribe(
        TaskStateEvent, lambda e: blocked.append(e) if e.state is TaskState.BLOCKED else None
    )
    first = asyncio.create_task(engine.run(step()))
    await eventually(lambda: ended)
    assert not first.done()
    second = asyncio.create_task(engine.run(held()))
    await eventually(lambda: blocked)
    word.set()
    await first
    assert engine._turnstile.admission.constrained
    assert not started
    second.cancel()
    await asyncio.wait({second})


@pytest.mark.parametrize("how", ["raises", "ends", "refuses"])
async def test_control_comes_back_after_a_stream_that_failed(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A connector whose stream breaks costs no run anything, one warning, and control for a moment only."""
    hub = LocalHub()
    tries = 0

    class Fragile(LocalConnector):
        def watch(self, *filters: str) -> Any:
            nonlocal tries
            tries += 1
            if tries > 1:
                return super().watch(*filters)
            if how == "refuses":
                raise RuntimeError("not now")
            return broken()

    async def broken() -> Any:
        if how == "raises":
            raise RuntimeError("the stream broke")
        nothing: tuple[WatchItem, ...] = ()
        for never in nothing:
            yield never

    await write(hub, "global", "pause")
    engine = Engine(connector=Fragile(hub, source_id="line-3"))
    events: list[TaskState] = []
    engine.bus.subscribe(TaskStateEvent, lambda event: events.append(event.state))
    run = asyncio.create_task(engine.run(step(1)))
    await eventually(lambda: events)
    assert events == [TaskState.BLOCKED]
    assert [r.getMessage().startswith("the stream of constraints has ended") for r in caplog.records] == [
        True
    ]
    run.cancel()
    await asyncio.wait({run})


async def test_nothing_is_told_of_a_run_that_is_over() -> None:
    """What runs on in a thread tells no progress after ENGINE_STOPPED."""
    begun, release, asked = threading.Event(), threading.Event(), threading.Event()

    @task
    def stubborn() -> None:
        begun.set()
        release.wait(60)
        try:
            checkpoint(done=1)  # type: ignore[unused-awaitable] # in a thread it has waited already
        finally:
            asked.set()

    engine = Engine(stop_timeout=0.01)
    told: list[Any] = []
    for kind in (LifecycleEvent, ProgressEvent):
        engine.bus.subscribe(kind, told.append)
    run = asyncio.create_task(engine.run(stubborn()))
    await eventually(begun.is_set)
    run.cancel()
    await asyncio.wait({run})
    release.set()
    await eventually(asked.is_set)
    await asyncio.sleep(0)  # what a thread hands over comes in the next turn
    assert [type(event) for event in told] == [LifecycleEvent, LifecycleEvent]


async def test_a_task_that_is_asked_to_stop_before_its_first_step_says_so() -> None:
    """Otherwise it would end without a word, and the run would wait for it for ever."""
    engine = Engine()

    run = asyncio.create_task(engine.run(hold()))
    while not (running := [o for o in engine._turnstile.admission.owners() if o.running()]):
        await asyncio.sleep(0)
    running[0].cancel(Obstacle("task:hold is cancelled"), lambda name: name == "hold")
    async with asyncio.timeout(LIMIT):
        with pytest.raises(TaskCancelledError, match="task:hold is cancelled"):
            await run


async def test_a_run_cancelled_at_any_moment_of_its_end_leaves_no_connector_connected() -> None:
    """Also not when the cancel comes between the decision to disconnect and the disconnecting."""
    connector = LocalConnector()
    for turns in range(30):
        engine = Engine(connector=connector)
        heard: list[Lifecycle] = []
        engine.bus.subscribe(LifecycleEvent, lambda event: heard.append(event.event))  # noqa: B023
        run = asyncio.create_task(engine.run(step()))
        while Lifecycle.ENGINE_STOPPED not in heard:
            await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        run.cancel()
        await asyncio.wait({run})
        assert not connector.connected, f"after {turns} turns"


@task
async def slow(x: int) -> int:
    await asyncio.sleep(0)
    return x


@task
async def returns(x: int) -> Any:
    return step(x)


EAGER: dict[str, tuple[LazyResult[Any], object]] = {
    "what needs another one": (slow(step(1)), 1),
    "a map": (step.map(x=slow([1, 2])), [1, 2]),
    "a returned task": (returns(step(3)), 3),
    "a choice": (Router(step(1), {1: slow(4)}), 4),
    "a task that asks first": (step(5).with_cache().with_retry(2), 5),
}


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio has eager tasks from 3.12 on")
@pytest.mark.parametrize("what", EAGER)
async def test_a_loop_that_begins_tasks_in_the_moment_they_are_made_runs_them_too(what: str) -> None:
    """With asyncio.eager_task_factory a task may have ended before anybody knows that it is there."""
    asyncio.get_running_loop().set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - 3.11 lacks it
    target, value = EAGER[what]
    async with asyncio.timeout(LIMIT):
        assert await Engine().run(target) == value
