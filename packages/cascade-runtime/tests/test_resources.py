"""Resources: closed in reverse order whatever happens; their errors hide no other error."""

import asyncio
import logging
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from desk import limits_of, pass_now

from cascade.interfaces import (
    LifecycleEvent,
    ResourceFailedError,
    ResourceNotFoundError,
    RunStatus,
    TaskTimeoutError,
    UsageError,
)
from cascade.runtime import Engine, ThreadExecutor, override_resource
from cascade.spec import LazyResult, Resource, inject, resource, task
from cascade.testkit import eventually, no_leaks, time_limit

LIMIT = 50.0


async def endless() -> None:
    await asyncio.Event().wait()


def using(*what: Resource | str, work: Callable[[], Any] | None = None) -> LazyResult[Any]:
    """Return a task that needs these resources, opens the first one first, and then works."""

    @task
    async def use(a: Any = inject(what[0]), b: Any = inject(what[-1])) -> Any:  # noqa: B008 - each has its own
        return await work() if work is not None else (a, b)

    return use()


def ends(engine: Engine) -> list[LifecycleEvent]:
    events: list[LifecycleEvent] = []
    engine.bus.subscribe(LifecycleEvent, lambda event: events.append(event) if event.status else None)
    return events


@resource
async def broken() -> AsyncIterator[str]:
    yield "broken"
    raise OSError("cannot close")


@pytest.mark.parametrize("when", ["opening", "closing"])
async def test_a_resource_that_raises_system_exit_ends_the_run_in_order(when: str) -> None:
    """Other open resources are closed, even if that fails. A resource that a task needs fails it, as sys.exit in a task does."""
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

    with pytest.raises(RuntimeError if when == "opening" else SystemExit, match=r"sys\.exit\(3\)|4"):
        await Engine().run(using(outer, exits))
    assert log == ["closed"]


@pytest.mark.parametrize("scope", ["run", "task"])
async def test_a_run_that_is_cancelled_leaves_no_opening_behind(scope: Any) -> None:
    """A resource shared by the run is cancelled too when the run ends."""
    begun = asyncio.Event()

    @resource(scope=scope)
    async def slow() -> AsyncIterator[str]:
        begun.set()
        await endless()
        yield "never"

    async with time_limit(LIMIT), no_leaks():
        run = asyncio.create_task(Engine().run(using(slow)))
        await begun.wait()
        run.cancel()
        await asyncio.wait({run})
    assert run.cancelled()


@pytest.mark.parametrize("scope", ["run", "task"])
async def test_a_teardown_that_hangs_is_cancelled_after_its_time_limit(scope: Any) -> None:
    """The engine's close_timeout limits it, and resources opened before are closed all the same."""
    log: list[str] = []

    @resource(scope=scope)
    async def outer() -> AsyncIterator[str]:  # on the loop: a thread may need longer than the limit
        yield "outer"
        log.append("closed")

    @resource(scope=scope)
    async def hangs() -> AsyncIterator[str]:
        yield "hangs"
        await endless()

    async with time_limit(LIMIT), no_leaks():
        with pytest.raises(
            ResourceFailedError, match=r"'hangs' did not close within 0.05 s and was cancelled"
        ):
            await Engine(close_timeout=0.05).run(using(outer, hangs))
    assert log == ["closed"]


async def test_a_teardown_that_ignores_its_cancellation_is_abandoned() -> None:
    """The run ends while the resource is still running."""
    release = asyncio.Event()

    @resource
    async def still_running() -> AsyncIterator[str]:
        yield "still running"
        while not release.is_set():
            with suppress(asyncio.CancelledError):
                await release.wait()

    async with time_limit(LIMIT), no_leaks():
        with pytest.raises(
            ResourceFailedError, match=r"'still_running' is still running 0.01 s after it was cancelled"
        ):
            await Engine(close_timeout=0.01, stop_timeout=0.01).run(using(still_running))
        release.set()


