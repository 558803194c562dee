"""CallCache: of several equal calls one computes and all get its value; a failing cache fails no call."""

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
from observers import lines_of

from cascade.interfaces import CacheUnavailable, Hit, UncacheableArgumentError, UnstorableValueError
from cascade.runtime.cache import MemoryCache, SqliteCache, cache_key
from cascade.runtime.cache import _call_cache as call_cache_module
from cascade.runtime.cache._call_cache import LARGE_ARGUMENT, Answer, CallCache, Prepare
from cascade.spec import LazyResult, task
from cascade.spec.caching import CachePolicy
from cascade.testkit.leaks import no_leaks
from cascade.testkit.waiting import eventually

ANY = CachePolicy()
FOUND = "found in the cache"


@task
async def work(x: object) -> object:
    return x


@task
async def another(x: object) -> object:
    return x


@dataclass(eq=False)
class Work:
    """Counts its computations; each ends when the gate is set."""

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
    work = Work(result)
    work.gate.set()
    return work


async def ask(calls: CallCache, argument: object, compute: Work, policy: CachePolicy = ANY) -> Answer:
    return await calls.call(policy, work._definition, (argument,), {}, compute)


async def test_the_second_equal_call_is_a_cache_hit() -> None:
    """The task runs once for equal arguments, in the next run too, and again for others."""
    cache, compute = MemoryCache(), ready("v")
    assert await ask(CallCache(cache), 1, compute) == Answer("v", "")
    assert await ask(CallCache(cache), 1, compute) == Answer("v", FOUND)
    assert await ask(CallCache(cache), 2, compute) == Answer("v", "")
    assert compute.started == 2


async def test_the_backend_of_the_policy_comes_before_the_one_of_the_engine() -> None:
    """A policy may name a backend of its own."""
    own, engines, compute = MemoryCache(), MemoryCache(), ready()
    await ask(CallCache(engines), 1, compute, CachePolicy(backend=own))
    assert (len(own), len(engines)) == (1, 0)


async def test_a_shorter_ttl_takes_effect_at_once() -> None:
    """A value stored without a ttl is too old for a policy with a shorter one."""

    class Old(MemoryCache):
        async def get(self, key: str) -> Hit | None:
            hit = await super().get(key)
            return hit and Hit(hit.value, 60.0)

    cache, compute = Old(), ready()
    await ask(CallCache(cache), 1, compute)
    assert (await ask(CallCache(cache), 1, compute, CachePolicy(ttl=61))).reason == FOUND
    assert (await ask(CallCache(cache), 1, compute, CachePolicy(ttl=60))).reason == ""


async def test_of_equal_calls_at_the_same_time_only_one_computes() -> None:
    """A hundred callers, one computation."""
    calls, compute = CallCache(MemoryCache()), Work("v")
    callers = [asyncio.create_task(ask(calls, 1, compute)) for _ in range(100)]
    await eventually(lambda: compute.started)
    compute.gate.set()
    assert [answer.value for answer in await asyncio.gather(*callers)] == ["v"] * 100
    assert compute.started == 1


async def test_different_calls_do_not_wait_for_each_other() -> None:
    """Other arguments, or another cache, compute at the same time."""
    calls, compute = CallCache(MemoryCache()), Work()
    policy = CachePolicy(backend=MemoryCache())
    callers = [asyncio.create_task(ask(calls, x, compute, p)) for x, p in ((1, ANY), (2, ANY), (1, policy))]
    await eventually(lambda: compute.started == 3)
    compute.gate.set()
    await asyncio.gather(*callers)


async def test_if_the_computing_call_fails_the_next_one_computes() -> None:
    """A failure is neither shared nor stored: calls compute one after the other until one succeeds."""
    calls, compute = CallCache(MemoryCache()), Work(ValueError("no"))
    callers = [asyncio.create_task(ask(calls, 1, compute)) for _ in range(3)]
    last = [asyncio.create_task(ask(calls, 1, ready("v"))) for _ in range(2)]
    await eventually(lambda: compute.started)
    compute.gate.set()
    assert [repr(error) for error in await asyncio.gather(*callers, return_exceptions=True)] == [
        "ValueError('no')"
    ] * 3
    assert compute.started == 3
    assert [answer.value for answer in await asyncio.gather(*last)] == ["v", "v"]


