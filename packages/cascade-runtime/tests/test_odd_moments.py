"""Runs that are cancelled, fail or are held at the moment at which it is least convenient."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Literal

import pytest
from simple_tasks import step

from cascade.interfaces import (
    Lifecycle,
    LifecycleEvent,
    TaskState,
    TaskStateEvent,
    WatchItem,
)
from cascade.interfaces.topics import constraint_topic
from cascade.runtime import Engine, LocalConnector, LocalHub
from cascade.spec import LazyResult, Router, inject, resource, task
from cascade.testkit import eventually, time_limit

LIMIT = 30.0


async def write(hub: LocalHub, scope: str, kind: str, **params: Any) -> None:
    async with LocalConnector(hub, source_id="desk") as desk:
        await desk.publish(constraint_topic(scope, kind), {"type": kind, "params": params}, 1, retain=True)


@pytest.mark.parametrize("how", ["raises", "ends", "refuses"])
async def test_control_comes_back_after_a_stream_that_failed(
    how: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connector whose stream breaks costs no run anything, one warning, and control for a moment only."""
    monkeypatch.setattr(
        "cascade.runtime._admission.wait_reasons.STALL_LIMIT", 3600.0
    )  # no warning of a long pause
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
    (warning,) = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert warning.startswith("line-3: the stream of constraints has ended")
    run.cancel()
    await asyncio.wait({run})


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
async def slow(x: Any) -> Any:
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
    async with time_limit(LIMIT):
        assert await Engine().run(target) == value


class CancelsOne:
    """A task factory that cancels the asyncio task with one number before its first step, as other code may."""

    def __init__(self, number: int) -> None:
        self._left = number
        self.cancelled = False

    def __call__(
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Task[Any]:
        created = asyncio.Task(coroutine, loop=loop, **options)
        if self._left == 0:
            self.cancelled = created.cancel()
        self._left -= 1
        return created


@resource
async def shared() -> AsyncIterator[int]:
    yield 1


@task
async def add_shared(x: int, value: int = inject(shared)) -> int:
    return x + value


@task
async def add_all(values: list[int]) -> int:
    return sum(values)


@task
async def go_on(x: int) -> Any:
    return step(x)


@task
def in_thread(x: int) -> int:
    return x


@pytest.mark.parametrize("on_failure", ["stop", "continue"])
async def test_whichever_asyncio_task_other_code_cancels_before_its_first_step_the_run_ends(
    on_failure: Literal["stop", "continue"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run fails with the name of the task, and gives back what the task held: the engine's next run works."""
    monkeypatch.setattr("cascade.runtime._scheduler.running_tasks._INTERVAL", 0.01)
    loop, number, factory = asyncio.get_running_loop(), 0, CancelsOne(0)
    engine = Engine(system_resources={"gpu": 1})
    while number == 0 or factory.cancelled:
        factory = CancelsOne(number)
        calls: Any = [add_all(step.map(x=[1, 2])), go_on(1), in_thread(2), add_shared(3)]
        target = add_all(calls).with_constraints(gpu=1)
        run = asyncio.create_task(engine.run(target, on_failure=on_failure))
        loop.set_task_factory(factory)  # type: ignore[arg-type]
        try:
            await asyncio.wait({run}, timeout=LIMIT * 4)
        finally:
            loop.set_task_factory(None)
        assert run.done(), f"asyncio task {number}"
        if factory.cancelled:
            assert "cancelled" in repr(run.exception())
        else:
            assert run.result() == 10
        number += 1
    assert number > 8
