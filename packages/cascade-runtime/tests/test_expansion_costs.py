"""Graphs that expand while they run: loops, recursion, routes and maps, and what they keep and cost."""

import asyncio
import gc
import sys
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from fakes import Racing

from cascade.interfaces import UsageError
from cascade.runtime import Engine
from cascade.runtime._graph.node import Node
from cascade.spec import Call, LazyResult, Router, task
from cascade.testkit import time_limit


@task(mode="inline")
def give(value: Any, *others: Any) -> Any:
    return value


@task(mode="inline")
def add(a: int, b: int) -> int:
    return a + b


@task(mode="inline")
def climb(n: int) -> Any:
    """Recursion that is not in the last place."""
    return add(1, climb(n - 1)) if n else 0


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


def work(target: LazyResult[Any]) -> int:
    """Count the calls of functions, built-in ones too, that a run makes: a measure that no clock has a part in."""
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    with asyncio.Runner() as runner:
        runner.get_loop()
        sys.setprofile(count)
        try:
            runner.run(Engine().run(target))
        finally:
            sys.setprofile(None)
    return calls


def chain_of_choices(length: int) -> LazyResult[int]:
    """Make choices of which each has the next one in its routes."""
    value: LazyResult[int] = give(0)
    for _ in range(length):
        value = Router(give(0), {0: add(1, value), 1: add(2, value)})
    return value


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


@pytest.mark.parametrize("shape", [climb, chain_of_choices], ids=["recursion", "routes within routes"])
def test_the_work_of_expanding_is_linear(shape: Any) -> None:
    """Twice the depth is twice the work: nothing that lies around is walked again for each step."""
    some, double = work(shape(50)), work(shape(100))
    assert double < 2.2 * some


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


async def test_a_task_may_return_what_it_was_given() -> None:
    """The value of a call that only this task was waiting for is still there for it to return."""
    outer = give(7)

    @task(mode="inline")
    def pass_on(value: int) -> Any:
        return outer

    assert await Engine().run(pass_on(outer)) == 7


LARGE = 100_000
BATCH = 2_048
"""Tasks that are started in one iteration of the loop, at most."""


@task(mode="inline")
def many() -> list[int]:
    return list(range(LARGE))


def walked(steps: Generator[None, None, Any]) -> tuple[int, Any]:
    """Take all steps; return how many there were, and the result."""
    taken = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return taken, end.value
        taken += 1


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


async def test_a_map_over_a_long_generator_takes_its_items_in_steps() -> None:
    """The values of a task may come from any iterable; the loop runs other tasks while it is read."""
    turns: list[int] = []
    seen = 0

    def numbers() -> Iterator[int]:
        nonlocal seen
        while seen < 20_000:
            yield seen
            seen += 1

    async def count() -> None:
        while True:
            turns.append(seen)
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    assert await Engine(clock=Racing()).run(give.map(value=give(numbers()))) == list(range(20_000))
    counting.cancel()
    assert len({each for each in turns if 0 < each < 19_999}) >= 4
