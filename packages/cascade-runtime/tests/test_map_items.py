"""The items of maps: in which order they start, how many at once, and what becomes of the map when some do not end well."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from observers import watch_tasks

from cascade.interfaces import TaskState, TaskStateEvent, UsageError
from cascade.interfaces.topics import constraint_topic
from cascade.runtime import Engine, LocalConnector, LocalHub
from cascade.spec import LazyResult, task
from cascade.testkit import eventually, time_limit

LIMIT = 50.0


@task(mode="inline")
def give(value: Any) -> Any:
    return value


@task(mode="inline")
def add(a: int, b: int) -> int:
    return a + b


@task(mode="inline")
def fail_at(x: int, bad: frozenset[int]) -> int:
    if x in bad:
        raise ValueError(x)
    return x


class Later:
    """Yields calls when it is iterated; it is not a container that substitution searches."""

    def __init__(self, n: int) -> None:
        self._n = n

    def __iter__(self) -> Any:
        return (give(x) for x in range(self._n))


ITEMS: dict[str, Callable[[int], Any]] = {
    "values": range,
    "values that a task gives": lambda n: give([*range(n)]),
    "calls": lambda n: [give(x) for x in range(n)],
    "calls that a task gives": lambda n: give(Later(n)),
}


@pytest.mark.parametrize("limit", [1, 3, 64, 70])
@pytest.mark.parametrize("items", ITEMS)
async def test_a_limit_holds_and_the_items_start_in_order(items: str, limit: int) -> None:
    """Whether the items have nodes before they start or not, no more than the limit run, and all of them do."""
    running, most = 0, 0
    started: list[int] = []
    full = asyncio.Event()

    @task
    async def work(x: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        started.append(x)
        if running == limit:
            full.set()
        await full.wait()
        for _ in range(x % 4):
            await asyncio.sleep(0)
        running -= 1
        return -x

    mapped = work.map(x=ITEMS[items](200)).with_concurrency(limit)
    async with time_limit(LIMIT):
        assert await Engine().run(mapped) == [-x for x in range(200)]
    assert most == limit
    assert started == list(range(200))


@pytest.mark.parametrize("items", ITEMS)
async def test_the_map_is_skipped_because_of_its_first_item_that_failed(items: str) -> None:
    """The reason does not depend on which of them failed first, and every other item runs."""

    late_failed = asyncio.Event()

    @task
    async def late_fails_first(x: int) -> int:
        if x == 30:
            await late_failed.wait()
        if x == 90:
            late_failed.set()
        if x in (30, 90):
            raise ValueError(x)
        return x

    engine = Engine()
    events = watch_tasks(engine)
    with pytest.raises(ExceptionGroup) as group:
        await engine.run(give(late_fails_first.map(x=ITEMS[items](100))), on_failure="continue")
    assert [str(each) for each in group.value.exceptions] == ["90", "30"]
    ended = [e for e in events if e.task_name == "late_fails_first" and e.state is not TaskState.RUNNING]
    assert sum(e.state is TaskState.COMPLETED for e in ended) == 98
    (skipped,) = [e for e in ended if e.state is TaskState.SKIPPED]
    assert (skipped.task_id, skipped.reason) == (
        "late_fails_first:0",
        "late_fails_first:0[30] failed",
    )


async def test_every_item_of_a_map_known_before_the_run_is_skipped_with_what_it_needs() -> None:
    """Each is reported with the task that failed as the reason, also those that had no node yet."""
    engine = Engine()
    events = watch_tasks(engine)
    with pytest.raises(ExceptionGroup):
        await engine.run(add.partial(b=fail_at(1, frozenset([1]))).map(a=range(300)), on_failure="continue")
    skipped = [e for e in events if e.state is TaskState.SKIPPED]
    assert [e.task_id for e in skipped] == [*(f"add:0[{n}]" for n in range(300)), "add:0"]
    assert {e.reason for e in skipped[:-1]} == {"fail_at:0 failed"}
    assert skipped[-1].reason == "add:0[0] was skipped"
    assert [e.item for e in skipped] == [*range(300), None]


async def test_an_item_that_returns_what_needs_its_map_fails() -> None:
    """It would wait for ever: the error names it, although the map does not know the nodes of its items."""
    maps: list[LazyResult[Any]] = []

    @task(mode="inline")
    def returns_its_map(x: int) -> Any:
        return give(maps[0])

    maps.append(returns_its_map.map(x=range(3)))
    async with time_limit(LIMIT):
        with pytest.raises(UsageError, match=r"that depends on 'returns_its_map:0\[0\]' itself"):
            await Engine().run(give(maps[0]))


async def test_items_may_return_their_next_step_under_a_limit(unhurried: None) -> None:
    """An item keeps its place under the limit until the call that it returned is done."""
    running, most = 0, 0

    @task
    async def step(x: int, left: int) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return step(x, left - 1) if left else x

    mapped = step.partial(left=3).map(x=range(150)).with_concurrency(2)
    async with time_limit(LIMIT):
        assert await Engine().run(mapped) == list(range(150))
    assert most == 2


async def test_a_map_of_very_many_items_some_of_which_fail() -> None:
    """All others run, each failure is raised, and the loop has turns while they are collected."""
    bad = frozenset(range(0, 20_000, 40))
    with pytest.raises(ExceptionGroup) as group:
        await Engine().run(fail_at.partial(bad=bad).map(x=[*range(30_000)]), on_failure="continue")
    assert [str(each) for each in group.value.exceptions] == [str(n) for n in sorted(bad)]


@pytest.mark.full
@pytest.mark.process
async def test_no_tasks_start_once_several_engines_on_one_loop_report_a_pause() -> None:
    """A18: five engines that expand and start large maps obey: each reports the pause, and from then on starts nothing."""
    hub = LocalHub()
    started = dict.fromkeys([f"engine-{k}" for k in range(5)], 0)
    blocked = dict(started)
    at_report: dict[str, int] = {}

    @task
    async def work(x: int) -> int:
        await asyncio.sleep(0)
        return x

    async def on_report(topic: str, report: dict[str, Any]) -> None:
        if report["applied"]:
            at_report.setdefault(topic.split("/")[2], started[topic.split("/")[2]])

    def follow(source: str) -> Engine:
        engine = Engine(connector=LocalConnector(hub, source_id=source))

        def on_event(event: TaskStateEvent) -> None:
            started[source] += event.state is TaskState.RUNNING and event.task_name == "work"
            blocked[source] += event.state is TaskState.BLOCKED

        engine.bus.subscribe(TaskStateEvent, on_event)
        return engine

    topic = constraint_topic("global", "pause")
    engines = {source: follow(source) for source in started}
    mapped = {source: work.map(x=give([*range(5_000)])) for source in engines}
    async with time_limit(LIMIT * 2), LocalConnector(hub, source_id="desk") as desk:
        await desk.subscribe("cascade/state/+/constraints", on_report)
        runs = [asyncio.create_task(engines[each].run(mapped[each])) for each in engines]
        await eventually(lambda: any(started.values()))
        await desk.publish(topic, {"type": "pause"}, 1, retain=True)
        await eventually(lambda: len(at_report) == len(engines))
        await eventually(lambda: all(started[each] + blocked[each] == 5_000 for each in engines))
        assert started == at_report
        assert any(blocked.values())
        await desk.publish(topic, None, 1, retain=True)
        for run in runs:
            assert await run == list(range(5_000))
