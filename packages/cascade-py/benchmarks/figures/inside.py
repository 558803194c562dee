"""What steering costs in tasks that run elsewhere: a checkpoint, and from a pause to the call that waits."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from statistics import quantiles
from typing import Any

from cascade.interfaces import Directive, StepInfo, SupportsCallContext
from cascade.runtime import Engine, ProcessExecutor, ThreadExecutor, checkpoint
from cascade.spec import task
from figures.jobs import echo
from figures.measure import Settings, alternate, run
from figures.table import Row, at_most, no_more_than

TITLE = "steering of tasks in processes and on a Dask cluster, without a broker"

WORKERS = 2
TIMEOUT = 60.0


def rows(settings: Settings) -> Iterator[Row]:
    """Measure checkpoints, calls without one, and how soon a call has paused."""
    yield run(_checkpoints(settings))
    yield run(_without_checkpoints(settings))
    yield run(_pause_in_a_process(settings))
    yield run(_pause_on_dask(settings))


class Context:
    """The engine's side of one call; it only notes that the call waits or goes on."""

    step = StepInfo("bench", "go_on:0", "go_on", 1, 1)

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._arrived: asyncio.Queue[bool] = asyncio.Queue()
        self._notify: Callable[[Directive], None] = lambda directive: None

    def progress(self, done: float, total: float | None = None, message: str = "", unit: str = "") -> None:
        """Do nothing."""

    def publish(self, name: str, data: Any) -> None:
        """Note that the call goes from checkpoint to checkpoint."""
        self._loop.call_soon_threadsafe(self._arrived.put_nowait, False)

    def arrived(self, *, paused: bool) -> None:
        """Note it; called in a thread of the executor."""
        self._loop.call_soon_threadsafe(self._arrived.put_nowait, paused)

    def follow(self, notify: Callable[[Directive], None]) -> Callable[[], None]:
        """Let the executor hear directives."""
        self._notify = notify
        return lambda: None

    async def until(self, *, paused: bool) -> None:
        """Wait until the call says that it waits, or goes on."""
        async with asyncio.timeout(TIMEOUT):
            while await self._arrived.get() is not paused:
                pass

    async def pause(self) -> float:
        """Return the milliseconds from the directive until the call has said that it waits; then let it go on."""
        began = time.perf_counter()
        self._notify(Directive.PAUSE)
        await self.until(paused=True)
        taken = (time.perf_counter() - began) * 1e3
        self._notify(Directive.RUN)
        await self.until(paused=False)
        return taken


async def _checkpoints(settings: Settings) -> Row:
    """Measure inside the tasks, by the clock of their thread's CPU time."""
    n = settings.size(100_000)
    threads, processes = ThreadExecutor(1), ProcessExecutor(1)

    async def through(executor: Any) -> float:
        taken: float = await Engine(executor=executor).run(visit(n))
        return taken

    try:
        ours, theirs = await alternate(
            settings.rounds_or(7), partial(through, processes), partial(through, threads)
        )
    finally:
        await processes.close()
        await threads.close()
    return Row("a checkpoint in a process", "us", ours, "in a thread", theirs, at_most(2))


@task
def visit(n: int) -> float:
    """Return the microseconds of CPU time of one of ``n`` checkpoints."""
    began = time.thread_time()
    for _ in range(n):
        checkpoint()  # type: ignore[unused-awaitable]
    return (time.thread_time() - began) / n * 1e6


async def _without_checkpoints(settings: Settings) -> Row:
    """Measure calls with a context, which carries the directives, beside the same calls without one."""
    n = settings.size(1_000)
    executor = ProcessExecutor(WORKERS)

    async def calls(*, context: bool) -> float:
        began = time.process_time()
        make = partial(executor.run_with, Context()) if context else executor.run
        await asyncio.gather(*(make(echo.function, (number,), {}) for number in range(n)))
        return (time.process_time() - began) / n * 1e6

    try:
        await calls(context=False)
        ours, theirs, again = await alternate(
            settings.rounds_or(9),
            partial(calls, context=True),
            partial(calls, context=False),
            partial(calls, context=False),
        )
    finally:
        await executor.close()
    spread = max(max(a / b, b / a) for a, b in zip(theirs, again, strict=True))
    return Row(
        f"{n:,} calls without checkpoints; A/A {spread:.2f}x",
        "us",
        ours,
        "without a context",
        theirs,
        at_most(round(spread, 2)),
    )


async def _pause_in_a_process(settings: Settings) -> Row:
    """Measure a call that never leaves the interpreter's lock by itself, beside a round trip of the pipes."""
    executor = ProcessExecutor(1)
    await executor.run(echo.function, (0,), {})  # its worker is started
    trips = [await _timed(executor.run(echo.function, (1,), {})) for _ in range(settings.size(200))]
    async with _going_on(executor, busy) as context:
        pauses = [await context.pause() for _ in range(settings.size(300))]
    await executor.close()
    limit = 3e3 * sys.getswitchinterval() + _p99(trips)
    return Row(
        "a pause until a busy call in a process waits: p99",
        "ms",
        [_p99(pauses)],
        "a call",
        [_p99(trips)],
        no_more_than(round(limit, 1)),
    )


async def _pause_on_dask(settings: Settings) -> Row:
    """Alternate both on one worker process."""
    from distributed import Client, LocalCluster

    from cascade.executors.dask import DaskExecutor

    options: dict[str, Any] = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    async with (
        LocalCluster(host="127.0.0.1", asynchronous=True, **options) as cluster,
        Client(cluster, asynchronous=True) as client,
    ):
        executor = DaskExecutor(cluster.scheduler_address)
        try:
            async with _going_on(executor, gentle) as context:
                ours, theirs = await alternate(
                    settings.size(200), context.pause, lambda: _timed(client.run(abs, -1))
                )
        finally:
            await executor.close()
    return Row("a pause until a call on Dask waits", "ms", ours, "client.run", theirs, at_most(3))


@asynccontextmanager
async def _going_on(executor: SupportsCallContext, function: Callable[[], None]) -> AsyncIterator[Context]:
    """Run a call that goes from checkpoint to checkpoint."""
    context = Context()
    call = asyncio.ensure_future(executor.run_with(context, function, (), {}))
    await context.until(paused=False)
    try:
        yield context
    finally:
        context._notify(Directive.CANCEL)
        await asyncio.wait({call})
        call.exception() if not call.cancelled() else None


def busy() -> None:
    """Go from checkpoint to checkpoint."""
    from cascade.interfaces.call_context import in_call

    call = in_call.get()
    assert call is not None
    call.publish("begun", None)
    while True:
        call.checkpoint(None)
        sum(range(1_000))


def gentle() -> None:
    """Do the same, and leave the interpreter's lock in between, as most tasks do."""
    from cascade.interfaces.call_context import in_call

    call = in_call.get()
    assert call is not None
    call.publish("begun", None)
    while True:
        call.checkpoint(None)
        time.sleep(0.0002)


async def _timed(work: Awaitable[object]) -> float:
    began = time.perf_counter()
    await work
    return (time.perf_counter() - began) * 1e3


def _p99(times: list[float]) -> float:
    return quantiles(times, n=100, method="inclusive")[-1]
