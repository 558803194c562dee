"""The items of maps: in which order they start, how many at once, and what becomes of the map when some do not end well."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from observers import watch_tasks

from cascade.interfaces import TaskState, UsageError
from cascade.runtime import Engine
from cascade.spec import LazyResult, task
from cascade.testkit import time_limit

LIMIT = 50.0


@task(mode="inline")
def give(value: Any) -> Any:
    return value


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
