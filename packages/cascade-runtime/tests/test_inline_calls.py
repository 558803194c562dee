"""Inline tasks without an asyncio task of their own behave as tasks that have one."""

import asyncio
import contextvars
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from desk import Desk
from fakes import FakeClock
from observers import hold_the_loop, watch_tasks
from simple_tasks import collect, double, give, hold

from cascade.interfaces import RunCancelledError, TaskCancelledError, TaskStateEvent
from cascade.runtime import Engine, LocalConnector, LocalHub, checkpoint
from cascade.spec import LazyResult, task
from cascade.testkit import eventually, time_limit
from cascade.transport.event_loop import LOOP_BUDGET

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


async def test_no_asyncio_task_is_made_for_an_inline_call() -> None:
    """Neither the call nor the calls that wait for it; an async task has one, as before."""
    seen: list[object] = []
    mine = asyncio.all_tasks()

    def look() -> None:
        seen.extend(asyncio.all_tasks() - mine)
        seen.append(asyncio.current_task())

    await Engine().run(call(look).after(call(look), double(1)))
    assert seen == [None, None]


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


async def test_a_run_that_ends_cancels_the_coroutine_of_an_inline_task() -> None:
    """The part that awaits is cancelled as any other task is."""
    waits = asyncio.Event()

    async def later() -> None:
        waits.set()
        await asyncio.Event().wait()

    engine = Engine()
    events = watch_tasks(engine)
    run = asyncio.create_task(engine.run(call(later)))
    await waits.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert states(events) == [("call:0", "running"), ("call:0", "cancelled")]


async def test_events_come_in_the_order_of_the_graph() -> None:
    """Every task is reported as running and completed before the next one, dependents after what made them ready."""
    engine = Engine()
    events = watch_tasks(engine)
    first, second = give("a"), give("b")
    await engine.run(collect(noop(first), noop(second)))
    order = ["give:0", "give:1", "noop:0", "noop:1", "collect:0"]
    assert states(events) == [(key, state) for key in order for state in ("running", "completed")]


async def test_the_first_failure_ends_the_run_before_the_next_call() -> None:
    """Calls that are ready do not start, and the error has its note."""
    called: list[int] = []
    calls = [call(partial(called.append, n)) for n in range(3)]
    with pytest.raises(ValueError, match="boom") as raised:
        await Engine().run([calls[0], fails(ValueError("boom")), *calls[1:]])
    assert called == [0]
    assert "in task 'fails' (fails:0)" in raised.value.__notes__[0]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
async def test_an_interrupt_in_a_call_ends_the_run(error: BaseException) -> None:
    """It is reported as the task's failure and raised by the run; other tasks are cancelled."""
    engine = Engine()
    events = watch_tasks(engine)
    with pytest.raises(type(error)):
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


async def test_the_loop_runs_other_callbacks_while_many_calls_are_ready() -> None:
    """A batch ends when its time is over, whatever its calls do: here by the clock of the engine."""
    clock = FakeClock()
    called: list[int] = []
    between: list[int] = []

    def work() -> None:
        called.append(1)
        clock.ticks += LOOP_BUDGET / 2
        asyncio.get_running_loop().call_soon(lambda: between.append(len(called)))

    await Engine(clock=clock).run([call(work) for _ in range(100)])
    assert between[0] == 2
    assert set(between) == set(range(2, 101, 2))


@pytest.mark.full
@pytest.mark.process
async def test_a_pause_that_arrives_between_two_batches_holds_the_other_calls() -> None:
    """Once it is reported as applied nothing starts; lifting it continues the run."""
    hub = LocalHub()
    called = 0

    def work() -> int:
        nonlocal called
        called += 1
        return called

    async with Desk(hub) as desk:
        engine = Engine(connector=LocalConnector(hub, source_id="line-3"))
        calls = [call(work) for _ in range(20_000)]
        run = asyncio.create_task(engine.run(calls))
        await eventually(lambda: called > 0)
        await desk.put("global", "pause")
        await eventually(lambda: desk.applied("global", "pause"))
        held = called
        assert 0 < held < len(calls)
        for _ in range(100):
            await asyncio.sleep(0)
        assert called == held
        await desk.lift("global", "pause")
        async with time_limit(LIMIT):
            assert sorted(await run) == list(range(1, 20_001))


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


async def test_a_cancel_of_the_run_during_a_batch_stops_it() -> None:
    """Another callback of the loop cancels the run: the calls that are ready do not start."""
    called = 0

    def work() -> None:
        nonlocal called
        called += 1
        if called == 10:
            runs[0].cancel()

    runs = [asyncio.create_task(Engine().run([call(work) for _ in range(1_000)]))]
    with pytest.raises(asyncio.CancelledError):
        await runs[0]
    assert called == 10


@pytest.mark.full
@pytest.mark.process
def test_an_inline_task_that_blocks_the_loop_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """The warning names the step although it has no asyncio task."""

    def lines() -> list[str]:
        return [r.getMessage() for r in caplog.records if "holds the event loop" in r.getMessage()]

    with caplog.at_level(logging.WARNING, "cascade.engine"):
        asyncio.run(Engine().run(call(lambda: hold_the_loop(lines)).after(noop())))
    (line,) = lines()
    assert "'call:0'" in line
