"""Cached tasks under constraints: a hit needs no permission; a miss needs it like any other task."""

import asyncio
from typing import Any

import pytest
from desk import Desk
from observers import watch_tasks

from cascade.interfaces import Hit, TaskCancelledError, TaskState, TaskStateEvent
from cascade.runtime import Engine, LocalConnector, LocalHub, MemoryCache
from cascade.spec import task
from cascade.testkit import eventually, time_limit

LIMIT = 50.0
"""Seconds after which a run that should end counts as hanging."""


@task(mode="inline")
def squared(x: int) -> int:
    return x * x


def watched(hub: LocalHub, **settings: Any) -> tuple[Engine, list[TaskStateEvent]]:
    engine = Engine(connector=LocalConnector(hub, source_id="line-3"), **settings)
    return engine, watch_tasks(engine)


def states(events: list[TaskStateEvent]) -> list[str]:
    return [event.state.value for event in events]


async def test_hits_pass_a_pause_and_take_no_token(hub: LocalHub) -> None:
    """A hit does not run, so no constraint blocks or counts it."""
    cache, cached = MemoryCache(), squared.with_cache()
    await Engine(cache_backend=cache).run(cached(3))
    async with Desk(hub) as desk, time_limit(LIMIT):
        await desk.put("task:squared", "rate_limit", rate="1/h")
        engine, events = watched(hub, cache_backend=cache)
        assert await engine.run([cached(3), cached(3), squared(4)]) == [9, 9, 16]
        await desk.put("global", "pause")
        assert await engine.run(cached(3)) == 9
    assert sorted(states(events)) == ["COMPLETED", "RUNNING", "SKIPPED", "SKIPPED", "SKIPPED"]


async def test_i3_a_slow_lookup_passes_no_task_through_a_pause(hub: LocalHub) -> None:
    """I3: a miss requests permission after the lookup, so a pause that arrived meanwhile blocks it."""
    looking, found = asyncio.Event(), asyncio.Event()

    class Slow(MemoryCache):
        async def get(self, key: str) -> Hit | None:
            looking.set()
            await found.wait()
            return await super().get(key)

    async with Desk(hub) as desk, time_limit(LIMIT):
        engine, events = watched(hub, cache_backend=Slow())
        run = asyncio.create_task(engine.run(squared.with_cache()(3)))
        await looking.wait()
        await desk.put("global", "pause")
        await eventually(lambda: desk.applied("global", "pause"))
        assert desk.last["in_scope_running"] == 0
        found.set()
        await eventually(lambda: events)
        assert states(events) == ["BLOCKED"]
        await desk.lift("global", "pause")
        assert await run == 9
    assert states(events) == ["BLOCKED", "RUNNING", "COMPLETED"]


async def test_cancelling_a_task_by_name_cancels_the_calls_that_wait_for_it(hub: LocalHub) -> None:
    """The call that requests permission is rejected, and so is each call that takes over from it."""
    async with Desk(hub) as desk, time_limit(LIMIT):
        await desk.put("task:squared", "pause")
        engine, events = watched(hub)
        target = [squared.with_cache()(3) for _ in range(3)]
        run = asyncio.create_task(engine.run(target, on_failure="continue"))
        await eventually(lambda: events)
        await desk.put("task:squared", "cancel", expires_at=events[0].timestamp + 3600)
        with pytest.raises(ExceptionGroup) as caught:
            await run
    assert [type(error) for error in caught.value.exceptions] == [TaskCancelledError] * 3
    assert [event.state for event in events].count(TaskState.CANCELLED) == 3
