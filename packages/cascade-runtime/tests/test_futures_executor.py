"""FuturesExecutor passes the suite of executors on pools that others have written, and leaves the pool to its owner."""

import asyncio
import concurrent.futures
import logging
import multiprocessing
import os
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import loky  # type: ignore[import-untyped]
import pytest

from cascade.interfaces import ConfigurationError, Executor, ExecutorUnavailable, UsageError, WorkerLostError
from cascade.runtime import Engine, FuturesExecutor, checkpoint, publish, step
from cascade.spec import task
from cascade.testkit._executor import calls
from cascade.testkit.executor import Ability, ExecutorContract
from cascade.testkit.waiting import eventually

with warnings.catch_warnings():
    # its models are written for pydantic 1
    warnings.simplefilter("ignore")
    import executorlib  # type: ignore[import-untyped]


class PoolContract(ExecutorContract):
    """The suite over one kind of pool, of two workers, which outlives every executor over it."""

    timeout = 60.0
    make_pool: ClassVar[Callable[[], Any]]
    pool: ClassVar[Any]
    first_call: ClassVar[tuple[Any, ...]] = (time.sleep, 0.2)

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _pool(cls) -> Iterator[None]:
        cls.pool = cls.make_pool()
        # both workers start here: the suite looks for processes that an executor leaves behind
        concurrent.futures.wait([cls.pool.submit(*cls.first_call) for _ in range(2)])
        yield
        cls.pool.shutdown(wait=False)

    async def make(self) -> Executor:
        return FuturesExecutor(type(self).pool)


