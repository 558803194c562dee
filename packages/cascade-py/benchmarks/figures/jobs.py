"""The jobs that are run with and without a connector, and the moments of a run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cascade.interfaces import Connector, Executor, Lifecycle, LifecycleEvent
from cascade.runtime import Engine, EventBus
from cascade.spec import LazyResult, task

AT_A_TIME = 8
TEN_MILLISECONDS = 0.01

Job = list[LazyResult[int]]


@task
async def noop(x: int) -> int:
    """Do nothing."""
    return x


@task
async def now() -> float:
    """Tell when this began."""
    return time.perf_counter()


@task
def nap(x: int) -> int:
    """Take 10 ms in a thread."""
    time.sleep(TEN_MILLISECONDS)
    return x


@task
def echo(x: int) -> int:
    """Do nothing, wherever it is sent."""
    return x


@task
def rest(x: int, seconds: float) -> int:
    """Take some time, wherever it is sent."""
    time.sleep(seconds)
    return x


def noops(n: int) -> Job:
    """Return tasks that do nothing."""
    return [noop(number) for number in range(n)]


def naps(n: int) -> Job:
    """Return tasks of 10 ms for threads."""
    return [nap(number) for number in range(n)]


def waits(
    n: int,
    *,
    at_a_time: int = AT_A_TIME,
    seconds: float = TEN_MILLISECONDS,
    note: Callable[[int], None] | None = None,
) -> Job:
    """Return tasks for the event loop, of which ``at_a_time`` wait at the same time, each for ``seconds``."""
    places = asyncio.Semaphore(at_a_time)

    @task
    async def wait(x: int) -> int:
        async with places:
            await asyncio.sleep(seconds)
        if note is not None:
            note(x)
        return x

    return [wait(number) for number in range(n)]


@dataclass(frozen=True, slots=True)
class Moments:
    """One run, in seconds since ``Engine.run`` was called."""

    started: float
    """The first event: connecting is over."""
    ready: float
    """The last event: the result is known."""
    returned: float
    busy: float
    """CPU time of the loop's thread from the first event to the last one."""

    @property
    def worked(self) -> float:
        """Seconds from the start to the result."""
        return self.ready - self.started


async def follow(
    job: Job, *, connector: Connector | None = None, executor: Executor | None = None
) -> Moments:
    """Run a job and note when things happened.

    :raises RuntimeError: if the result is not right.
    """
    bus = EventBus()
    noted: dict[Lifecycle, tuple[float, float]] = {}

    def note(event: LifecycleEvent) -> None:
        noted[event.event] = time.perf_counter(), time.thread_time()

    bus.subscribe(LifecycleEvent, note)
    began = time.perf_counter()
    values: list[Any] = await Engine(connector=connector, executor=executor, bus=bus).run(job)
    returned = time.perf_counter() - began
    if values != list(range(len(job))):
        raise RuntimeError("the result is wrong")
    (started, idle), (ready, busy) = noted[Lifecycle.ENGINE_STARTED], noted[Lifecycle.ENGINE_STOPPED]
    return Moments(started - began, ready - began, returned, busy - idle)
