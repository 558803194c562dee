"""Caches as a run sees them: what need not run is told so, with the reason."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cascade.interfaces import CacheBackend, TaskState, TaskStateEvent
from cascade.runtime import Engine, MemoryCache, ProcessExecutor, SqliteCache, ThreadExecutor
from cascade.runtime._clock import SystemClock
from cascade.spec import Task, task
from cascade.testkit._workflows import work

runs: list[Any] = []


@task(mode="inline")
def squared(x: int) -> int:
    runs.append(x)
    return x * x


@task
async def slowly(x: int) -> int:
    runs.append(x)
    await asyncio.sleep(0.01)
    return -x


@task
def written(name: str, folder: Path) -> Path:
    runs.append(name)
    path = folder / f"{name}.txt"
    path.write_text(name)
    return path


@pytest.fixture(autouse=True)
def _no_runs() -> None:
    runs.clear()


def watch(engine: Engine) -> list[tuple[str, str]]:
    told: list[tuple[str, str]] = []
    engine.bus.subscribe(TaskStateEvent, lambda event: told.append((event.state.value, event.reason)))
    return told


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_hit_is_told_as_skipped_with_the_reason(kind: str, tmp_path: Path) -> None:
    """The second run computes nothing, gives the same, and says why; a task that needs the value runs."""
    backend: CacheBackend = MemoryCache() if kind == "memory" else SqliteCache(tmp_path / "cache.db")
    target = slowly(squared(3).with_cache())
    assert await Engine(cache_backend=backend).run(target) == -9
    engine = Engine(cache_backend=backend)
    told = watch(engine)
    assert await engine.run(target) == -9
    assert [state for state, _ in told] == ["SKIPPED", "RUNNING", "COMPLETED"]
    assert "cache" in told[0][1]
    assert runs == [3, 9, 9]
    await backend.close()


async def test_the_engines_own_cache_is_as_old_as_its_clock_says() -> None:
    """A value expires when its time has passed there."""

    class Clock(SystemClock):
        passed = 0.0

        def monotonic(self) -> float:
            return self.passed

    clock = Clock()
    engine, cached = Engine(clock=clock), squared.with_cache(ttl=60)
    for seconds, computed in [(0, 1), (59, 1), (60, 2)]:
        clock.passed = float(seconds)
        assert await engine.run(cached(3)) == 9
        assert len(runs) == computed


async def test_equal_calls_of_one_run_compute_once() -> None:
    """One computes, the others wait for its value and are told as skipped."""
    engine = Engine()
    told = watch(engine)
    cached = slowly.with_cache()
    assert await engine.run([cached(2), cached(2), cached(2), cached(3)]) == [-2, -2, -2, -3]
    assert sorted(runs) == [2, 3]
    assert [state for state, _ in told].count("SKIPPED") == 2
    assert all(reason for state, reason in told if state == "SKIPPED")


async def test_a_file_that_is_there_need_not_be_made(tmp_path: Path) -> None:
    """A map of files makes those that are missing, in threads, and skips the others by their existence."""
    cached = written.with_cache(file=str(tmp_path / "{name}.txt")).partial(folder=tmp_path)
    engine = Engine()
    told = watch(engine)
    await engine.run(cached.map(name=["a"]))
    told.clear()
    paths = await engine.run(cached.map(name=["a", "b"]))
    assert [path.read_text() for path in paths] == ["a", "b"]
    assert runs == ["a", "b"]
    (reason,) = [reason for state, reason in told if state == TaskState.SKIPPED.value]
    assert reason == "its file exists"


async def test_what_processes_compute_is_kept_here(tmp_path: Path) -> None:
    """The cache stands between the run and its workers: a hit needs none."""
    executor = ProcessExecutor(1)
    engine = Engine(executor=executor)
    counted = task(work.once).with_cache()
    first = await engine.run(counted(1, str(tmp_path)))
    assert await engine.run(counted(1, str(tmp_path))) == first  # once() complains when it runs again
    await executor.close()


async def test_a_failure_is_not_kept() -> None:
    """The next run tries again, and a retry within a run does."""
    attempts: list[int] = []

    @task(mode="inline")
    def at_second(x: int) -> int:
        attempts.append(x)
        if len(attempts) % 2:
            raise OSError("not yet")
        return x

    engine = Engine()
    cached = at_second.with_cache()
    with pytest.raises(OSError, match="not yet"):
        await engine.run(cached(1))
    assert await engine.run(cached(1)) == 1
    assert await engine.run(cached(1)) == 1
    assert attempts == [1, 1]
    assert await engine.run(cached(2).with_retry(2)) == 2


LIMIT = 20.0
"""Seconds after which a run that should end is taken to hang."""


def failing_first(failures: int, *, mode: str = "inline") -> Task[int]:
    """Return a task of which the first calls fail."""

    @task(mode=mode)
    def flaky(x: int) -> int:
        runs.append(x)
        if len(runs) <= failures:
            raise OSError(f"call {len(runs)}")
        return x

    return flaky


@pytest.mark.parametrize(("workers", "equal"), [(1, 2), (2, 3)])
async def test_equal_calls_that_are_tried_again_need_no_worker_each(workers: int, equal: int) -> None:
    """Who waits for an equal call has no worker, so that the one that computes gets another one after its delay."""
    executor = ThreadExecutor(workers)
    cached = failing_first(1, mode="thread").with_cache().with_retry(2, delay=0.05)
    async with asyncio.timeout(LIMIT):
        engine = Engine(executors={"thread": executor})
        assert await engine.run([cached(1) for _ in range(equal)]) == [1] * equal
    await executor.close()
    assert runs == [1, 1]


async def test_a_map_over_more_equal_items_than_workers_ends() -> None:
    """Also when each distinct item fails at first."""

    @task
    def at_second(x: int) -> int:
        runs.append(x)
        if runs.count(x) < 2:
            raise OSError("not yet")
        return x

    executor = ThreadExecutor(2)
    mapped = at_second.with_cache().with_retry(2, delay=0.01).map(x=[1, 2, 3] * 7)
    async with asyncio.timeout(LIMIT):
        assert await Engine(executor=executor).run(mapped) == [1, 2, 3] * 7
    await executor.close()
    assert sorted(runs) == [1, 1, 2, 2, 3, 3]


async def test_equal_calls_that_are_tried_again_need_one_share_of_a_resource() -> None:
    """Who waits for an equal call holds nothing of what it asked for."""
    cached = failing_first(1).with_cache().with_retry(2, delay=0.01)
    async with asyncio.timeout(LIMIT):
        engine = Engine(system_resources={"gpu": 1})
        assert await engine.run([cached(1).with_constraints(gpu=1) for _ in range(3)]) == [1, 1, 1]


async def test_a_hit_needs_no_worker() -> None:
    """What is in the cache is given while every worker is taken by somebody else."""
    executor, free = ThreadExecutor(1), asyncio.Event()

    @task
    def known(x: int) -> int:
        return x

    @task
    def hold(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.run_coroutine_threadsafe(free.wait(), loop).result()

    @task(mode="inline")
    def let_go(x: int) -> int:
        free.set()
        return x

    engine = Engine(executor=executor)
    await engine.run(known.with_cache()(1))
    async with asyncio.timeout(LIMIT):
        loop = asyncio.get_running_loop()
        assert await engine.run([hold(loop), let_go(known.with_cache()(1))]) == [None, 1]
    await executor.close()


async def test_when_the_call_that_computes_fails_an_equal_one_tries_by_its_own_policies() -> None:
    """A failure is nobody else's: who waited takes over, with attempts of its own."""
    engine, cached = Engine(), failing_first(2).with_cache()
    with pytest.raises(ExceptionGroup) as told:
        await engine.run([cached(1), cached(1).with_retry(2), cached(1)], on_failure="continue")
    assert [str(error) for error in told.value.exceptions] == ["call 1"]
    assert await engine.run(cached(1)) == 1
    assert runs == [1, 1, 1]


async def test_when_the_run_ends_nobody_takes_over() -> None:
    """The failure that ends the run is the last that is heard of the task."""
    engine, cached = Engine(), failing_first(9).with_cache()
    told = watch(engine)
    with pytest.raises(OSError, match="call 1"):
        await engine.run([cached(1), cached(1), cached(1)])
    assert runs == [1]
    assert sorted(state for state, _ in told) == ["CANCELLED", "CANCELLED", "FAILED", "RUNNING"]
