"""CallCache: equal calls compute once, keys of large arguments off the loop, and a failing cache fails no call."""

import asyncio
import dataclasses
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from blockbuster import blockbuster_ctx
from fakes import FakeClock
from observers import lines_of

from cascade.interfaces import CacheUnavailable, Hit, UnstorableValueError
from cascade.runtime.cache import MemoryCache, SqliteCache, cache_key
from cascade.runtime.cache import _call_cache as call_cache_module
from cascade.runtime.cache._call_cache import LARGE_ARGUMENT, Answer, CallCache, Compute, Prepare
from cascade.spec import task
from cascade.spec.caching import CachePolicy
from cascade.testkit.waiting import eventually

ANY = CachePolicy()
FOUND, SHARED = "found in the cache", "computed by an equal call at the same time"


@task
async def work(x: object, y: object = None) -> object:
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


async def ask(
    calls: CallCache, compute: Compute, *args: object, policy: CachePolicy = ANY, **kwargs: Any
) -> Answer:
    return await calls.call(policy, work._definition, args, kwargs, compute)


async def test_a_shorter_ttl_takes_effect_at_once() -> None:
    """A value stored without a ttl is too old for a policy with a shorter one."""

    class Old(MemoryCache):
        async def get(self, key: str) -> Hit | None:
            hit = await super().get(key)
            return hit and Hit(hit.value, 60.0)

    cache, compute = Old(), ready()
    await ask(CallCache(cache), compute, 1)
    assert (await ask(CallCache(cache), compute, 1, policy=CachePolicy(ttl=61))).reason == FOUND
    assert (await ask(CallCache(cache), compute, 1, policy=CachePolicy(ttl=60))).reason == ""


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
    assert [(await ask(calls, compute, x)).value for x in range(20)] == ["v"] * 20
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
        await ask(calls, compute, x)
    cache.errors.clear()
    for x in range(3):
        await ask(calls, compute, x)
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
        await ask(calls, ready(), 1)


