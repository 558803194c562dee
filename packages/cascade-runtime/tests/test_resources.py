"""Resources: closed in reverse order whatever happens, and what goes wrong with them hides nothing else."""

import asyncio
import gc
import inspect
import logging
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cascade.interfaces import (
    LifecycleEvent,
    ResourceFailedError,
    RunStatus,
    TaskTimeoutError,
    UsageError,
)
from cascade.runtime import Engine, SqliteCache, ThreadExecutor
from cascade.runtime._holding import _Steps
from cascade.runtime.resources import Scope
from cascade.spec import LazyResult, Resource, call_of, inject, resource, task
from cascade.testkit import eventually, no_leaks

LIMIT = 5.0


async def endless() -> None:
    await asyncio.Event().wait()


def using(*what: Resource | str, work: Callable[[], Any] | None = None) -> LazyResult[Any]:
    """A task that asks for these resources, the first one opened first, and then works."""

    @task
    async def use(a: Any = inject(what[0]), b: Any = inject(what[-1])) -> Any:  # noqa: B008 - each has its own
        return await work() if work is not None else (a, b)

    return use()


def ends(engine: Engine) -> list[LifecycleEvent]:
    told: list[LifecycleEvent] = []
    engine.bus.subscribe(LifecycleEvent, lambda event: told.append(event) if event.status else None)
    return told


@resource
async def helped() -> AsyncIterator[str]:
    """What many write: a helper that is cancelled and awaited at the end."""
    helper = asyncio.create_task(endless())
    yield "helped"
    helper.cancel()
    await helper


@resource
async def broken() -> AsyncIterator[str]:
    yield "broken"
    raise OSError("cannot close")


async def test_a_teardown_that_ends_cancelled_keeps_no_other_resource_open() -> None:
    """It is told as the failure of that resource, by name, and not as the cancelling of the run."""
    log: list[str] = []

    @resource
    async def outer() -> AsyncIterator[str]:
        yield "outer"
        log.append("closed")

    engine = Engine()
    told = ends(engine)
    async with no_leaks():
        with pytest.raises(ResourceFailedError, match="'helped' was cancelled while it was closed"):
            await engine.run(using(outer, helped))
    assert log == ["closed"]
    assert told[0].status is RunStatus.FAILED


async def test_an_opening_that_ends_cancelled_fails_the_task() -> None:
    """Nobody waits for ever for what will not come."""

    @resource
    async def opens_with_help() -> AsyncIterator[None]:
        helper = asyncio.create_task(endless())
        helper.cancel()
        await helper
        yield

    async with asyncio.timeout(LIMIT):
        with pytest.raises(ResourceFailedError, match="'opens_with_help' was cancelled while it was opened"):
            await Engine().run(using(opens_with_help))


@pytest.mark.parametrize("when", ["opening", "closing"])
async def test_a_resource_that_exits_the_process_ends_the_run_in_good_order(when: str) -> None:
    """SystemExit is what it is from a task: what else is open is closed, whatever goes wrong there."""
    log: list[str] = []

    @resource
    def outer() -> Iterator[str]:
        yield "outer"
        log.append("closed")
        raise OSError("cannot close")

    @resource
    def exits() -> Iterator[str]:
        yield sys.exit(3) if when == "opening" else "exits"
        sys.exit(4)

    with pytest.raises(SystemExit):
        await Engine().run(using(outer, exits))
    assert log == ["closed"]


