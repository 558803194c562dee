"""Inline tasks without an asyncio task of their own behave as tasks that have one."""

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

import pytest
from observers import watch_tasks
from simple_tasks import double, hold

from cascade.interfaces import TaskCancelledError, TaskStateEvent
from cascade.runtime import Engine
from cascade.spec import LazyResult, task

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