async def test_an_error_is_not_also_reported_by_asyncio() -> None:
    """The caller gets the error; the loop's exception handler does not."""
    contexts: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: contexts.append(context))
    calls, compute = CallCache(MemoryCache()), ready(ValueError("no"))
    await asyncio.gather(ask(calls, 1, compute), return_exceptions=True)
    compute.result = None
    gc.collect()
    assert contexts == []


async def test_if_the_computing_call_is_cancelled_the_next_one_computes() -> None:
    """Cancelling one call cancels no other call."""
    calls, compute = CallCache(MemoryCache()), Work("v")
    first, *others = [asyncio.create_task(ask(calls, 1, compute)) for _ in range(3)]
    await eventually(lambda: compute.started)
    first.cancel()
    await eventually(lambda: compute.started == 2)
    compute.gate.set()
    assert [answer.value for answer in await asyncio.gather(*others)] == ["v", "v"]
    assert first.cancelled()
    assert (compute.started, compute.cancelled) == (2, 1)


async def test_cancelling_a_waiting_call_does_not_stop_the_computing_one() -> None:
    """The computation goes on for the others."""
    calls, compute = CallCache(MemoryCache()), Work("v")
    first, second = [asyncio.create_task(ask(calls, 1, compute)) for _ in range(2)]
    await eventually(lambda: compute.started)
    second.cancel()
    await asyncio.wait([second])
    compute.gate.set()
    assert (await first).value == "v"
    assert compute.cancelled == 0


async def test_a_lazy_result_is_returned_and_not_stored() -> None:
    """A returned call is not a value yet."""
    cache, lazy = MemoryCache(), work(1)
    answer = await ask(CallCache(cache), 1, ready(lazy))
    assert isinstance(answer.value, LazyResult)
    assert len(cache) == 0


async def test_an_argument_without_a_digest_fails_the_call_before_it_runs() -> None:
    """The caller gets the error."""
    compute = ready()
    with pytest.raises(UncacheableArgumentError):
        await ask(CallCache(MemoryCache()), object(), compute)
    assert compute.started == 0


