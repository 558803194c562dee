"""How runs stop: no further call starts, nothing outlives them in silence, and every fault ends them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from admission_parts import Policy
from observers import watch
from simple_tasks import fail, hold, step

from cascade.interfaces import (
    Lifecycle,
    LifecycleEvent,
    ResourceFailedError,
    RunStatus,
    TaskCancelledError,
    TaskState,
    TaskStateEvent,
)
from cascade.interfaces.topics import constraint_topic
from cascade.runtime import Engine, EventBus, LocalConnector, LocalHub
from cascade.runtime._scheduler.expansion import GraphExpansion
from cascade.runtime._scheduler.outcome import RunOutcome
from cascade.spec import LazyResult, inject, resource, task
from cascade.testkit import eventually, time_limit

LIMIT = 30.0


@task
async def refuses(begun: asyncio.Event, free: asyncio.Event) -> None:
    """Swallow every cancel until it is free."""
    begun.set()
    while not free.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await free.wait()


def told(events: list[Any], name: str) -> list[str]:
    return [e.state.value for e in events if isinstance(e, TaskStateEvent) and e.task_name == name]


def end_of(events: list[Any]) -> LifecycleEvent:
    (end,) = [e for e in events if isinstance(e, LifecycleEvent) and e.event is Lifecycle.ENGINE_STOPPED]
    return end


async def write(hub: LocalHub, topic: str, payload: dict[str, Any]) -> None:
    async with LocalConnector(hub, source_id="desk") as desk:
        await desk.publish(topic, payload, 1, retain=True)


async def test_tasks_that_wait_when_the_run_stops_are_reported_as_cancelled() -> None:
    """After a task was reported as BLOCKED, RUNNING or CANCELLED follows."""
    engine = Engine(system_resources={"gpu": 1})
    events = watch(engine)
    waiting = [hold().with_constraints(gpu=1) for _ in range(200)]
    run = asyncio.create_task(engine.run(waiting))
    await eventually(lambda: told(events, "hold").count("BLOCKED") == 199)
    run.cancel()
    await asyncio.wait({run})
    last = {e.task_id: e.state for e in events if isinstance(e, TaskStateEvent)}
    assert set(last.values()) == {TaskState.CANCELLED}
    assert events[-1] is end_of(events)


class Exits:
    """A value that raises GeneratorExit whatever it is asked for."""

    @property
    def attribute(self) -> int:
        raise GeneratorExit

    def __bool__(self) -> bool:
        raise GeneratorExit


@task
async def exits() -> Any:
    return Exits()


@task
async def leave_its_generator() -> None:
    raise GeneratorExit


@task(mode="thread")
def leave_in_a_thread() -> None:
    raise GeneratorExit


@resource
async def opens_with_an_exit() -> AsyncIterator[int]:
    if opens_with_an_exit:
        raise GeneratorExit
    yield 1


@resource
async def closes_with_an_exit() -> AsyncIterator[int]:
    yield 1
    raise GeneratorExit


@task
async def opening(held: int = inject("opens_with_an_exit")) -> None:
    pass


@task
async def closing(held: int = inject("closes_with_an_exit")) -> None:
    pass


EXITING: dict[str, tuple[Callable[[], LazyResult[Any]], str]] = {
    "a task": (leave_its_generator, "the task raised GeneratorExit"),
    "a task in a thread": (leave_in_a_thread, "the task raised GeneratorExit"),
    "an attribute": (lambda: step(exits().attribute), "the task raised GeneratorExit"),
    "a condition": (lambda: step().run_if(exits()), "the task raised GeneratorExit"),
    "a resource that opens": (opening, "raised GeneratorExit while it was opened"),
    "a resource that closes": (closing, "raised GeneratorExit while it was closed"),
}


@pytest.mark.parametrize("what", EXITING)
async def test_a_generator_exit_is_a_failure_like_any_other(what: str) -> None:
    """It neither escapes from the run while others run nor skips the run's own clean-up."""
    declared, message = EXITING[what]
    engine = Engine(resources=[opens_with_an_exit, closes_with_an_exit])
    events = watch(engine)
    async with time_limit(LIMIT):
        with pytest.raises((RuntimeError, ResourceFailedError), match=message):
            await engine.run([declared(), step() if what.endswith("closes") else hold()])
    assert end_of(events).status is RunStatus.FAILED
    assert all(not each.get_name().startswith("hold") for each in asyncio.all_tasks())


