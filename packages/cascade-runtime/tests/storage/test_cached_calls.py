"""CachedCalls: one computes, the others get its value; no fault of a cache fails a call."""

import asyncio
import gc
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from blockbuster import blockbuster_ctx

from cascade.interfaces import CacheUnavailable, Hit, UncacheableArgumentError, UnstorableValueError
from cascade.runtime.storage import Answer, CachedCalls, MemoryCache, SqliteCache, cache_key
from cascade.runtime.storage import calls as calls_module
from cascade.runtime.storage.calls import LARGE, Prepare
from cascade.spec import LazyResult, task
from cascade.spec.caching import CachePolicy
from cascade.testkit.leaks import no_leaks
from cascade.testkit.waiting import eventually

ANY = CachePolicy()
FOUND = "found in the cache"


@task
async def work(x: object) -> object:
    return x


@dataclass(eq=False)
class Work:
    """Counts its computations; they end when they are let."""

    result: object = None
    started: int = 0
    cancelled: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, prepare: Prepare) -> object:
        await prepare()
        self.started += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def ready(result: object = None) -> Work:
    made = Work(result)
    made.gate.set()
    return made


async def ask(calls: CachedCalls, argument: object, compute: Work, policy: CachePolicy = ANY) -> Answer:
    return await calls.call(policy, work._definition, (argument,), {}, compute)


async def test_the_second_call_finds_the_value_of_the_first() -> None:
    """The task runs once for equal arguments, in the next run too, and again for others."""
    cache, compute = MemoryCache(), ready("v")
    assert await ask(CachedCalls(cache), 1, compute) == Answer("v", "")
    assert await ask(CachedCalls(cache), 1, compute) == Answer("v", FOUND)
    assert await ask(CachedCalls(cache), 2, compute) == Answer("v", "")
    assert compute.started == 2


async def test_the_backend_of_the_policy_comes_before_the_one_of_the_engine() -> None:
    """A policy may name its own."""
    own, engines, compute = MemoryCache(), MemoryCache(), ready()
    await ask(CachedCalls(engines), 1, compute, CachePolicy(backend=own))
    assert (len(own), len(engines)) == (1, 0)


async def test_a_shorter_ttl_takes_effect_at_once() -> None:
    """What was put for ever is too old for a policy that says so."""

    class Old(MemoryCache):
        async def get(self, key: str) -> Hit | None:
            hit = await super().get(key)
            return hit and Hit(hit.value, 60.0)

    cache, compute = Old(), ready()
    await ask(CachedCalls(cache), 1, compute)
    assert (await ask(CachedCalls(cache), 1, compute, CachePolicy(ttl=61))).reason == FOUND
    assert (await ask(CachedCalls(cache), 1, compute, CachePolicy(ttl=60))).reason == ""


async def test_of_equal_calls_at_one_time_only_one_computes() -> None:
    """A hundred callers, one computation."""
    calls, compute = CachedCalls(MemoryCache()), Work("v")
    callers = [asyncio.create_task(ask(calls, 1, compute)) for _ in range(100)]
    await eventually(lambda: compute.started)
    compute.gate.set()
    assert [answer.value for answer in await asyncio.gather(*callers)] == ["v"] * 100
    assert compute.started == 1


async def test_different_calls_do_not_wait_for_each_other() -> None:
    """Other arguments, or another cache, compute at the same time."""
    calls, compute = CachedCalls(MemoryCache()), Work()
    policy = CachePolicy(backend=MemoryCache())
    callers = [asyncio.create_task(ask(calls, x, compute, p)) for x, p in ((1, ANY), (2, ANY), (1, policy))]
    await eventually(lambda: compute.started == 3)
    compute.gate.set()
    await asyncio.gather(*callers)


async def test_when_the_one_that_computes_fails_the_next_one_tries() -> None:
    """A failure is neither shared nor kept: each call fails by itself, one after the other, until one gives a value."""
    calls, compute = CachedCalls(MemoryCache()), Work(ValueError("no"))
    callers = [asyncio.create_task(ask(calls, 1, compute)) for _ in range(3)]
    last = [asyncio.create_task(ask(calls, 1, ready("v"))) for _ in range(2)]
    await eventually(lambda: compute.started)
    compute.gate.set()
    assert [repr(error) for error in await asyncio.gather(*callers, return_exceptions=True)] == [
        "ValueError('no')"
    ] * 3
    assert compute.started == 3
    assert [answer.value for answer in await asyncio.gather(*last)] == ["v", "v"]


