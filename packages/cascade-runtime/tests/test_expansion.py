"""Maps, choices and calls that a task returned, while their graph is being built: they are not tasks that run."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fakes import Racing
from observers import watch_tasks

from cascade.interfaces import ResourceNotFoundError, TaskCancelledError, TaskState, TaskStateEvent
from cascade.interfaces.topics import constraint_topic
from cascade.runtime import Engine, LocalConnector, LocalHub
from cascade.spec import LazyResult, Router, inject, task
from cascade.testkit import eventually, time_limit

LIMIT = 50.0
ITEMS = 5_000


@task(mode="inline")
def numbers() -> list[int]:
    return list(range(ITEMS))


@task(mode="inline")
def item(x: int) -> int:
    return x


@task(name="item", mode="inline")
def return_map(xs: list[int]) -> Any:
    return item.map(x=xs)


@task(mode="inline")
def give(x: int) -> int:
    return x


@task(mode="inline")
def calls() -> Iterator[LazyResult[int]]:
    return (give(n) for n in range(ITEMS))


@task(mode="inline")
def stream() -> Iterator[int]:
    return iter(range(100_000))


@task(name="item", mode="inline")
def return_calls() -> Any:
    return [give(n) for n in range(ITEMS)]


GROWING: dict[str, Callable[[], LazyResult[Any]]] = {
    "a map": lambda: item.map(x=numbers()),
    "a map of calls": lambda: item.map(x=calls()),
    "what a task returned": lambda: return_map(numbers()),
}
SLOWLY_GROWING: dict[str, Callable[[], LazyResult[Any]]] = {
    "a map": lambda: item.map(x=stream()),
    "a map of calls": lambda: item.map(x=calls()),
    "what a task returned": return_calls,
}
"""These need more than ten iterations of the loop to grow."""


class Desk:
    """Writes a constraint at the moment at which an expansion begins, and reads reports."""

    def __init__(self, scope: str, kind: str, **payload: Any) -> None:
        self.hub = LocalHub()
        self.engine = Engine(connector=LocalConnector(self.hub, source_id="line-3"), clock=Racing())
        self.events: list[TaskStateEvent] = []
        self.topic = constraint_topic(scope, kind)
        self._payload = {"type": kind, **payload}
        self._writing: asyncio.Task[None] | None = None
        self.engine.bus.subscribe(TaskStateEvent, self._hear)

    def _hear(self, event: TaskStateEvent) -> None:
        self.events.append(event)
        if event.state is TaskState.COMPLETED and self._writing is None:
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        async with LocalConnector(self.hub, source_id="desk") as desk:
            await desk.publish(self.topic, self._payload, 1, retain=True)


@pytest.mark.process
@pytest.mark.parametrize("what", GROWING)
async def test_a_limit_that_comes_during_an_expansion_does_not_count_it(what: str) -> None:
    """I10: a map holds no slot that its items need, also not while it learns which items they are."""
    desk = Desk("task:item", "concurrency", params={"limit": 1})
    reports: list[int] = []

    async def hear(topic: str, data: dict[str, Any]) -> None:
        if data["applied"]:
            reports.append(data["in_scope_running"])

    async with LocalConnector(desk.hub) as reader, time_limit(LIMIT):
        await reader.subscribe("cascade/state/line-3/constraints", hear)
        assert await desk.engine.run(GROWING[what]()) == list(range(ITEMS))
        await eventually(lambda: reports)
    assert set(reports) <= {0, 1}
    assert reports[0] == 0


@pytest.mark.parametrize("what", GROWING)
async def test_a_cancel_that_comes_during_an_expansion_ends_the_run(what: str) -> None:
    """The expansion is not interrupted; its items are rejected when they ask for admission."""
    desk = Desk("task:item", "cancel", expires_at=4e9)
    async with time_limit(LIMIT):
        with pytest.raises(TaskCancelledError, match="task/item/@cancel"):
            await desk.engine.run(GROWING[what]())


def growing() -> list[asyncio.Task[Any]]:
    return [each for each in asyncio.all_tasks() if each.get_name().startswith("item")]


@pytest.mark.parametrize("turns", [0, 1, 10])
@pytest.mark.parametrize("what", SLOWLY_GROWING)
async def test_a_run_that_is_cancelled_during_an_expansion_ends(what: str, turns: int) -> None:
    """Wherever that is, also before the first step: nothing is left of it, and started tasks are reported as cancelled."""
    engine = Engine(clock=Racing())
    events = watch_tasks(engine)
    run = asyncio.create_task(engine.run(SLOWLY_GROWING[what]()))
    await grown_for(turns)
    run.cancel()
    await asyncio.wait({run})
    assert run.cancelled()
    assert [e.state for e in events if e.task_name == "item"][-1:] == [TaskState.CANCELLED]
    assert not growing()


async def grown_for(turns: int) -> None:
    """Wait until an expansion runs, and for so many iterations of the loop more."""
    while not growing():
        await asyncio.sleep(0)
    for _ in range(turns):
        await asyncio.sleep(0)


@task
async def needy(what: int = inject("nowhere")) -> int:
    return what


@pytest.mark.parametrize("continue_on_failure", [False, True])
async def test_a_task_that_returns_what_cannot_run_fails(continue_on_failure: bool) -> None:
    """It is reported as FAILED, once, and not as COMPLETED before."""

    @task
    async def returns() -> Any:
        return needy()

    engine = Engine()
    events = watch_tasks(engine)
    with pytest.raises((ResourceNotFoundError, ExceptionGroup)):
        await engine.run(returns(), on_failure="continue" if continue_on_failure else "stop")
    assert [e.state for e in events] == [TaskState.RUNNING, TaskState.FAILED]


@task
async def turn(times: int, then: Any = None) -> Any:
    """Yield to the loop so often."""
    for _ in range(times):
        await asyncio.sleep(0)
    return then


@task(mode="inline")
def count(xs: list[int]) -> int:
    return len(xs)


@task
async def cancel_the_expansion() -> int:
    while not (growing := [t for t in asyncio.all_tasks() if t.get_name().startswith("route")]):
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    growing[0].cancel()
    return 1


FORESTALLED: dict[str, tuple[LazyResult[int], list[LazyResult[int]]]] = {
    "it is refused": (turn(400, 1), [needy()]),
    "another task cancels it": (cancel_the_expansion(), []),
}


@pytest.mark.parametrize("how", FORESTALLED)
async def test_what_is_not_built_to_its_end_can_be_built_by_another(how: str) -> None:
    """A route that fails while it is built leaves no node behind for which another one would wait for ever."""
    later, refused = FORESTALLED[how]
    shared = item(turn(0, 7))
    given_up = count([*[item(shared) for _ in range(ITEMS)], *refused])
    both = [Router(turn(0, 1), {1: given_up}), Router(later, {1: item(shared)})]
    engine = Engine(clock=Racing())
    events: list[TaskStateEvent] = []
    engine.bus.subscribe(TaskStateEvent, events.append)
    async with time_limit(LIMIT):
        with pytest.raises(ExceptionGroup) as group:
            await engine.run(both, on_failure="continue")
    assert len(group.value.exceptions) == 1
    assert [e.state for e in events if e.task_name == "item"].count(TaskState.COMPLETED) == 2