@task
def told() -> tuple[str, str, list[str]]:
    """Return the key of the step, the error of a value that is published, and what checkpoints log."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("cascade.worker").addHandler(handler)
    checkpoint(done=1, total=2)  # type: ignore[unused-awaitable]
    checkpoint(done=2, total=2)  # type: ignore[unused-awaitable]
    try:
        publish("value", 1)
    except UsageError as exc:
        return step().key, str(exc), lines
    raise AssertionError("it was published")


OF_PROCESSES = frozenset({Ability.PICKLES, Ability.COUNTS, Ability.TRACKS, Ability.STEPS})


class TestThreads(PoolContract):
    abilities = frozenset({Ability.COUNTS, Ability.TRACKS})

    @staticmethod
    def make_pool() -> Any:
        return concurrent.futures.ThreadPoolExecutor(2)


@pytest.mark.process
class TestProcesses(PoolContract):
    abilities = OF_PROCESSES

    @staticmethod
    def make_pool() -> Any:
        return concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn"))


@pytest.mark.process
class TestLoky(PoolContract):
    abilities = OF_PROCESSES

    @staticmethod
    def make_pool() -> Any:
        return loky.ProcessPoolExecutor(2)


@pytest.mark.process
@pytest.mark.full
class TestExecutorlib(PoolContract):
    """Each call has a process of its own: one that dies costs no other call."""

    abilities = OF_PROCESSES | {Ability.SURVIVES}
    first_call = (textwrap.dedent, "")  # it takes no function of C

    @staticmethod
    def make_pool() -> Any:
        return executorlib.SingleNodeExecutor(max_workers=2)


def in_a_pool(pool: object, function: Callable[..., Any], *args: Any, workers: int | None = None) -> Any:
    async def run() -> Any:
        return await FuturesExecutor(pool, workers=workers).run(function, args, {})  # type: ignore[arg-type]

    return asyncio.run(run())


POOLS = [
    pytest.param(
        TestProcesses.make_pool, "concurrent's ProcessPoolExecutor", "BrokenProcessPool", id="processes"
    ),
    pytest.param(TestLoky.make_pool, "loky's ProcessPoolExecutor", "TerminatedWorkerError", id="loky"),
    pytest.param(
        TestExecutorlib.make_pool,
        "executorlib's SingleNodeExecutor",
        "",
        id="executorlib",
        marks=pytest.mark.full,
    ),
]


@pytest.mark.process
@pytest.mark.parametrize(("make", "name", "broken"), POOLS)
def test_a_pool_that_loses_a_worker_fails_the_call_by_name(
    make: Callable[[], Any], name: str, broken: str
) -> None:
    """The pools of the standard library and of loky are broken for good, and the next call says what to give the run."""
    pool = make()
    try:
        with pytest.raises(WorkerLostError, match=rf"task 'die'.*{name}: {broken}"):
            in_a_pool(pool, calls.die)
        if broken:
            with pytest.raises(
                ExecutorUnavailable, match=rf"(?s){name} cannot run tasks.*give the run a pool"
            ):
                in_a_pool(pool, calls.echo, 1)
        else:
            assert in_a_pool(pool, calls.echo, 1) == 1
    finally:
        pool.shutdown(wait=False)


@pytest.mark.process
@pytest.mark.parametrize(
    ("make", "name"),
    [pytest.param(TestThreads.make_pool, "concurrent's ThreadPoolExecutor", id="threads")]
    + [pytest.param(*pool.values[:2], id=pool.id, marks=pool.marks) for pool in POOLS],
)
def test_an_owner_that_closes_the_pool_fails_its_calls(
    make: Callable[[], Any], name: str, tmp_path: Path
) -> None:
    """Those that wait, and those that come later, by the name of the pool; a call that runs goes on to its end, or fails by name, too."""

    async def close_meanwhile() -> list[Any]:
        pool = make()
        executor = FuturesExecutor(pool, workers=9)
        begun = [asyncio.create_task(executor.run(calls.hold, (str(tmp_path),), {}))]
        await eventually((tmp_path / "started").exists, timeout=60)
        # more than the pool has workers, so that some wait in it
        begun += [asyncio.create_task(executor.run(calls.hold, (str(tmp_path),), {})) for _ in range(6)]
        await asyncio.sleep(0)
        pool.shutdown(
            wait=False, **({"kill_workers": True} if name.startswith("loky") else {"cancel_futures": True})
        )
        begun.append(asyncio.create_task(executor.run(calls.echo, (2,), {})))
        (tmp_path / "release").touch()
        return await asyncio.wait_for(asyncio.gather(*begun, return_exceptions=True), 60)

    first, *waited, late = asyncio.run(close_meanwhile())
    failed = [outcome for outcome in (first, *waited, late) if outcome != "released"]
    assert failed
    assert late in failed
    for outcome in failed:
        assert isinstance(outcome, ExecutorUnavailable | WorkerLostError)
        assert name in str(outcome)
    assert isinstance(late, ExecutorUnavailable)


class Jobs:
    """A pool whose futures have no callbacks, as the jobs of submitit."""

    max_workers = 3

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Any:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            future = pool.submit(function, *args)
        return SimpleNamespace(result=future.result)


def test_futures_without_callbacks_are_awaited() -> None:
    assert in_a_pool(Jobs(), calls.echo, "value") == "value"


@pytest.mark.parametrize(
    ("pool", "workers", "size"),
    [
        (concurrent.futures.ThreadPoolExecutor(7), None, 7),
        (Jobs(), None, 3),
        (Jobs(), 5, 5),
        (SimpleNamespace(submit=print, num_workers=4), None, 4),
        (SimpleNamespace(submit=print, max_workers=None), None, os.cpu_count()),
    ],
)
def test_workers_are_the_size_that_is_given_or_that_the_pool_states(
    pool: Any, workers: int | None, size: int
) -> None:
    assert FuturesExecutor(pool, workers=workers).workers == size


@pytest.mark.parametrize(
    ("pool", "error", "words"),
    [
        (
            7,
            ConfigurationError,
            r"FuturesExecutor\(pool=\): needs a pool, such as .*ProcessPoolExecutor\(4\), not 7",
        ),
        (concurrent.futures.ThreadPoolExecutor, ConfigurationError, "needs a pool, such as"),
        (
            SimpleNamespace(submit=lambda *_: None),
            ExecutorUnavailable,
            r"submit\(\) returned None, and not a future",
        ),
        (
            SimpleNamespace(submit=lambda: None),
            ExecutorUnavailable,
            r"cannot run tasks: TypeError: .*; give the run",
        ),
    ],
)
def test_what_is_no_pool_is_named(pool: object, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        in_a_pool(pool, calls.echo, 1)


@pytest.mark.process
def test_what_a_task_finds_in_a_worker_of_a_pool() -> None:
    """Its step, no reports, and the reason of that where it asks for one."""
    with loky.ProcessPoolExecutor(1) as pool:
        key, published, warned = asyncio.run(Engine(executor=FuturesExecutor(pool)).run(told()))
    assert key == "told:0"
    assert "cs.publish() does not work in a worker whose executor offers no context" in published
    assert [line.partition(":")[0] for line in warned] == ["cs.checkpoint() does nothing in this process"]