async def test_an_error_that_nobody_waits_for_is_not_reported_twice() -> None:
    """The caller has it; asyncio has nothing to complain of."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    calls, compute = CachedCalls(MemoryCache()), ready(ValueError("no"))
    await asyncio.gather(ask(calls, 1, compute), return_exceptions=True)
    compute.result = None
    gc.collect()
    assert complaints == []


async def test_when_the_one_that_computes_is_cancelled_another_takes_over() -> None:
    """Cancelling one call cancels no other one."""
    calls, compute = CachedCalls(MemoryCache()), Work("v")
    first, *others = [asyncio.create_task(ask(calls, 1, compute)) for _ in range(3)]
    await eventually(lambda: compute.started)
    first.cancel()
    await eventually(lambda: compute.started == 2)
    compute.gate.set()
    assert [answer.value for answer in await asyncio.gather(*others)] == ["v", "v"]
    assert first.cancelled()
    assert (compute.started, compute.cancelled) == (2, 1)


async def test_cancelling_one_that_waits_leaves_the_one_that_computes() -> None:
    """The computation goes on for the others."""
    calls, compute = CachedCalls(MemoryCache()), Work("v")
    first, second = [asyncio.create_task(ask(calls, 1, compute)) for _ in range(2)]
    await eventually(lambda: compute.started)
    second.cancel()
    await asyncio.wait([second])
    compute.gate.set()
    assert (await first).value == "v"
    assert compute.cancelled == 0


async def test_a_lazy_result_is_passed_on_and_not_kept() -> None:
    """A continuation is no value."""
    cache, lazy = MemoryCache(), work(1)
    answer = await ask(CachedCalls(cache), 1, ready(lazy))
    assert isinstance(answer.value, LazyResult)
    assert len(cache) == 0


async def test_an_argument_without_a_digest_fails_the_call_before_it_runs() -> None:
    """The caller's mistake is told to the caller."""
    compute = ready()
    with pytest.raises(UncacheableArgumentError):
        await ask(CachedCalls(MemoryCache()), object(), compute)
    assert compute.started == 0


class Faulty(MemoryCache):
    """Raises what it is told to."""

    def __init__(self, **errors: Exception) -> None:
        super().__init__()
        self.errors = errors
        self.closed = 0

    def _raise(self, operation: str) -> None:
        if operation in self.errors:
            raise self.errors[operation]

    async def get(self, key: str) -> Hit | None:
        self._raise("get")
        return await super().get(key)

    async def put(self, key: str, value: Any, *, ttl: float | None = None) -> None:
        self._raise("put")
        await super().put(key, value, ttl=ttl)

    async def close(self) -> None:
        self.closed += 1
        self._raise("close")

    def __repr__(self) -> str:
        return "<Faulty>"