async def test_a_time_limit_ends_an_attempt_whose_resource_does_not_open(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What only this attempt waits for is cancelled with it, and cleans up without a word."""
    log: list[str] = []

    @resource(scope="task")
    async def slow() -> AsyncIterator[str]:
        try:
            await endless()
            yield "never"
        finally:
            log.append("cleaned up")

    async with asyncio.timeout(LIMIT), no_leaks():
        with pytest.raises(TaskTimeoutError):
            await Engine().run(using(slow).with_timeout(0.05))
    gc.collect()
    assert log == ["cleaned up"]
    assert not caplog.text


@pytest.mark.parametrize("scope", ["run", "task"])
async def test_a_run_that_is_cancelled_leaves_no_opening_behind(scope: Any) -> None:
    """Also one that many wait for is cancelled when the run ends."""
    begun = asyncio.Event()

    @resource(scope=scope)
    async def slow() -> AsyncIterator[str]:
        begun.set()
        await endless()
        yield "never"

    async with asyncio.timeout(LIMIT), no_leaks():
        run = asyncio.create_task(Engine().run(using(slow)))
        await begun.wait()
        run.cancel()
        await asyncio.wait({run})
    assert run.cancelled()


@pytest.mark.parametrize("scope", ["run", "task"])
async def test_a_teardown_that_hangs_is_cancelled_after_its_time(scope: Any) -> None:
    """The engine's close_timeout bounds it, and what was opened before is closed all the same."""
    log: list[str] = []

    @resource(scope=scope)
    def outer() -> Iterator[str]:
        yield "outer"
        log.append("closed")

    @resource(scope=scope)
    async def hangs() -> AsyncIterator[str]:
        yield "hangs"
        await endless()

    async with asyncio.timeout(LIMIT), no_leaks():
        with pytest.raises(
            ResourceFailedError, match=r"'hangs' did not close within 0.05 s and was cancelled"
        ):
            await Engine(close_timeout=0.05).run(using(outer, hangs))
    assert log == ["closed"]


async def test_a_teardown_that_ignores_its_cancelling_is_left_alone() -> None:
    """The run ends; there is nothing more that it could do."""
    release = asyncio.Event()

    @resource
    async def stubborn() -> AsyncIterator[str]:
        yield "stubborn"
        while not release.is_set():
            with suppress(asyncio.CancelledError):
                await release.wait()

    async with asyncio.timeout(LIMIT), no_leaks():
        with pytest.raises(ResourceFailedError, match="'stubborn' does not end though it was cancelled"):
            await Engine(close_timeout=0.01, stop_timeout=0.01).run(using(stubborn))
        release.set()


async def test_an_opening_that_ignores_its_cancelling_is_left_alone() -> None:
    """It holds the run no longer than tasks do that refuse to stop, and is closed if it comes after all."""
    release, log = asyncio.Event(), []

    @resource(scope="task")
    async def stubborn() -> AsyncIterator[str]:
        while not release.is_set():
            with suppress(asyncio.CancelledError):
                await release.wait()
        yield "stubborn"
        log.append("closed")

    async with asyncio.timeout(LIMIT), no_leaks():
        with pytest.raises(TaskTimeoutError):
            await Engine(stop_timeout=0.01).run(using(stubborn).with_timeout(0.01))
        release.set()
        await eventually(lambda: log == ["closed"])


async def test_what_a_thread_opens_when_nobody_waits_any_more_is_closed_at_once() -> None:
    """A step in a thread cannot be stopped, but it does not stay open."""
    release, log = threading.Event(), []

    @resource(scope="task")
    def slow() -> Iterator[str]:
        release.wait(60)
        try:
            yield "too late"
        finally:
            log.append("closed")

    async with asyncio.timeout(LIMIT), no_leaks():
        with pytest.raises(TaskTimeoutError):
            await Engine(stop_timeout=0.01).run(using(slow).with_timeout(0.01))
        assert not log
        release.set()
        await eventually(lambda: log == ["closed"])


async def test_what_a_thread_opens_in_the_moment_at_which_it_is_given_up_is_closed_by_one() -> None:
    """The thread leaves alone what it has handed over, or two would run one generator at a time."""

    @resource(scope="task")
    def fast() -> Iterator[str]:
        yield "just in time"

    class Late:
        """A lock after which the opening is given up at once."""

        def __enter__(self) -> None:
            pass

        def __exit__(self, *args: object) -> None:
            steps._given_up = True

    steps = _Steps(fast, {}, ThreadExecutor(1))
    steps._lock = Late()  # type: ignore[assignment]
    assert steps._step() == "just in time"
    assert steps._arrived
    assert inspect.getgeneratorstate(steps._generator) == inspect.GEN_SUSPENDED


async def test_a_run_cancelled_while_it_closes_closes_the_rest_too() -> None:
    """A cancel is heard when everything is closed, in order."""
    closing, go_on, log = asyncio.Event(), asyncio.Event(), []

    @resource
    async def outer() -> AsyncIterator[str]:
        yield "outer"
        log.append("outer")

    @resource
    async def slow() -> AsyncIterator[str]:
        yield "slow"
        closing.set()
        await go_on.wait()
        log.append("slow")

    async with asyncio.timeout(LIMIT), no_leaks():
        run = asyncio.create_task(Engine().run(using(outer, slow)))
        await closing.wait()
        run.cancel()
        await asyncio.sleep(0)
        assert not log
        go_on.set()
        await asyncio.wait({run})
    assert run.cancelled()
    assert log == ["slow", "outer"]


async def test_who_cancels_every_task_of_the_loop_does_not_disturb_the_order() -> None:
    """Open resources wait for the word of their run, which is being cancelled itself."""
    log: list[str] = []
    begun = asyncio.Event()

    @resource
    async def outer() -> AsyncIterator[str]:
        yield "outer"
        log.append("outer")

    @resource
    async def inner() -> AsyncIterator[str]:
        yield "inner"
        await asyncio.sleep(0)
        log.append("inner")

    async def work() -> None:
        begun.set()
        await endless()

    run = asyncio.create_task(Engine().run(using(outer, inner, work=work)))
    await begun.wait()
    for each in asyncio.all_tasks() - {asyncio.current_task()}:
        each.cancel()
    await asyncio.wait({run})
    assert log == ["inner", "outer"]


async def test_a_resource_that_could_not_be_opened_is_tried_again() -> None:
    """Who retries opens it anew, and then all share it."""
    tries: list[int] = []

    @resource
    def flaky() -> Iterator[int]:
        tries.append(1)
        if len(tries) < 2:
            raise OSError("not yet")
        yield len(tries)

    assert await Engine().run([using(flaky).with_retry(2), using(flaky).with_retry(2)]) == [(2, 2), (2, 2)]


async def test_a_run_that_was_cancelled_stays_so_when_its_resources_cannot_be_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Row 27: what could not be closed is logged, and hides neither the cancel nor its status."""
    engine, begun = Engine(), asyncio.Event()
    told = ends(engine)

    async def work() -> None:
        begun.set()
        await endless()

    run = asyncio.create_task(engine.run(using(broken, work=work)))
    await begun.wait()
    run.cancel()
    await asyncio.wait({run})
    assert run.cancelled()
    assert told[0].status is RunStatus.CANCELLED
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING] == [
        "resources could not be closed: OSError: cannot close"
    ]


class Frozen(Exception):
    """An error that takes no notes."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "__notes__":
            raise AttributeError(name)
        super().__setattr__(name, value)


@pytest.mark.parametrize("scope", ["run", "task"])
@pytest.mark.parametrize("error", [ValueError("boom"), Frozen("boom")])
async def test_a_failure_is_not_replaced_by_that_of_closing(
    scope: Any, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """The task's own error is raised, with a note about the other one if it takes notes."""

    @resource(scope=scope)
    def broken() -> Iterator[str]:
        yield "broken"
        raise OSError("cannot close")

    async def work() -> None:
        raise error

    with pytest.raises(type(error), match="boom") as caught:
        await Engine().run(using(broken, work=work))
    assert caught.value is error
    assert "cannot close" in caplog.text
    assert isinstance(error, Frozen) or any("cannot close" in note for note in caught.value.__notes__)


async def test_a_cache_is_closed_although_a_resource_cannot_be(tmp_path: Path) -> None:
    """Neither its thread nor its open file outlives the run."""
    cache = SqliteCache(tmp_path / "cache.db")
    async with no_leaks():
        with pytest.raises(OSError, match="cannot close"):
            await Engine(cache_backend=cache).run(using(broken).with_cache())


async def test_several_that_cannot_be_closed_are_told_together() -> None:
    """None of them hides another one."""

    @resource
    def also() -> Iterator[str]:
        yield "also"
        raise ValueError("nor this")

    with pytest.raises(ExceptionGroup, match="could not be closed") as caught:
        await Engine().run(using(broken, also))
    assert sorted(map(str, caught.value.exceptions)) == ["cannot close", "nor this"]


async def test_a_resource_is_not_opened_when_its_time_is_over() -> None:
    """A task that would not stop gets an error instead of something that nobody would close."""
    threads = ThreadExecutor(1)
    async with Scope([], threads) as scope:
        pass
    with pytest.raises(ResourceFailedError, match="'broken' is asked for when its time is over"):
        await scope.fill(call_of(using(broken)).definition, (), {})
    await threads.close()


async def test_resources_in_a_circle_are_refused_before_anything_runs() -> None:
    """The circle is told in words, instead of a RecursionError from the engine's insides."""
    log: list[str] = []

    @resource(name="a")
    def first_of_them(b: Any = inject("b")) -> Iterator[int]:  # noqa: B008 - that is how it is declared
        yield 1

    @resource(name="b")
    def second(a: Any = inject(first_of_them)) -> Iterator[int]:  # noqa: B008
        yield 2

    @task(mode="inline")
    def first() -> None:
        log.append("ran")

    with pytest.raises(UsageError, match=r"task 'use': resources need each other in a circle: a -> b -> a"):
        await Engine(resources=[first_of_them, second]).run([first(), using("a").after(first())])
    assert not log


async def test_a_resource_of_the_run_that_needs_one_of_a_task_is_refused_before_anything_runs() -> None:
    """Both names are told, and what to do."""
    log: list[str] = []

    @resource(scope="task")
    def short() -> Iterator[int]:
        yield 1

    @resource
    def long(s: Any = inject(short)) -> Iterator[int]:  # noqa: B008
        yield 2

    @task(mode="inline")
    def first() -> None:
        log.append("ran")

    with pytest.raises(UsageError, match=r"'long' lives for the run and cannot use 'short'.*the same scope"):
        await Engine().run([first(), using(long).after(first())])
    assert not log
