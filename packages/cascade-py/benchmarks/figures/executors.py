"""What the engine adds to an executor: the same calls through it and through the bare pool beneath."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor as Pool
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from cascade.interfaces import Executor
from cascade.runtime import Engine, MemoryCache, ProcessExecutor, SqliteCache, ThreadExecutor
from figures.jobs import echo
from figures.measure import Settings, alternate, run
from figures.table import Row, Target, at_most, no_more_than

TITLE = "no-op calls in threads, processes and on a Dask cluster; steps with a cache"

WORKERS = 2
CALLS = 1_000


def rows(settings: Settings) -> Iterator[Row]:
    """Measure each executor beside the bare pool, with as many workers, and the caches."""
    n, rounds = settings.size(CALLS), settings.rounds_or(5)
    yield run(_threads(n, rounds))
    yield run(_processes(n, rounds))
    yield run(_dask(min(n, 200) if settings.brief else n, rounds))  # ten times slower than the others
    yield run(_cached(n, rounds))


async def _threads(n: int, rounds: int) -> Row:
    ours = ThreadExecutor(WORKERS)
    with ThreadPoolExecutor(WORKERS) as bare:
        try:
            return await _compare(
                "threads", ours, "ThreadPoolExecutor", partial(_in_pool, bare, n), n, rounds
            )
        finally:
            await ours.close()


async def _processes(n: int, rounds: int) -> Row:
    ours = ProcessExecutor(WORKERS)
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as bare:
        try:
            return await _compare(
                "processes", ours, "ProcessPoolExecutor", partial(_in_pool, bare, n), n, rounds
            )
        finally:
            await ours.close()


async def _dask(n: int, rounds: int) -> Row:
    """Both use one local cluster, in processes."""
    from distributed import Client, LocalCluster

    from cascade.executors.dask import DaskExecutor

    options = {"n_workers": WORKERS, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(host="127.0.0.1", **options) as cluster, Client(cluster) as client:
        ours = DaskExecutor(cluster.scheduler_address)
        try:
            bare = partial(asyncio.to_thread, _submit, client, n)
            return await _compare("a Dask cluster", ours, "client.submit", bare, n, rounds, at_most(1.4))
        finally:
            await ours.close()


async def _compare(
    name: str,
    executor: Executor,
    against: str,
    bare: Callable[[], Awaitable[object]],
    n: int,
    rounds: int,
    target: Target | None = None,
) -> Row:
    async def through_the_engine() -> object:
        return await Engine(executor=executor).run([echo(number) for number in range(n)])

    await through_the_engine()  # workers are started, and modules imported there
    await bare()
    ours, theirs = await alternate(rounds, partial(_each, through_the_engine, n), partial(_each, bare, n))
    return Row(f"{name}, {WORKERS} workers, a call", "us", ours, against, theirs, target)


async def _each(work: Callable[[], Awaitable[object]], n: int) -> float:
    began = time.perf_counter()
    await work()
    return (time.perf_counter() - began) / n * 1e6


async def _in_pool(pool: Pool, n: int) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.gather(*(loop.run_in_executor(pool, _echo, number) for number in range(n)))


def _submit(client: object, n: int) -> None:
    submitted = [client.submit(_echo, number, pure=False) for number in range(n)]  # type: ignore[attr-defined]
    client.gather(submitted)  # type: ignore[attr-defined]


def _echo(x: int) -> int:
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