@pytest.mark.parametrize("operation", ["get", "put", "close"])
async def test_a_fault_of_a_backend_is_one_warning_and_the_task_runs(
    operation: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a foreign backend raises, values are right and the log has one line."""
    cache, compute = Faulty(**{operation: RuntimeError("broken")}), ready("v")
    calls = CachedCalls(cache)
    assert [(await ask(calls, x, compute)).value for x in range(20)] == ["v"] * 20
    await calls.close()
    (record,) = caplog.records
    assert (record.levelno, record.name) == (logging.WARNING, "cascade.cache")
    assert "<Faulty> cannot" in record.message
    assert "RuntimeError('broken')" in record.message


async def test_a_backend_that_works_again_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """One line for each change of state, of finding and of keeping."""
    cache = Faulty(get=RuntimeError("broken"), put=RuntimeError("broken"))
    calls, compute = CachedCalls(cache), ready("v")
    for x in range(3):
        await ask(calls, x, compute)
    cache.errors.clear()
    for x in range(3):
        await ask(calls, x, compute)
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING", "INFO", "INFO"]


@pytest.mark.parametrize("operation", ["get", "put"])
async def test_a_cache_that_is_required_fails_the_call(operation: str) -> None:
    """Its own error comes out."""
    calls = CachedCalls(Faulty(**{operation: CacheUnavailable("<Faulty>", "gone")}))
    with pytest.raises(CacheUnavailable, match="the cache <Faulty> cannot be used: gone"):
        await ask(calls, 1, ready())


async def test_a_value_that_cannot_be_kept_is_told_once_for_each_task(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The line names the task and why; the value is used all the same."""
    calls = CachedCalls(Faulty(put=UnstorableValueError(print, "cannot be pickled: no")))
    assert [(await ask(calls, x, ready("v"))).value for x in range(3)] == ["v"] * 3
    (record,) = caplog.records
    assert "task 'work' runs every time" in record.message
    assert "cannot be pickled: no" in record.message


async def test_what_a_backend_gives_that_is_no_hit_counts_as_nothing() -> None:
    """A backend that returns the bare value is not trusted with None."""

    class Bare(MemoryCache):
        async def get(self, key: str) -> Any:
            return "stale"

    assert await ask(CachedCalls(Bare()), 1, ready("v")) == Answer("v", "")


async def test_closing_closes_every_backend_that_was_used_once() -> None:
    """And no other; the second close does nothing."""
    used, unused = Faulty(), Faulty()
    calls = CachedCalls(unused)
    async with no_leaks():
        for x in range(3):
            await ask(calls, x, ready(), CachePolicy(backend=used))
        await calls.close()
        await calls.close()
    assert (used.closed, unused.closed) == (1, 0)


async def test_one_that_is_cancelled_when_it_is_its_turn_lets_the_next_one_compute() -> None:
    """It may be both in one turn of the loop."""
    calls, compute, failing = CachedCalls(MemoryCache()), ready("v"), Work(ValueError("no"))

    async def fail() -> None:
        try:
            await ask(calls, 1, failing)
        finally:
            second.cancel()

    first = asyncio.create_task(fail())
    second, third = [asyncio.create_task(ask(calls, 1, compute)) for _ in range(2)]
    await eventually(lambda: failing.started)
    failing.gate.set()
    assert (await third).value == "v"
    await asyncio.wait([first, second])
    assert second.cancelled()
    assert compute.started == 1


@pytest.mark.parametrize("make", [lambda: Work("v"), lambda: Work(ValueError("no"))])
async def test_nothing_is_left_in_flight(make: Callable[[], Work]) -> None:
    """Whatever ends a call, its key is free again."""
    calls, compute = CachedCalls(MemoryCache()), make()
    caller = asyncio.create_task(ask(calls, 1, compute))
    await eventually(lambda: compute.started)
    caller.cancel()
    await asyncio.wait([caller])
    compute.gate.set()
    await asyncio.gather(ask(calls, 1, compute), return_exceptions=True)
    assert len(calls._flights) == 0


@pytest.mark.parametrize("large", [b"x" * (LARGE + 1), "x" * (LARGE + 1), list(range(LARGE + 1))])
async def test_the_key_of_a_large_argument_is_made_in_a_thread(
    large: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop turns meanwhile; the key is the same as on the loop."""
    threads: list[bool] = []

    def watched(*args: Any) -> str:
        threads.append(threading.current_thread() is threading.main_thread())
        return cache_key(*args)

    monkeypatch.setattr(calls_module, "cache_key", watched)
    cache = MemoryCache()
    calls = CachedCalls(cache)
    await ask(calls, large, ready())
    await ask(calls, 1, ready())
    await calls.close()
    assert threads == [False, True]
    assert await cache.get(cache_key(ANY, work._definition, (large,), {}))


async def test_no_cache_blocks_the_loop(tmp_path: Path) -> None:
    """Neither a database nor a file is touched on the loop."""
    calls = CachedCalls(SqliteCache(tmp_path / "cache.db"))
    path = tmp_path / "made"
    path.touch()
    with blockbuster_ctx("cascade.runtime.storage"):
        for x in range(3):
            await ask(calls, x, ready((1,)))
            await ask(calls, x, ready((1,)))
            await ask(calls, x, ready(), CachePolicy(file=path, ttl=1000))
        await calls.close()