async def test_a_value_that_cannot_be_stored_is_logged_once_for_each_task(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The line names the task and the reason; the value is used all the same."""
    calls = CallCache(Faulty(put=UnstorableValueError(print, "cannot be pickled: no")))
    assert [(await ask(calls, ready("v"), x)).value for x in range(3)] == ["v"] * 3
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

    assert await ask(CallCache(Bare()), ready("v"), 1) == Answer("v", "")


async def test_if_the_next_call_is_cancelled_when_it_is_chosen_the_one_after_computes() -> None:
    """Both can happen in one loop iteration."""
    calls, compute, failing = CallCache(MemoryCache()), ready("v"), Work(ValueError("no"))

    async def fail() -> None:
        try:
            await ask(calls, failing, 1)
        finally:
            second.cancel()

    first = asyncio.create_task(fail())
    second, third = [asyncio.create_task(ask(calls, compute, 1)) for _ in range(2)]
    await eventually(lambda: failing.started)
    failing.gate.set()
    assert (await third).value == "v"
    await asyncio.wait([first, second])
    assert second.cancelled()
    assert compute.started == 1


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
            await ask(calls, ready((1,)), x)
            await ask(calls, ready((1,)), x)
            await ask(calls, ready(), x, policy=CachePolicy(file=path, ttl=1000))
        await calls.close()


class Steps:
    """A computation that waits for the test to say how it ends; it notes who computed."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.gates: dict[str, asyncio.Future[str]] = {}

    def by(self, name: str) -> Callable[[Prepare], Any]:
        async def compute(prepare: Prepare) -> str:
            await prepare()
            self.began.append(name)
            self.gates[name] = asyncio.get_running_loop().create_future()
            return await self.gates[name]

        return compute


async def test_equal_calls_compute_in_turn_until_one_succeeds_and_the_rest_share_its_value() -> None:
    """In the order in which they came, without those that were cancelled meanwhile; each fails by its own error only."""
    calls, steps = CallCache(MemoryCache()), Steps()
    callers = {name: asyncio.create_task(ask(calls, steps.by(name), 1)) for name in "abcdefg"}
    await eventually(lambda: "a" in steps.gates)
    for name in "bdf":
        callers[name].cancel()
    steps.gates["a"].set_exception(ValueError("a"))
    await eventually(lambda: "c" in steps.gates)
    steps.gates["c"].set_exception(ValueError("c"))
    await eventually(lambda: "e" in steps.gates)
    steps.gates["e"].set_result("v")
    outcomes = await asyncio.gather(*callers.values(), return_exceptions=True)
    assert steps.began == ["a", "c", "e"]
    assert [str(each) for each in (outcomes[0], outcomes[2])] == ["a", "c"]
    assert [type(outcomes[i]) for i in (1, 3, 5)] == [asyncio.CancelledError] * 3
    assert [outcomes[4], outcomes[6]] == [Answer("v", ""), Answer("v", SHARED)]
    assert await ask(calls, ready("v"), 1) == Answer("v", FOUND)


async def test_equal_calls_that_wait_for_the_cache_have_all_found_their_value() -> None:
    """They say so, as they ask the cache once; a file that exists is a reason of its own."""

    class Slow(MemoryCache):
        asked = 0

        async def get(self, key: str) -> Hit | None:
            self.asked += 1
            await asyncio.sleep(0)
            return await super().get(key)

    cache = Slow()
    await ask(CallCache(cache), ready("v"), 1)
    calls = CallCache(cache)
    assert await asyncio.gather(*(ask(calls, ready("v"), 1) for _ in range(3))) == [Answer("v", FOUND)] * 3
    assert cache.asked == 2


async def test_equal_calls_with_caches_of_their_own_compute_for_each_cache() -> None:
    """A cache would otherwise miss a value that only the other one got."""
    caches = [MemoryCache(), MemoryCache()]
    calls, steps = CallCache(caches[0]), Steps()
    callers = [
        asyncio.create_task(ask(calls, steps.by(name), 1, policy=policy))
        for name, policy in (("a", ANY), ("b", CachePolicy(backend=caches[1])), ("c", ANY))
    ]
    await eventually(lambda: len(steps.gates) == 2)
    for name, gate in steps.gates.items():
        gate.set_result(name)
    assert await asyncio.gather(*callers) == [Answer("a", ""), Answer("b", ""), Answer("a", SHARED)]
    assert [len(cache) for cache in caches] == [1, 1]


async def test_a_cache_that_cannot_be_closed_keeps_no_other_open(caplog: pytest.LogCaptureFixture) -> None:
    """Each is closed once, and a next call opens and closes it again."""

    class Closing(MemoryCache):
        def __init__(self, error: Exception | None = None) -> None:
            super().__init__()
            self.error, self.closed = error, 0

        async def close(self) -> None:
            self.closed += 1
            if self.error is not None:
                raise self.error

    caches = [Closing(), Closing(OSError("stuck")), Closing()]
    calls = CallCache(MemoryCache())
    for _ in range(2):
        for cache in caches:
            await ask(calls, ready("v"), 1, policy=CachePolicy(backend=cache))
        await calls.close()
    assert [cache.closed for cache in caches] == [2, 2, 2]
    assert caplog.text.count("stuck") == 1


async def test_a_value_expires_by_the_ttl_with_which_it_was_stored() -> None:
    """Also for a policy that has none or a longer one."""
    clock = FakeClock()
    cache = MemoryCache(clock=clock)
    brief, longer = CachePolicy(ttl=10), CachePolicy(ttl=100)
    for other in (ANY, longer):
        assert (await ask(CallCache(cache), ready("v"), 1, policy=brief)).reason == ""
        clock.ticks += 9.5
        assert (await ask(CallCache(cache), ready("v"), 1, policy=other)).reason == FOUND
        clock.ticks += 0.5
        assert (await ask(CallCache(cache), ready("v"), 1, policy=brief)).reason == ""
        clock.ticks += 10
    assert (await ask(CallCache(cache), ready("v"), 1, policy=longer)).reason == ""


@dataclasses.dataclass
class Table:
    """What has many parts and no length, such as a table of a library."""

    rows: int
    columns: int = 2

    @property
    def size(self) -> int:
        return self.rows * self.columns


@dataclasses.dataclass
class Shirt:
    number: int
    size: str = "XL"


MANY = LARGE_ARGUMENT + 1


@pytest.mark.parametrize(
    ("args", "kwargs", "on_the_loop"),
    [
        *(((kind(bytes(MANY)),), {}, False) for kind in (bytes, bytearray, list, tuple)),
        *(((kind(range(MANY)),), {}, False) for kind in (set, frozenset, dict.fromkeys)),
        *(((kind(range(LARGE_ARGUMENT)),), {}, True) for kind in (set, frozenset, dict.fromkeys)),
        ((Table(LARGE_ARGUMENT),), {}, False),
        ((Table(LARGE_ARGUMENT // 2),), {}, True),
        ((Shirt(MANY),), {}, True),
        ((memoryview(bytes(LARGE_ARGUMENT + 1)),), {}, False),
        ((1,), {"y": memoryview(bytes(LARGE_ARGUMENT + 1))}, False),
        ((1, "x" * (LARGE_ARGUMENT + 1)), {}, False),
        ((1, memoryview(b"abc")), {}, True),
        ((1, "x" * LARGE_ARGUMENT), {}, True),
    ],
)
async def test_a_large_argument_at_any_place_keeps_its_key_off_the_loop(
    args: tuple[Any, ...], kwargs: dict[str, Any], on_the_loop: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value with a buffer counts with its bytes, a table with its size; by position or by name, first or last."""
    threads: list[bool] = []

    def watched(*args: Any) -> str:
        threads.append(threading.current_thread() is threading.main_thread())
        return cache_key(*args)

    monkeypatch.setattr(call_cache_module, "cache_key", watched)
    calls = CallCache(MemoryCache())
    await ask(calls, ready("v"), *args, **kwargs)
    await calls.close()
    assert threads == [on_the_loop]


@pytest.mark.parametrize("newer", [0, 1, 2, None])
async def test_one_newer_source_among_several_makes_the_file_anew(newer: int | None, tmp_path: Path) -> None:
    """Whichever it is; a source that is missing is not newer. Functions that name files get what the task gets."""
    made, sources = tmp_path / "a-1.out", [tmp_path / f"a-{i}.in" for i in range(3)]
    for path in (made, sources[0], sources[2]):
        path.write_text("x")
        os.utime(path, (1_000, 1_000))
    if newer is not None:
        sources[newer].write_text("x")
        os.utime(sources[newer], (1_001, 1_001))
    runs = []

    async def compute(prepare: Prepare) -> None:
        await prepare()
        runs.append(1)
        made.write_text("y")

    def named(x: str, *, y: int) -> Path:
        return tmp_path / f"{x}-{y}.in"

    policy = CachePolicy(
        file=lambda x, *, y: tmp_path / f"{x}-{y}.out",
        newer_than=(f"{tmp_path}/{{x}}-0.in", named, sources[2]),
    )
    calls = CallCache(MemoryCache())
    answers = [await ask(calls, compute, "a", policy=policy, y=1) for _ in range(2)]
    await calls.close()
    exists = "its file exists"
    assert answers == [Answer(made, exists if newer is None else ""), Answer(made, exists)]
    assert len(runs) == (newer is not None)
