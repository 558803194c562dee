"""What a run leaves is freed in steps: a million objects at once would hold the loop for most of a second."""

import asyncio
import gc
from collections.abc import Callable, Generator, Iterator
from itertools import pairwise
from typing import Any

import pytest
from fakes import Racing

from cascade.interfaces import UsageError
from cascade.runtime import Engine
from cascade.runtime._graph.builder import NODES_PER_STEP
from cascade.runtime._graph.graph import Graph
from cascade.runtime._graph.node import Node
from cascade.runtime._scheduler.state import RunState, freed
from cascade.runtime._support.clock import SystemClock
from cascade.runtime._support.loop_steps import FREED_PER_STEP, finished
from cascade.spec import LazyResult, task
from cascade.transport.event_loop import LOOP_BUDGET

MANY = 3 * FREED_PER_STEP


@task(mode="inline")
def give(value: Any) -> Any:
    return value


@task(mode="nowhere")
def nowhere() -> None: ...


@task
async def wait() -> None:
    await asyncio.Event().wait()


class Traced:
    """An argument that notes in which turn of the loop it is freed."""

    def __init__(self, freed_in: list[int], turn: list[int]) -> None:
        self._freed_in = freed_in
        self._turn = turn

    def __del__(self) -> None:
        self._freed_in.append(self._turn[0])


async def turns_of_freeing(targets: Callable[[Callable[[], Traced]], list[LazyResult[Any]]]) -> list[int]:
    """Run targets that only the engine refers to; return the turns of the loop in which arguments were freed."""
    freed_in, turn = list[int](), [0]

    async def count() -> None:
        while True:
            turn[0] += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    run = asyncio.create_task(Engine(clock=Racing()).run(targets(lambda: Traced(freed_in, turn))))
    await asyncio.wait({run})
    assert len(freed_in) == MANY
    counting.cancel()
    await asyncio.wait({counting})
    run.cancelled() or run.exception()
    return freed_in


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Have objects freed only because nothing refers to them."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.full
@pytest.mark.parametrize(
    "last",
    [
        pytest.param(lambda: give(1), id="success"),
        pytest.param(lambda: give(1)["no item"], id="failure"),
        pytest.param(nowhere, id="a task that can never start"),
    ],
)
async def test_calls_that_only_the_engine_keeps_are_freed_in_several_turns_of_the_loop(
    no_collector: None, last: Callable[[], LazyResult[Any]]
) -> None:
    """However the run ends, also if its build is undone."""
    turns = await turns_of_freeing(
        lambda traced: [*(give(repr).after(give(traced())) for _ in range(MANY)), last()]
    )
    assert len(set(turns)) >= 3
    assert max(turns.count(turn) for turn in set(turns)) <= FREED_PER_STEP


@pytest.mark.parametrize("cancelled_in", [20, 1_000], ids=["while it is built", "while its tasks wait"])
async def test_a_cancelled_run_frees_what_had_not_run_in_steps(no_collector: None, cancelled_in: int) -> None:
    """The traceback of the cancel keeps no more than what one step has built."""
    freed_in, turn = list[int](), [0]
    lazies = [give(Traced(freed_in, turn)).after(wait()) for _ in range(MANY)]
    run = asyncio.create_task(Engine(clock=Racing()).run(lazies))
    await asyncio.sleep(0)
    del lazies
    while not run.done():
        turn[0] += 1
        if turn[0] == cancelled_in:
            run.cancel()
        await asyncio.sleep(0)
    assert run.cancelled()
    assert len(freed_in) >= MANY - NODES_PER_STEP
    assert len(set(freed_in)) >= 3


def chain(n: int) -> list[LazyResult[Any]]:
    last = give(0)
    for _ in range(n - 1):
        last = give(last)
    return [last]


def fan_in(n: int) -> list[LazyResult[Any]]:
    return [give([give(x) for x in range(n - 1)])]


def alive() -> int:
    return sum(isinstance(each, Node) for each in gc.get_objects())


@pytest.mark.parametrize("declare", [chain, fan_in])
def test_nodes_that_wait_for_each_other_are_freed_in_steps(
    no_collector: None, declare: Callable[[int], list[LazyResult[Any]]]
) -> None:
    """No step frees many, neither those that a node has as inputs nor the links of a chain; none is left."""
    before, graph, state = alive(), Graph(), RunState()
    for nodes in graph.build(declare(MANY)):
        state.admit(nodes)
    del nodes
    steps = freed([], state, graph)
    left = [alive() - before, *(alive() - before for _ in steps), alive() - before]
    assert left[0] == MANY
    assert left[-1] == 0
    assert max(a - b for a, b in pairwise(left)) <= FREED_PER_STEP


@pytest.mark.parametrize("closed_after", [None, 0, 3])
def test_a_build_that_fails_removes_its_nodes_in_steps(no_collector: None, closed_after: int | None) -> None:
    """The rest at once if it is closed meanwhile; what others had waited for knows only those that are left."""
    graph, shared, refused = Graph(), give("shared"), list[str]()

    def refuse(node: Node) -> None:
        if node.name == "nowhere":
            refused.append(node.name)
            raise UsageError("no such place")

    list(graph.build([shared, give(shared)]))
    before = alive()
    build = graph.build([give([give(shared) for _ in range(MANY)]), nowhere()], refuse)
    while not refused:
        next(build)
    if closed_after is None:
        for _ in range(2 * (MANY // NODES_PER_STEP)):  # marked, then removed
            next(build)
        with pytest.raises(UsageError, match="no such place"):
            list(build)
    else:
        for _ in range(closed_after):
            next(build)
        build.close()
    assert len(graph) == 2
    assert alive() == before
    assert len(graph.node(shared).all_dependents) == 1


class Still(SystemClock):
    """A clock that moves only when the test moves it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


async def test_work_in_steps_yields_after_its_first_step_too_if_that_took_long() -> None:
    """Such as the copy of a long list, behind which another long step follows."""
    clock, turns = Still(), list[str]()

    def steps() -> Generator[None, None, None]:
        turns.append("first")
        clock.seconds += 1
        yield
        turns.append("second")

    async def other() -> None:
        turns.append("other")

    waiting = asyncio.create_task(other())
    await finished(steps(), clock)
    await waiting
    assert turns == ["first", "other", "second"]


async def test_a_task_that_sleeps_waits_for_little_more_than_the_budget_beside_work_in_steps() -> None:
    """The loop ends its sleep in one iteration and runs it in the next one, and work goes on in both."""
    clock, slices = Still(), list[float]()

    def steps() -> Generator[None, None, None]:
        for _ in range(1_000):
            clock.seconds += LOOP_BUDGET / 20
            yield

    async def other() -> None:
        while True:
            slices.append(clock.seconds)
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    await finished(steps(), clock)
    beside.cancel()
    assert slices[-1] > 40 * LOOP_BUDGET
    assert max(after - before for before, after in pairwise(slices)) < 0.6 * LOOP_BUDGET