class Unspeakable(Exception):
    """An error whose texts raise what no program expects from them."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __str__(self) -> str:
        raise KeyboardInterrupt


@pytest.mark.parametrize("on_failure", ["stop", "continue"])
async def test_an_error_whose_texts_raise_is_raised_like_any_other(on_failure: Any) -> None:
    """Row 31: the run ends with it, events name its type, and the tasks beside it end as usual."""

    @task
    async def fails() -> None:
        raise Unspeakable

    engine = Engine()
    events = watch(engine)
    async with time_limit(LIMIT):
        with pytest.raises((Unspeakable, ExceptionGroup)):
            await engine.run([fails(), step()], on_failure=on_failure)
    assert end_of(events).status is RunStatus.FAILED
    errors = [e.error for e in events if isinstance(e, TaskStateEvent) and e.error]
    assert errors == ["Unspeakable: <its message could not be made>"]


async def test_a_huge_error_text_is_cut_before_it_is_published() -> None:
    """Row 31: no event keeps more of it than a few thousand characters; the error itself is unchanged."""
    engine = Engine()
    events = watch(engine)
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - its text is compared below
        await engine.run(fail("x" * 1_000_000))
    assert len(str(raised.value)) == 1_000_000
    assert max(len(e.error) for e in events if isinstance(e, LifecycleEvent | TaskStateEvent)) < 3_000


@task
async def items() -> list[int]:
    return [1, 2]


SLIPS: dict[str, tuple[type, str]] = {
    "of a task": (RunOutcome, "complete"),
    "of a task that failed": (RunOutcome, "fail"),
    "of what grows": (GraphExpansion, "_branch"),
    "of who lets tasks pass": (Policy, "admit"),
}


@pytest.mark.parametrize("where", SLIPS)
async def test_a_fault_of_the_engine_ends_the_run(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in a callback or task that no code awaits is raised by the run, which does not wait for ever."""

    def slip(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("a slip")

    monkeypatch.setattr(*SLIPS[where], slip)
    failing = fail() if where == "of a task that failed" else step()
    async with time_limit(LIMIT):
        with pytest.raises(RuntimeError, match="a slip"):
            await Engine(system_resources={"gpu": 1}).run(
                [step.map(x=items()), failing.with_constraints(gpu=1), hold()]
            )


async def test_a_bus_that_fails_harms_no_run(caplog: pytest.LogCaptureFixture) -> None:
    """A bus of the user's own may raise: one line says so, and the result is right."""

    class Broken(EventBus):
        def publish(self, event: object) -> None:
            raise ConnectionError("no observer")

    engine = Engine(bus=Broken())
    watch(engine)
    async with time_limit(LIMIT):
        assert await engine.run([step(1), step(2)]) == [1, 2]
    assert len(caplog.records) == 1


async def cancel_tasks(hub: LocalHub, name: str) -> None:
    payload = {"type": "cancel", "expires_at": 4e9}
    await write(hub, constraint_topic(f"task:{name}", "cancel"), payload)


@pytest.mark.parametrize("when", ["running", "waiting", "between attempts"])
async def test_a_run_that_ends_with_a_task_cancelled_from_outside_ends_as_cancelled(when: str) -> None:
    """Cancelling a task that the target needs cancels the run; the run has not failed."""
    hub = LocalHub()
    engine = Engine(connector=LocalConnector(hub, source_id="line-3"), system_resources={"gpu": 1})
    events = watch(engine)
    held = hold().with_constraints(gpu=1)
    cases: dict[str, tuple[list[LazyResult[Any]], str]] = {
        "running": ([hold().named("one")], "RUNNING"),
        "waiting": ([held, step().with_constraints(gpu=1).named("one")], "BLOCKED"),
        "between attempts": ([fail().with_retry(2, delay=3600).named("one")], "RETRYING"),
    }
    lazies, last = cases[when]
    run = asyncio.create_task(engine.run(lazies))
    await eventually(lambda: told(events, "one")[-1:] == [last])
    await cancel_tasks(hub, "one")
    with pytest.raises(TaskCancelledError, match="cascade/constraints/task/one/@cancel"):
        await run
    assert told(events, "one")[-1] == "CANCELLED"
    assert end_of(events).status is RunStatus.CANCELLED
    assert "'one' was cancelled" in end_of(events).error


async def test_failures_are_not_lost_when_something_else_ends_the_run() -> None:
    """With on_failure="continue" what had failed before stands in the notes of what is raised."""

    @task
    async def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as raised:
        await Engine().run([fail("one"), interrupted().after(step(1))], on_failure="continue")
    (note,) = raised.value.__notes__
    first, second = (line.split(" in task")[0] for line in note.splitlines())
    assert (first, second) == ("before that, 1 of the run's tasks had failed:", "  ValueError: one,")


async def test_waiting_tasks_of_a_run_that_is_cancelled_twice_are_reported_as_cancelled() -> None:
    """After a second cancel, every task that was reported as blocked is still reported as cancelled."""
    engine = Engine(system_resources={"gpu": 1}, stop_timeout=60.0)
    events = watch(engine)
    begun, free = asyncio.Event(), asyncio.Event()

    waiting = [hold().with_constraints(gpu=1) for _ in range(3)]
    run = asyncio.create_task(engine.run([refuses(begun, free), *waiting]))
    await eventually(lambda: told(events, "hold").count("BLOCKED") == 2)
    run.cancel()
    await eventually(lambda: "CANCELLED" in told(events, "hold"))
    run.cancel()
    async with time_limit(LIMIT):
        await asyncio.wait({run})
    free.set()
    await eventually(lambda: asyncio.all_tasks() == {asyncio.current_task()})
    assert told(events, "hold").count("CANCELLED") == 3