class Faulty(MemoryCache):
    """Raises the given error in each operation that has one."""

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
async def test_a_failing_backend_is_logged_once_and_the_task_runs(
    operation: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a third-party backend raises, values are right and the log has one line."""
    cache, compute = Faulty(**{operation: RuntimeError("broken")}), ready("v")
    calls = CallCache(cache)
    assert [(await ask(calls, x, compute)).value for x in range(20)] == ["v"] * 20
    await calls.close()
    (record,) = lines_of(caplog, "cascade.cache")
    assert (record.levelno, record.name) == (logging.WARNING, "cascade.cache")
    assert "<Faulty> cannot" in record.message
    assert "RuntimeError('broken')" in record.message


async def test_a_backend_that_works_again_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """One line for each change of state, for reading and for storing."""
    cache = Faulty(get=RuntimeError("broken"), put=RuntimeError("broken"))
    calls, compute = CallCache(cache), ready("v")
    for x in range(3):
        await ask(calls, x, compute)
    cache.errors.clear()
    for x in range(3):
        await ask(calls, x, compute)
    assert [record.levelname for record in lines_of(caplog, "cascade.cache")] == [
        "WARNING",
        "WARNING",
        "INFO",
        "INFO",
    ]


@pytest.mark.parametrize("operation", ["get", "put"])
async def test_a_failing_required_cache_fails_the_call(operation: str) -> None:
    """The call raises the cache's own error."""
    calls = CallCache(Faulty(**{operation: CacheUnavailable("<Faulty>", "gone")}))
    with pytest.raises(CacheUnavailable, match="the cache <Faulty> cannot be used: gone"):
        await ask(calls, 1, ready())


async def test_a_value_that_cannot_be_stored_is_logged_once_for_each_task(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The line names the task and the reason; the value is used all the same."""
    calls = CallCache(Faulty(put=UnstorableValueError(print, "cannot be pickled: no")))
    assert [(await ask(calls, x, ready("v"))).value for x in range(3)] == ["v"] * 3
    (record,) = lines_of(caplog, "cascade.cache")
    assert "task 'work' runs every time" in record.message
    assert "cannot be pickled: no" in record.message
    await calls.call(ANY, another._definition, (1,), {}, ready("v"))
    assert "task 'another' runs every time" in lines_of(caplog, "cascade.cache")[-1].message


async def test_a_backends_answer_that_is_not_a_hit_counts_as_a_miss() -> None:
    """A backend that returned a bare value could not distinguish None from a miss."""

    class Bare(MemoryCache):
        async def get(self, key: str) -> Any:
            return "stale"

    assert await ask(CallCache(Bare()), 1, ready("v")) == Answer("v", "")


async def test_closing_closes_every_backend_that_was_used_once() -> None:
    """An unused backend is not closed; closing again does nothing."""
    used, unused = Faulty(), Faulty()
    calls = CallCache(unused)
    async with no_leaks():
        for x in range(3):
            await ask(calls, x, ready(), CachePolicy(backend=used))
        await calls.close()
        await calls.close()
    assert (used.closed, unused.closed) == (1, 0)


async def test_if_the_next_call_is_cancelled_when_it_is_chosen_the_one_after_computes() -> None:
    """Both can happen in one loop iteration."""
    calls, compute, failing = CallCache(MemoryCache()), ready("v"), Work(ValueError("no"))

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
async def test_no_key_stays_reserved_after_its_call(make: Callable[[], Work]) -> None:
    """However a call ends, an equal one can compute afterwards."""
    calls, compute = CallCache(MemoryCache()), make()
    caller = asyncio.create_task(ask(calls, 1, compute))
    await eventually(lambda: compute.started)
    caller.cancel()
    await asyncio.wait([caller])
    compute.gate.set()
    await asyncio.gather(ask(calls, 1, compute), return_exceptions=True)
    assert len(calls._single_flight) == 0


@pytest.mark.parametrize(
    "large", [b"x" * (LARGE_ARGUMENT + 1), "x" * (LARGE_ARGUMENT + 1), list(range(LARGE_ARGUMENT + 1))]
)
async def test_the_key_of_a_large_argument_is_computed_in_a_thread(
    large: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop stays responsive; the key is the same as on the loop."""
    threads: list[bool] = []

    def watched(*args: Any) -> str:
        threads.append(threading.current_thread() is threading.main_thread())
        return cache_key(*args)

    monkeypatch.setattr(call_cache_module, "cache_key", watched)
    cache = MemoryCache()
    calls = CallCache(cache)
    await ask(calls, large, ready())
    await ask(calls, 1, ready())
    await calls.close()
    assert threads == [False, True]
    assert await cache.get(cache_key(ANY, work._definition, (large,), {}))


@pytest.mark.parametrize("kind", [dict, frozenset])
async def test_the_key_of_a_large_captured_value_is_computed_in_a_thread(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop stays responsive also if the function, not the call, brings the value."""
    threads: list[bool] = []

    def watched(*args: Any) -> str:
        threads.append(threading.current_thread() is threading.main_thread())
        return cache_key(*args)

    table = kind((i, i) for i in range(LARGE_ARGUMENT + 1))

    @task
    def look_up(x: int) -> bool:
        return x in table

    monkeypatch.setattr(call_cache_module, "cache_key", watched)
    calls = CallCache(MemoryCache())
    answer = await calls.call(ANY, look_up._definition, (1,), {}, ready(True))
    await calls.close()
    assert (answer.value, threads) == (True, [False])


async def test_no_cache_blocks_the_loop(tmp_path: Path) -> None:
    """Neither a database nor a file is accessed on the loop."""
    calls = CallCache(SqliteCache(tmp_path / "cache.db"))
    path = tmp_path / "made"
    path.touch()
    with blockbuster_ctx("cascade.runtime.cache"):
        for x in range(3):
            await ask(calls, x, ready((1,)))
            await ask(calls, x, ready((1,)))
            await ask(calls, x, ready(), CachePolicy(file=path, ttl=1000))
        await calls.close()
