"""Inline tasks without an asyncio task of their own behave as tasks that have one."""

import asyncio
import contextvars
import time
from collections.abc import Callable
from typing import Any

import pytest
from desk import Desk
from observers import watch_tasks
from simple_tasks import double, hold

from cascade.interfaces import RunCancelledError, TaskCancelledError, TaskStateEvent
from cascade.runtime import Engine, LocalConnector, LocalHub, checkpoint
from cascade.spec import LazyResult, task
from cascade.testkit import eventually

LIMIT = 60
VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@task(mode="inline")
def noop(x: Any = None) -> Any:
    return x


@task(mode="inline")
def call(function: Callable[[], Any]) -> Any:
    return function()


@task(mode="inline")
def fails(error: BaseException) -> None:
    raise error


def states(events: list[TaskStateEvent]) -> list[tuple[str, str]]:
    return [(e.task_id, e.state.value.lower()) for e in events]


def chain(n: int) -> LazyResult[Any]:
    last = noop(0)
    for _ in range(n - 1):
        last = noop(last)
    return last


async def test_a_coroutine_that_a_function_returns_is_awaited_in_its_context() -> None:
    """It sees what the function has set, runs in an asyncio task, and its end is the task's."""

    async def later() -> tuple[str, str]:
        await asyncio.sleep(0)
        current = asyncio.current_task()
        return VARIABLE.get(), current.get_name() if current is not None else ""

    def begin() -> Any:
        VARIABLE.set("set by the function")
        return later()

    engine = Engine()
    events = watch_tasks(engine)
    assert await engine.run(call(begin)) == ("set by the function", "call:0")
    assert states(events) == [("call:0", "running"), ("call:0", "completed")]


async def test_an_interrupt_in_a_call_ends_the_run() -> None:
    """It is reported as the task's failure and raised by the run; other tasks are cancelled."""
    error = KeyboardInterrupt()
    engine = Engine()
    events = watch_tasks(engine)
    with pytest.raises(KeyboardInterrupt):
        await engine.run([hold(), fails(error).after(double(1)), noop().after(double(2), double(3))])
    assert ("fails:0", "failed") in states(events)
    assert ("hold:0", "cancelled") in states(events)


async def test_a_cancelled_error_that_a_call_raises_is_a_failure() -> None:
    """The run did not cancel the task."""
    with pytest.raises(TaskCancelledError, match="had been cancelled"):
        await Engine().run(fails(asyncio.CancelledError()))


async def test_a_checkpoint_reports_and_stops_a_call_whose_run_is_over() -> None:
    """A call that cancels its own run is stopped at its next checkpoint."""
    reached: list[str] = []

    def stop_the_run() -> None:
        _ = checkpoint(done=1)
        run.cancel()
        reached.append("cancel")

    run = asyncio.create_task(Engine().run([call(stop_the_run), call(lambda: reached.append("next"))]))
    with pytest.raises(asyncio.CancelledError):
        await run
    assert reached == ["cancel"]


@pytest.mark.full
@pytest.mark.process
async def test_a_chain_of_100_000_calls_neither_recurses_nor_blocks() -> None:
    """The loop runs other callbacks meanwhile."""
    turns = 0
    done = False

    async def others() -> None:
        nonlocal turns
        while not done:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(others())
    assert await Engine().run(chain(100_000)) == 0
    done = True
    await counting
    assert turns > 100


@pytest.mark.parametrize("scope", ["run:night", "task:call"])
async def test_a_cancel_that_arrives_between_two_batches_stops_the_other_calls(scope: str) -> None:
    """A cancel of the run or of all tasks with this name: the run ends, and no further call starts."""
    hub = LocalHub()
    called = 0

    def work() -> None:
        nonlocal called
        called += 1

    async with Desk(hub) as desk:
        engine = Engine(connector=LocalConnector(hub, source_id="line-3"))

        async def cancel() -> None:
            await eventually(lambda: called > 0)
            await desk.put(scope, "cancel", expires_at=time.time() + LIMIT)

        with pytest.raises((RunCancelledError, TaskCancelledError)):
            await asyncio.gather(engine.run([call(work) for _ in range(20_000)], run_id="night"), cancel())
    assert 0 < called < 20_000
