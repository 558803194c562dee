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
from cascade.runtime._graph.builder import NODES_PER_STEP, VISITS_PER_STEP
from cascade.runtime._graph.graph import Graph
from cascade.runtime._graph.node import Node, Status
from cascade.runtime._scheduler.state import RunState
from cascade.spec import Call, LazyResult, Router, task
from cascade.testkit import time_limit


@task(mode="inline")
def give(value: Any, *others: Any) -> Any:
    return value


@task(mode="inline")
def add(a: int, b: int) -> int:
    return a + b


@task(mode="inline")
def take(x: int, table: list[Any]) -> int:
    return x


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


class Watched(list[Any]):
    """A list that counts how often it is looked into."""

    looks = 0

    def __iter__(self) -> Iterator[Any]:
        self.looks += 1
        return super().__iter__()


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


@pytest.mark.full
async def test_a_graph_that_a_call_grew_into_is_forgotten_with_its_value(frozen: None) -> None:
    """Many calls that return others keep no more at the end than when the first one was done."""
    kept = []

    @task(mode="inline")
    def grow(n: int) -> Any:
        return add(n, add(n, give(n)))

    @task(mode="inline")
    def look(n: int) -> int:
        kept.append(alive())
        return n

    values: LazyResult[Any] = give(0)
    for _ in range(5):
        values = look(grow(values))
    assert await Engine().run(values) == 0
    nodes, calls = zip(*kept, strict=True)
    assert max(nodes) == nodes[0]
    assert max(calls) == calls[0]


@pytest.mark.parametrize("shape", [climb, chain_of_choices], ids=["recursion", "routes within routes"])
def test_the_work_of_expanding_is_linear(shape: Any) -> None:
    """Twice the depth is twice the work: nothing that lies around is walked again for each step."""
    some, double = work(shape(50)), work(shape(100))
    assert double < 2.2 * some


def test_what_every_step_borrows_from_a_call_around_it_is_found_at_once() -> None:
    """A call that one step has made, and all steps inside it use, runs once and is found quickly by all."""

    @task(mode="inline")
    def begin(n: int) -> Any:
        shared = give(1)

        @task(mode="inline")
        def inside(n: int) -> Any:
            return add(shared, inside(n - 1)) if n else 0

        return add(shared, inside(n))

    assert asyncio.run(Engine().run(begin(20))) == 21
    some, double = work(begin(50)), work(begin(100))
    assert double < 2.2 * some


async def test_expansions_at_the_same_time_do_not_meet() -> None:
    """The same call, made by two tasks for themselves, is theirs: each runs it, whatever became of the other's."""
    later = give(5)
    runs = 0

    @task(mode="inline")
    def grow(n: int) -> Any:
        nonlocal runs
        runs += 1
        return add(n, later)

    assert await Engine().run(give(7, give(grow(grow(1))), grow(2))) == 7
    assert runs == 3
    assert await Engine().run([grow(1), grow(2)]) == [6, 7]


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


async def test_routes_that_share_much_may_be_chosen_at_the_same_time() -> None:
    """Building yields to other tasks, but they see no call that is half built."""
    shared: LazyResult[int] = give(3)
    for _ in range(1_000):
        shared = give(shared)
    routers = [Router(give(1), {1: give(shared), 2: shared}) for _ in range(2)]
    assert await Engine(clock=Racing()).run(routers) == [3, 3]


@pytest.mark.parametrize("items", [range(100), give(list(range(100)))], ids=["known", "known in the run"])
async def test_a_maps_fixed_arguments_are_searched_once(items: Any) -> None:
    """Whether a lazy result stands in a large list is not asked again for every item."""
    table = Watched(range(1000))
    mapped = take.partial(table=table).map(x=items)
    assert await Engine().run(mapped) == list(range(100))
    assert table.looks <= 3


async def test_a_list_that_many_calls_share_is_searched_once() -> None:
    """The same holds for calls that were made one by one."""
    table = Watched(range(1000))
    assert await Engine().run([take(n, table) for n in range(100)]) == list(range(100))
    assert table.looks == 1


def test_building_yields_to_the_loop_also_when_arguments_are_large() -> None:
    """A step ends with the list that fills it, not after so many calls, and also before the first one is built."""
    lazies = [take(n, list(range(VISITS_PER_STEP))) for n in range(5)]
    assert [len(nodes) for nodes in Graph().build(lazies)] == [0, 1, 1, 1, 1, 1]
    deep: LazyResult[Any] = give(0)
    for _ in range(1000):
        deep = give(deep)
    sizes = [len(nodes) for nodes in Graph().build([deep])]
    assert sum(sizes) == 1001
    assert len(sizes) > 12


MANY = 5_000


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


def with_inputs_done(node: Node, value: Any) -> None:
    """Pretend that the one task that a map waits for has given its value."""
    node.inputs[0].value, node.inputs[0].status = value, Status.DONE
    node.unmet = 0


@pytest.mark.parametrize("known", [True, False], ids=["known before the run", "given by a task"])
def test_the_items_of_a_map_have_no_nodes_before_they_start(known: bool) -> None:
    """Its arguments are looked into a few at a time; then the nodes of the next items are made, and no others."""
    graph, state = Graph(), RunState()
    lazy = give.map(value=list(range(LARGE)) if known else many())
    built = list(graph.build([lazy]))
    assert sum(map(len, built)) == 1 + (not known)
    node = graph.node(lazy)
    if known:
        assert len(built) >= LARGE / VISITS_PER_STEP
        state.admit([node])
    else:
        with_inputs_done(node, list(range(LARGE)))
        steps, (columns, lazies) = walked(graph.columns(node))
        assert steps >= 1
        assert lazies is None
        graph.begin_items(node, columns)
        state.resume(node)
    assert [*state.on_loop] == [node]
    state.on_loop.popleft()
    state.begin_items(node)
    first = [*state.on_loop]
    assert first.pop() is node, "the map stands behind the items that it has made"
    assert [each.number for each in first] == list(range(len(first)))
    assert 0 < len(first) <= 100
    assert node.items is not None
    assert node.items.unstarted == LARGE - len(first)
    assert node.unmet == LARGE
    assert len(graph) <= 2, "items are not entered"


def test_a_map_of_calls_is_built_a_few_items_at_a_time() -> None:
    """Items that take lazy results have their nodes from the beginning, so that each can wait for its own."""
    graph = Graph()
    lazy = give.map(value=[give(n) for n in range(MANY)])
    sizes = [len(nodes) for nodes in graph.build([lazy])]
    assert max(sizes) <= NODES_PER_STEP
    assert sum(sizes) == 2 * MANY + 1
    node = graph.node(lazy)
    assert node.items is not None
    assert node.items.unstarted == 0
    assert node.unmet == MANY + 1  # 1 until it is admitted


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


async def test_the_values_of_a_map_are_not_copied() -> None:
    """The list that the run returns, or the next task takes, is the one that the items' values were put into."""
    taken: list[Any] = []

    @task(mode="inline")
    def take_list(values: list[int]) -> None:
        taken.append(values)

    mapped = give.map(value=range(10))
    result = await Engine().run([mapped, take_list(mapped)])
    assert result[0] is taken[0]
    assert result[0] == list(range(10))


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
