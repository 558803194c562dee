"""Caches in runs: a hit is reported as SKIPPED with the reason, and needs no worker."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cascade.interfaces import CacheBackend, TaskState, TaskStateEvent, UncacheableArgumentError
from cascade.runtime import Engine, MemoryCache, SqliteCache, ThreadExecutor
from cascade.spec import Task, task
from cascade.testkit import time_limit

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
    events: list[tuple[str, str]] = []
    engine.bus.subscribe(TaskStateEvent, lambda event: events.append((event.state.value, event.reason)))
    return events


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_hit_is_reported_as_skipped_with_the_reason(kind: str, tmp_path: Path) -> None:
    """The second run computes nothing, returns the same value and reports why; dependent tasks run."""
    backend: CacheBackend = MemoryCache() if kind == "memory" else SqliteCache(tmp_path / "cache.db")
    target = slowly(squared(3).with_cache())
    assert await Engine(cache_backend=backend).run(target) == -9
    engine = Engine(cache_backend=backend)
    events = watch(engine)
    assert await engine.run(target) == -9
    assert [state for state, _ in events] == ["SKIPPED", "RUNNING", "COMPLETED"]
    assert "cache" in events[0][1]
    assert runs == [3, 9, 9]
    await backend.close()


async def test_equal_calls_of_one_run_compute_once() -> None:
    """One computes; the others wait for its value and are reported as SKIPPED."""
    engine = Engine()
    events = watch(engine)
    cached = slowly.with_cache()
    assert await engine.run([cached(2), cached(2), cached(2), cached(3)]) == [-2, -2, -2, -3]
    assert sorted(runs) == [2, 3]
    assert [state for state, _ in events].count("SKIPPED") == 2
    assert all(reason for state, reason in events if state == "SKIPPED")


async def test_a_captured_object_without_a_digest_fails_the_call_with_the_remedy() -> None:
    """With ignore= the call is cached."""

    class Model:
        factor = 3

    model = Model()

    @task
    def predict(x: int) -> int:
        runs.append(x)
        return model.factor * x

    engine = Engine()
    with pytest.raises(UncacheableArgumentError, match=r"'model' .*with_cache\(ignore=\('model',\)\)"):
        await engine.run(predict.with_cache()(1))
    cached = predict.with_cache(ignore=("model",))
    assert [await engine.run(cached(1)), await engine.run(cached(1))] == [3, 3]
    assert runs == [1]


async def test_a_file_that_exists_is_not_written_again(tmp_path: Path) -> None:
    """A map over files writes the missing ones, in threads, and skips the others."""
    cached = written.with_cache(file=str(tmp_path / "{name}.txt")).partial(folder=tmp_path)
    engine = Engine()
    events = watch(engine)
    await engine.run(cached.map(name=["a"]))
    events.clear()
    paths = await engine.run(cached.map(name=["a", "b"]))
    assert [path.read_text() for path in paths] == ["a", "b"]
    assert runs == ["a", "b"]
    (reason,) = [reason for state, reason in events if state == TaskState.SKIPPED.value]
    assert reason == "its file exists"


LIMIT = 50.0
"""Seconds after which a run that should end counts as hanging."""


def failing_first(failures: int, *, mode: str = "inline") -> Task[[int], int]:
    """Return a task whose first calls fail."""

    @task(mode=mode)
    def flaky(x: int) -> int:
        runs.append(x)
        if len(runs) <= failures:
            raise OSError(f"call {len(runs)}")
        return x

    return flaky


async def test_a_hit_needs_no_worker() -> None:
    """A hit is returned while other calls occupy every worker."""
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
    async with time_limit(LIMIT):
        loop = asyncio.get_running_loop()
        assert await engine.run([hold(loop), let_go(known.with_cache()(1))]) == [None, 1]
    await executor.close()


async def test_if_the_computing_call_fails_an_equal_one_computes_with_its_own_policies() -> None:
    """A failure is not shared: a waiting call takes over, with attempts of its own."""
    engine, cached = Engine(), failing_first(2).with_cache(ignore="runs")
    with pytest.raises(ExceptionGroup) as raised:
        await engine.run([cached(1), cached(1).with_retry(2), cached(1)], on_failure="continue")
    assert [str(error) for error in raised.value.exceptions] == ["call 1"]
    assert await engine.run(cached(1)) == 1
    assert runs == [1, 1, 1]


async def test_when_the_run_ends_no_equal_call_takes_over(unhurried: None) -> None:
    """The failure that ends the run is the task's last computation."""
    engine, cached = Engine(), failing_first(9).with_cache(ignore="runs")
    events = watch(engine)
    with pytest.raises(OSError, match="call 1"):
        await engine.run([cached(1), cached(1), cached(1)])
    assert runs == [1]
    assert sorted(state for state, _ in events) == ["CANCELLED", "CANCELLED", "FAILED", "RUNNING"]


class Scaled:
    """A callable object."""

    def __call__(self, x: int) -> int:
        runs.append(x)
        return 10 * x


async def test_a_callable_object_is_cached_like_a_function() -> None:
    scaled = task(Scaled()).with_cache(key=str)
    engine = Engine(cache_backend=MemoryCache())
    assert await engine.run([scaled(3), scaled(3)]) == [30, 30]
    assert runs == [3]
