"""Cached tasks under constraints: a hit asks nobody, and what has to run asks like any other task."""

import asyncio
from typing import Any

import pytest
from desk import Desk
from observers import watch_tasks

from cascade.interfaces import Hit, TaskCancelledError, TaskState, TaskStateEvent
from cascade.runtime import Engine, LocalConnector, LocalHub, MemoryCache
from cascade.spec import task
from cascade.testkit import eventually

LIMIT = 20.0
"""Seconds after which a run that should end is taken to hang."""


@task(mode="inline")
def squared(x: int) -> int:
    return x * x


@pytest.fixture
def hub() -> LocalHub:
    return LocalHub()


def watched(hub: LocalHub, **settings: Any) -> tuple[Engine, list[TaskStateEvent]]:
    engine = Engine(connector=LocalConnector(hub, source_id="line-3"), **settings)
    return engine, watch_tasks(engine)


def told(events: list[TaskStateEvent]) -> list[str]:
    return [event.state.value for event in events]


async def test_hits_pass_a_pause_and_take_no_token(hub: LocalHub) -> None:
    """What is in the cache does not run, so nothing that limits runs holds or counts it."""
    cache, cached = MemoryCache(), squared.with_cache()
    await Engine(cache_backend=cache).run(cached(3))
    async with Desk(hub) as desk, asyncio.timeout(LIMIT):
        await desk.put("task:squared", "rate_limit", rate="1/h")
        engine, events = watched(hub, cache_backend=cache)
        assert await engine.run([cached(3), cached(3), squared(4)]) == [9, 9, 16]
        await desk.put("global", "pause")
        assert await engine.run(cached(3)) == 9
    assert sorted(told(events)) == ["COMPLETED", "RUNNING", "SKIPPED", "SKIPPED", "SKIPPED"]


async def test_one_of_equal_calls_asks_for_permission(hub: LocalHub) -> None:
    """The others wait for its value without a word: nobody is told as blocked and then as skipped."""
    async with Desk(hub) as desk, asyncio.timeout(LIMIT):
        await desk.put("global", "pause")
        engine, events = watched(hub)
        cached = squared.with_cache()
        run = asyncio.create_task(engine.run([cached(3), cached(3), cached(3)]))
        await eventually(lambda: desk.applied("global", "pause") and events)
        await desk.lift("global", "pause")
        assert await run == [9, 9, 9]
    assert told(events) == ["BLOCKED", "RUNNING", "COMPLETED", "SKIPPED", "SKIPPED"]


async def test_equal_calls_that_are_tried_again_pass_a_limit_of_one(hub: LocalHub) -> None:
    """Who waits for an equal call has no place among those that run, nor in the report's count of them."""
    calls: list[int] = []

    @task(mode="inline")
    def at_second(x: int) -> int:
        calls.append(x)
        if len(calls) == 1:
            raise OSError("not yet")
        return x

    async with Desk(hub) as desk, asyncio.timeout(LIMIT):
        await desk.put("global", "concurrency", limit=1)
        engine, events = watched(hub)
        cached = at_second.with_cache().with_retry(2, delay=0.05)
        run = asyncio.create_task(engine.run([cached(1), cached(1), cached(1)]))
        await eventually(lambda: "RETRYING" in told(events) and desk.reports)
        await eventually(lambda: desk.reports[-1]["in_scope_running"] == 0)
        assert await run == [1, 1, 1]


async def test_i3_a_lookup_that_takes_its_time_lets_nobody_past_a_pause(hub: LocalHub) -> None:
    """I3: what turns out to be missing in the cache asks then, and not before the pause."""
    looking, found = asyncio.Event(), asyncio.Event()

    class Slow(MemoryCache):
        async def get(self, key: str) -> Hit | None:
            looking.set()
            await found.wait()
            return await super().get(key)

    async with Desk(hub) as desk, asyncio.timeout(LIMIT):
        engine, events = watched(hub, cache_backend=Slow())
        run = asyncio.create_task(engine.run(squared.with_cache()(3)))
        await looking.wait()
        await desk.put("global", "pause")
        await eventually(lambda: desk.applied("global", "pause"))
        assert desk.reports[-1]["in_scope_running"] == 0
        found.set()
        await eventually(lambda: events)
        assert told(events) == ["BLOCKED"]
        await desk.lift("global", "pause")
        assert await run == 9
    assert told(events) == ["BLOCKED", "RUNNING", "COMPLETED"]


async def test_cancelling_a_task_by_name_reaches_those_that_wait_for_it(hub: LocalHub) -> None:
    """The one that asks is turned away, and so is each that takes over from it."""
    async with Desk(hub) as desk, asyncio.timeout(LIMIT):
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