async def test_a_resource_opened_in_a_thread_after_its_attempt_ended_is_closed_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A step in a thread cannot be stopped, but the resource does not stay open."""
    begun, release, log = threading.Event(), threading.Event(), list[str]()
    limits = limits_of(3600, monkeypatch)

    @resource(scope="task")
    def slow() -> Iterator[str]:
        begun.set()
        release.wait(60)
        try:
            yield "too late"
        finally:
            log.append("closed")

    async with time_limit(LIMIT), no_leaks():
        run = asyncio.create_task(Engine(stop_timeout=0.01).run(using(slow).with_timeout(3600)))
        await eventually(begun.is_set)
        pass_now(limits[0])
        with pytest.raises(TaskTimeoutError):
            await run
        assert not log
        release.set()
        await eventually(lambda: log == ["closed"])


async def test_a_resource_that_was_opened_as_its_opening_was_cancelled_is_closed() -> None:
    """The thread has handed its value over, but the cancel comes first: no other code could close it."""
    log: list[str] = []

    @resource
    def held() -> Iterator[str]:
        try:
            yield "just in time"
        finally:
            log.append("closed")

    class Cancelling(ThreadExecutor):
        """Is cancelled at the moment at which its first call has returned."""

        async def run(self, function: Any, args: Any, kwargs: Any) -> Any:
            value = await super().run(function, args, kwargs)
            if value is not None:
                raise asyncio.CancelledError
            return value

    threads = Cancelling(1)
    with pytest.raises(ResourceFailedError, match="was cancelled while it was opened"):
        await Engine(executors={"thread": threads}).run(using(held))
    assert log == ["closed"]
    await threads.close()


async def test_a_run_cancelled_while_it_closes_resources_closes_the_others_too() -> None:
    """The cancellation takes effect when every resource is closed, in order."""
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

    async with time_limit(LIMIT), no_leaks():
        run = asyncio.create_task(Engine().run(using(outer, slow)))
        await closing.wait()
        run.cancel()
        await asyncio.sleep(0)
        assert not log
        go_on.set()
        await asyncio.wait({run})
    assert run.cancelled()
    assert log == ["slow", "outer"]


async def test_a_resource_that_could_not_be_opened_is_tried_again() -> None:
    """A retry opens it again, and then all tasks share it."""
    tries: list[int] = []

    @resource
    def flaky() -> Iterator[int]:
        tries.append(1)
        if len(tries) < 2:
            raise OSError("not yet")
        yield len(tries)

    assert await Engine().run([using(flaky).with_retry(2), using(flaky).with_retry(2)]) == [(2, 2), (2, 2)]


async def test_a_cancelled_run_stays_cancelled_when_its_resources_cannot_be_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Row 27: a closing error is logged, and hides neither the cancellation nor the status."""
    engine, begun = Engine(), asyncio.Event()
    events = ends(engine)

    async def work() -> None:
        begun.set()
        await endless()

    run = asyncio.create_task(engine.run(using(broken, work=work)))
    await begun.wait()
    run.cancel()
    await asyncio.wait({run})
    assert run.cancelled()
    assert events[0].status is RunStatus.CANCELLED
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING] == [
        "resources could not be closed: OSError: cannot close"
    ]


async def test_several_closing_errors_are_raised_together() -> None:
    """No error hides another one."""

    @resource
    def also() -> Iterator[str]:
        yield "also"
        raise ValueError("nor this")

    with pytest.raises(ExceptionGroup, match="could not be closed") as caught:
        await Engine().run(using(broken, also))
    assert sorted(map(str, caught.value.exceptions)) == ["cannot close", "nor this"]


@resource(name="a")
def first_of_two(b: Any = inject("b")) -> Iterator[int]:  # noqa: B008 - this is how a dependency is declared
    yield 1


@resource(name="b")
def second_of_two(a: Any = inject(first_of_two)) -> Iterator[int]:  # noqa: B008
    yield 2


@resource(scope="task")
def short() -> Iterator[int]:
    yield 1


@resource
def long(s: Any = inject(short)) -> Iterator[int]:  # noqa: B008
    yield 2


@pytest.mark.parametrize(
    ("needed", "words"),
    [
        ("a", "task 'use': resources need each other in a cycle: a -> b -> a"),
        (long, "'long' lives for the run and cannot use 'short'.*the same scope"),
    ],
)
async def test_resources_that_cannot_be_opened_are_rejected_before_the_first_task(
    needed: Any, words: str
) -> None:
    """The error names them; it is not a RecursionError from inside the engine."""
    log: list[str] = []

    @task(mode="inline")
    def first() -> None:
        log.append("ran")

    with pytest.raises(UsageError, match=words):
        await Engine(resources=[first_of_two, second_of_two]).run([first(), using(needed).after(first())])
    assert not log


