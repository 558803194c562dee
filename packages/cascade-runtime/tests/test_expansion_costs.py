"""Graphs that expand while they run: loops, recursion, routes and maps, and what they keep and cost."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest

from cascade.interfaces import UsageError
from cascade.runtime import Engine
from cascade.runtime._graph.node import Node
from cascade.spec import Call, LazyResult, Router, task
from cascade.testkit import time_limit


@task(mode="inline")
def give(value: Any, *others: Any) -> Any:
    return value


@pytest.fixture
def frozen() -> Iterator[None]:
    """Have the garbage collector look only at objects that the test makes."""
    gc.freeze()
    yield
    gc.unfreeze()
    gc.collect()
    gc.freeze()  # as it was: what stays to the end of all tests


def alive() -> tuple[int, int]:
    """Count the nodes and calls that are kept, of those that the test made."""
    gc.collect()
    kept = gc.get_objects()
    return sum(isinstance(each, Node) for each in kept), sum(isinstance(each, Call) for each in kept)


@pytest.mark.full
@pytest.mark.parametrize("routers", [0, 1, 2])
async def test_a_loop_keeps_no_more_with_every_step(frozen: None, routers: int) -> None:
    """A step that is chosen by what the last one returned takes its place, and all that was behind it is freed."""
    kept = []

    @task(mode="inline")
    def step(n: int) -> Any:
        if n % 8 == 0:
            kept.append(alive())
        following: Any = step(n - 1) if n else give("end")
        for _ in range(routers):
            following = Router(give(n > 0), {True: following, False: give("end", give(n))})
        return following

    assert await Engine().run(give(step(31))) == "end"
    assert len(kept) == 4
    assert len(set(kept[:3])) == 1


@pytest.mark.parametrize("wrap", [lambda lazy: lazy, give], ids=["itself", "what needs it"])
async def test_a_task_that_returns_what_waits_for_it_fails(wrap: Any) -> None:
    """It would wait for ever: the error names it instead."""
    targets: list[LazyResult[Any]] = []

    @task(mode="inline")
    def returns_its_end() -> Any:
        return wrap(targets[0])

    targets.append(give(returns_its_end()))
    words = "'returns_its_end:0' returned a call that depends on 'returns_its_end:0' itself"
    with pytest.raises(UsageError, match=words):
        async with time_limit(50):
            await Engine().run(targets[0])


LARGE = 100_000
BATCH = 2_048
"""Tasks that are started in one iteration of the loop, at most."""


@task(mode="inline")
def many() -> list[int]:
    return list(range(LARGE))


@pytest.mark.full
async def test_a_large_map_keeps_only_the_items_that_run(frozen: None) -> None:
    """However many items there are, a node and its arguments exist while an item can run, and not longer."""
    kept: list[int] = []

    @task(mode="inline")
    def look(n: int) -> int:
        if n % 1_000 == 0:
            kept.append(alive()[0])
        return n

    assert await Engine().run(look.map(n=range(10_000))) == list(range(10_000))
    assert len(kept) == 10
    assert max(kept) < BATCH + 100
