"""The engine's cost beside an executor's: the same calls through it and through the bare pool beneath.

Calls of some milliseconds are what users have; calls that do nothing show the floor.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor as Pool
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from cascade.interfaces import Executor
from cascade.runtime import Engine, MemoryCache, ProcessExecutor, SqliteCache, ThreadExecutor
from figures.jobs import echo, rest
from figures.measure import Settings, alternate, run
from figures.table import Row, Target, at_most, no_more_than

TITLE = "calls in threads, processes and on a Dask cluster; steps with a cache"

WORKERS = 2
CALLS = 1_000


@dataclass(frozen=True, slots=True)
class Calls:
    """So many calls, each of so many seconds; 0: it does nothing."""

    n: int
    seconds: float
    rounds: int

    def named(self, name: str) -> str:
        """Return the row's name."""
        return f"{name}, {WORKERS} workers, a call {f'of {self.seconds * 1e3:g} ms' if self.seconds else 'that does nothing'}"


def rows(settings: Settings) -> Iterator[Row]:
    """Measure each executor beside the bare pool, with as many workers, and the caches."""
    n, rounds = settings.size(CALLS), settings.rounds_or(5)
    fewer = min(n, 200) if settings.brief else n  # Dask is ten times slower than the others
    yield run(_threads(Calls(n, 0, rounds)))
    yield run(_processes(Calls(n, 0.005, rounds), at_most(1.05)))
    yield run(_processes(Calls(n, 0, rounds), at_most(2)))
    yield run(_dask(Calls(fewer, 0.01, rounds), at_most(1.15)))
    yield run(_dask(Calls(fewer, 0, rounds), at_most(4)))
    yield run(_cached(n, rounds))


async def _threads(calls: Calls) -> Row:
    ours = ThreadExecutor(WORKERS)
    with ThreadPoolExecutor(WORKERS) as bare:
        try:
            return await _compare("threads", ours, "ThreadPoolExecutor", partial(_in_pool, bare), calls)
        finally:
            await ours.close()


async def _processes(calls: Calls, target: Target) -> Row:
    ours = ProcessExecutor(WORKERS)
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as bare:
        try:
            return await _compare(
                "processes", ours, "ProcessPoolExecutor", partial(_in_pool, bare), calls, target
            )
        finally:
            await ours.close()


async def _dask(calls: Calls, target: Target) -> Row:
    """Both use one local cluster, in processes."""
    from distributed import Client, LocalCluster

    from cascade.executors.dask import DaskExecutor

    options = {"n_workers": WORKERS, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(host="127.0.0.1", **options) as cluster, Client(cluster) as client:
        ours = DaskExecutor(cluster.scheduler_address)
        try:
            bare = partial(_submitted, client)
            return await _compare("a Dask cluster", ours, "client.submit", bare, calls, target)
        finally:
            await ours.close()


async def _compare(
    name: str,
    executor: Executor,
    against: str,
    bare: Callable[[Calls], Awaitable[object]],
    calls: Calls,
    target: Target | None = None,
) -> Row:
    async def through_the_engine() -> object:
        made = [rest(number, calls.seconds) if calls.seconds else echo(number) for number in range(calls.n)]
        return await Engine(executor=executor).run(made)

    await through_the_engine()  # workers are started, and modules imported there
    await bare(calls)
    ours, theirs = await alternate(
        calls.rounds,
        partial(_each, through_the_engine, calls.n),
        partial(_each, partial(bare, calls), calls.n),
    )
    return Row(calls.named(name), "us", ours, against, theirs, target)


async def _each(work: Callable[[], Awaitable[object]], n: int) -> float:
    began = time.perf_counter()
    await work()
    return (time.perf_counter() - began) / n * 1e6


async def _in_pool(pool: Pool, calls: Calls) -> None:
    loop = asyncio.get_running_loop()
    function = partial(_rest, calls.seconds) if calls.seconds else _echo
    await asyncio.gather(*(loop.run_in_executor(pool, function, number) for number in range(calls.n)))


async def _submitted(client: Any, calls: Calls) -> None:
    await asyncio.to_thread(_submit_few if calls.seconds else _submit, client, calls)


def _submit(client: Any, calls: Calls) -> None:
    client.gather([client.submit(_echo, number, pure=False) for number in range(calls.n)])


def _submit_few(client: Any, calls: Calls) -> None:
    """Submit as many at a time as there are workers, as the engine does."""
    from distributed import as_completed

    further = iter(range(calls.n))
    in_flight = as_completed()
    for number in islice(further, WORKERS):
        in_flight.add(client.submit(_rest, calls.seconds, number, pure=False))
    for future in in_flight:
        future.result()
        for number in islice(further, 1):
            in_flight.add(client.submit(_rest, calls.seconds, number, pure=False))


def _echo(x: int) -> int:
    return x


def _rest(seconds: float, x: int) -> int:
    time.sleep(seconds)
    return x


async def _cached(n: int, rounds: int) -> Row:
    """Measure a step whose value is kept on disk beside one kept in memory; none was there before."""

    async def on_disk() -> float:
        with tempfile.TemporaryDirectory() as folder:
            backend = SqliteCache(Path(folder) / "cache.db")
            return await _each(partial(_steps, backend, n), n) / 1000

    async def in_memory() -> float:
        return await _each(partial(_steps, MemoryCache(), n), n) / 1000

    ours, theirs = await alternate(rounds, on_disk, in_memory)
    return Row("a step kept in SQLite, fan-out", "ms", ours, "MemoryCache", theirs, no_more_than(0.3))


async def _steps(backend: SqliteCache | MemoryCache, n: int) -> None:
    inline = echo.with_cache(backend=backend)
    await Engine().run([inline(number) for number in range(n)])