async def test_tasks_that_need_a_resource_at_one_time_open_it_once() -> None:
    """Also while what it needs itself is still being opened; everything is closed once, the last one first."""
    log: list[str] = []
    go_on = asyncio.Event()

    def noted(name: str) -> Iterator[str]:
        log.append(f"open {name}")
        yield name
        log.append(f"close {name}")

    @resource
    async def server() -> AsyncIterator[str]:
        await go_on.wait()
        for each in noted("server"):
            yield each

    @resource
    async def pool(server: str = inject(server)) -> AsyncIterator[str]:
        for each in noted(f"pool of {server}"):
            yield each

    async with time_limit(LIMIT), no_leaks():
        run = asyncio.create_task(Engine().run([using(pool), using(server, pool), using(pool)]))
        for _ in range(20):
            await asyncio.sleep(0)
        go_on.set()
        value = "pool of server"
        assert await run == [(value, value), ("server", value), (value, value)]
    assert log == ["open server", "open pool of server", "close pool of server", "close server"]


async def test_a_value_in_the_place_of_a_resource_is_that_of_the_innermost_context() -> None:
    """Contexts add to each other, end with an error too, and hold for resources that others need."""
    opened: list[str] = []

    @resource
    def database() -> Iterator[str]:
        opened.append("database")
        yield "database"

    @resource(name="other")
    def other_database() -> Iterator[str]:
        opened.append("other")
        yield "other"

    @resource
    def pool(database: str = inject(database)) -> Iterator[str]:
        yield f"pool of {database}"

    async def used() -> Any:
        return await Engine(resources=[pool]).run(using("pool", "cache"))

    with override_resource("cache", None), override_resource("database", "fake"):
        assert await used() == ("pool of fake", None)
        with suppress(KeyError), override_resource("database", other_database):
            assert await used() == ("pool of other", None)
            raise KeyError
        with override_resource("pool", 0):
            assert await used() == (0, None)
        assert await used() == ("pool of fake", None)
    assert opened == ["other"]
    with pytest.raises(ResourceNotFoundError, match="'cache'"):
        await used()


@pytest.mark.parametrize("scope", ["run", "task"])
async def test_every_closing_error_is_noted_on_a_failure(
    scope: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """In the order in which the resources were opened, with one line of the log for each and without a password."""

    @resource(scope=scope)
    def first() -> Iterator[str]:
        yield "first"
        raise OSError("no route to db://user:hunter2@host")

    @resource(scope=scope)
    async def last() -> AsyncIterator[str]:
        yield "last"
        raise ValueError("two\nlines")

    async def work() -> None:
        raise KeyError("boom")

    with pytest.raises(KeyError, match="boom") as caught:
        await Engine().run(using(first, last, work=work))
    lines = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert [line.split(":")[1] for line in lines] == [" OSError", " ValueError"]
    assert all(line.startswith("resources could not be closed: ") for line in lines)
    assert [note for note in caught.value.__notes__ if note.startswith("resources")] == lines
    assert "hunter2" not in str(lines)
    assert "\n" not in lines[1]


@pytest.mark.parametrize("ends", ["raises GeneratorExit", "is cancelled", "does not end"])
@pytest.mark.parametrize("when", ["opened", "closed"])
async def test_an_odd_end_of_a_resource_is_a_failure_that_names_it(ends: str, when: str) -> None:
    """The error says what to do, and what the resource had raised is its cause."""
    odd: dict[str, type[BaseException]] = {
        "raises GeneratorExit": GeneratorExit,
        "is cancelled": asyncio.CancelledError,
        "does not end": TimeoutError,
    }

    async def end() -> None:
        if ends == "does not end" and when == "closed":
            await endless()
        raise odd[ends]

    @resource
    async def strange() -> AsyncIterator[str]:
        if when == "opened":
            await end()
        yield "strange"
        await end()

    said = {
        ("raises GeneratorExit", "opened"): "raised GeneratorExit while it was opened",
        ("raises GeneratorExit", "closed"): "raised GeneratorExit while it was closed",
        ("is cancelled", "opened"): "was cancelled while it was opened",
        ("is cancelled", "closed"): "was cancelled while it was closed",
        ("does not end", "closed"): "did not close within 0.05 s and was cancelled; make it close faster, "
        "or raise close_timeout=",
    }.get((ends, when))
    limit = 0.05 if ends == "does not end" else 60.0
    async with time_limit(LIMIT), no_leaks():
        with pytest.raises(ResourceFailedError if said else TimeoutError) as caught:
            await Engine(close_timeout=limit).run(using(strange))
    if said:
        assert f"'strange' {said}" in str(caught.value)
        assert type(caught.value.__cause__) is odd[ends]
