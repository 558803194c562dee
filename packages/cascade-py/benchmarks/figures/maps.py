"""Large maps: how long they block the event loop, and how soon several engines obey a pause meanwhile."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import cache
from typing import Any

from cascade.interfaces import TaskStateEvent
from cascade.interfaces.topics import constraint_topic
from cascade.runtime import Engine, LocalConnector, LocalHub
from cascade.spec import LazyResult, task
from figures.measure import Settings, run
from figures.table import Row, no_more_than

TITLE = "a map of very many items: CPU time for which the loop's thread serves no other task"

TICK = 0.0005
ENGINES = 5
_BETWEEN_REPORTS = 0.3  # an engine reports at most five times a second


@cache
def _numbers(n: int) -> tuple[int, ...]:
    """Return the same numbers each time: to make them is not work of the engine's."""
    return tuple(range(n))


@task(mode="inline")
def numbers(n: int) -> list[int]:
    """Return the items of a map."""
    return list(_numbers(n))


@task
async def item(x: int) -> int:
    """Do nothing."""
    return x


@task(mode="inline")
def count(values: list[int]) -> int:
    """Take all values, so that a map is gathered."""
    return len(values)


class Gaps:
    """Samples the longest time between two ticks on the loop, in all and without the garbage collector."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.without_collector = 0.0
        self._collected = 0.0
        self._began = 0.0

    async def live(self) -> None:
        """Tick until cancelled."""
        gc.callbacks.append(self._collector)
        try:
            last, collected = time.thread_time(), self._collected
            while True:
                await asyncio.sleep(TICK)
                now = time.thread_time()
                self.longest = max(self.longest, now - last)
                self.without_collector = max(
                    self.without_collector, now - last - (self._collected - collected)
                )
                last, collected = now, self._collected
        finally:
            gc.callbacks.remove(self._collector)

    def _collector(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.thread_time()
        else:
            self._collected += time.thread_time() - self._began


def rows(settings: Settings) -> Iterator[Row]:
    """Measure maps whose items a task gives, their time and memory, and a pause of five engines."""
    large, medium = settings.size(1_000_000), settings.size(100_000)
    rounds = settings.rounds_or(3)
    _numbers(large)
    gaps = [run(_gaps(count(item.map(x=numbers(large))))) for _ in range(rounds)]
    name = f"map of {large:,}"
    yield Row(
        f"{name}: loop blocked", "ms", [g.without_collector * 1e3 for g, _ in gaps], target=no_more_than(20)
    )
    yield Row(
        "- with Python's garbage collector", "ms", [g.longest * 1e3 for g, _ in gaps], target=no_more_than(20)
    )
    yield Row("- one collection of the idle process", "ms", [_collection() * 1e3 for _ in range(rounds)])
    yield Row("- an item", "us", [seconds / large * 1e6 for _, seconds in gaps], target=no_more_than(12))
    yield Row(f"map of {medium:,}: an item", "bytes", [_bytes(medium)], target=no_more_than(400))
    pauses = [run(_pause(medium)) * 1e3 for _ in range(rounds)]
    yield Row(
        f"{ENGINES} maps of {medium:,} report a pause as applied", "ms", pauses, target=no_more_than(50)
    )


async def _gaps(lazy: LazyResult[Any]) -> tuple[Gaps, float]:
    gaps = Gaps()
    living = asyncio.create_task(gaps.live())
    await asyncio.sleep(2 * TICK)
    began = time.thread_time()
    await Engine().run(lazy)
    taken = time.thread_time() - began
    await asyncio.sleep(2 * TICK)  # so that the last gap is seen, too
    living.cancel()
    await asyncio.wait({living})
    return gaps, taken


def _collection() -> float:
    """Return the CPU seconds of one full garbage collection while nothing runs: less is not possible in a run."""
    began = time.thread_time()
    gc.collect()
    return time.thread_time() - began


def _bytes(n: int) -> float:
    """Return the peak of memory for each item."""
    tracemalloc.start()
    try:
        run(Engine().run(count(item.map(x=numbers(n)))))
        return tracemalloc.get_traced_memory()[1] / n
    finally:
        tracemalloc.stop()


async def _pause(n: int) -> float:
    """Return the CPU seconds from a pause until all engines, which expand their maps, report that they obey it."""
    hub, given, applied = LocalHub(), asyncio.Event(), asyncio.Event()
    sources = {f"engine-{k}" for k in range(ENGINES)}

    def on_event(event: TaskStateEvent) -> None:
        if event.task_name == "numbers":
            given.set()

    async def on_report(topic: str, report: dict[str, Any]) -> None:
        if report["applied"]:
            sources.discard(topic.split("/")[2])
            if not sources:
                applied.set()

    async with AsyncExitStack() as stack:
        connectors = [
            await stack.enter_async_context(LocalConnector(hub, source_id=each)) for each in sorted(sources)
        ]
        engines = [Engine(connector=connector) for connector in connectors]
        await asyncio.gather(*(engine.run(count([])) for engine in engines))
        await asyncio.sleep(_BETWEEN_REPORTS)
        engines[-1].bus.subscribe(TaskStateEvent, on_event)
        runs = [asyncio.create_task(engine.run(count(item.map(x=numbers(n))))) for engine in engines]
        desk = await stack.enter_async_context(LocalConnector(hub, source_id="desk"))
        await desk.subscribe("cascade/state/+/constraints", on_report)
        await given.wait()  # all of them expand now
        sent = time.process_time()
        await desk.publish(constraint_topic("global", "pause"), {"type": "pause"}, 1, retain=True)
        await applied.wait()
        taken = time.process_time() - sent
        for each in runs:
            each.cancel()
        await asyncio.wait(runs)
    return taken
