"""Step keys: each call has the same key in every run, whatever its timing, and no two calls share one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fakes import Racing
from observers import watch_tasks
from random_graphs import Hidden, Maker, Plan, Record, call, current, item

from cascade.interfaces import StepInfo
from cascade.runtime import Engine
from cascade.runtime._graph.graph import Graph
from cascade.runtime._graph.keys import LONGEST
from cascade.runtime._graph.plan import plan
from cascade.spec import Router, task


async def keys_of_one_run(seed: int, order: int) -> dict[str, str]:
    record = Record(order)
    outer = call("outer", record)
    target = Maker("", record, Plan(seed, 2, Hidden(outer))).make()
    engine = Engine(clock=Racing() if order % 2 else None, middleware=[record.around])
    await engine.run([target, outer])
    return record.keys


async def check_keys(seeds: range) -> None:
    for seed in seeds:
        first = await keys_of_one_run(seed, 0)
        assert len(set(first.values())) == len(first), seed
        for order in (1, 2):
            assert await keys_of_one_run(seed, 1000 * seed + order) == first, seed


@pytest.mark.full
@pytest.mark.process
async def test_a_call_has_the_same_key_in_every_run_and_shares_it_with_no_other() -> None:
    """Random graphs of maps, routes and continuations keep their keys when calls finish in another order."""
    await check_keys(range(60))


@pytest.mark.nightly
@pytest.mark.timeout(1_800)
async def test_keys_of_a_thousand_graphs_do_not_depend_on_timing() -> None:
    """The long form."""
    await check_keys(range(1000))


class Waiting:
    """Has steps wait for each other: each is let through when the test says so."""

    def __init__(self) -> None:
        self.events: dict[str, asyncio.Event] = {}
        self.keys: list[tuple[str, str]] = []

    def event(self, name: str) -> asyncio.Event:
        return self.events.setdefault(name, asyncio.Event())

    async def around(self, step: StepInfo, call_next: Callable[[], Awaitable[Any]]) -> Any:
        current.set(step.key)
        return await call_next()


@task
async def passing(place: str, waiting: Waiting, value: Any = 1) -> Any:
    waiting.keys.append((place, current.get()))
    waiting.event(f"{place} began").set()
    await waiting.event(place).wait()
    waiting.event(f"{place} passed").set()
    return value.lazy if isinstance(value, Hidden) else value


@task(mode="inline")
def add(*values: int) -> int:
    return sum(values)


@pytest.mark.parametrize("first", ["route", "continuation"])
async def test_a_call_that_a_route_may_build_shifts_no_number(first: str) -> None:
    """A continuation that uses a call of an outer route numbers its own calls alike, built or not."""
    waiting = Waiting()
    shared = passing("shared", waiting).named("step")
    own = passing("own", waiting).named("step")
    router = Router(passing("choice", waiting), {1: shared})
    returning = passing("returning", waiting, Hidden(add(shared, own)))
    run = asyncio.create_task(Engine(middleware=[waiting.around]).run([router, returning]))
    if first == "route":
        waiting.event("choice").set()
        await waiting.event("shared began").wait()
        waiting.event("returning").set()
        await waiting.event("own began").wait()
    else:
        waiting.event("returning").set()
        await waiting.event("own began").wait()
        waiting.event("choice").set()
        await waiting.event("choice passed").wait()
    for name in ("own", "shared"):
        waiting.event(name).set()
    assert await run == [1, 2]
    assert dict(waiting.keys)["own"] == "passing:1~1/step:1"


async def test_the_plan_has_the_keys_of_the_run() -> None:
    """What dry_run and visualize show is what observers see."""
    engine = Engine()
    events = watch_tasks(engine)
    shared = add(1)
    target = add(shared, add(2).with_retry(2).named("a:b"), add(3).run_if(add(1)))
    assert await engine.run(target) == 6
    assert {event.task_id for event in events} == {step.id for step in plan(target)}
    assert "a%3Ab:0" in {step.id for step in plan(target)}


@task(mode="inline")
def deep(n: int) -> Any:
    """Return a call that needs another such call: each expansion is inside the one before."""
    return add(deep(n - 1), 1) if n else 0


async def test_a_long_key_is_shortened_and_stays_unique() -> None:
    """Keys of nested expansions have at most 200 characters; the digest covers the whole path."""
    engine = Engine()
    events = watch_tasks(engine)
    assert await engine.run(deep(300)) == 300
    keys = {event.task_id for event in events}
    assert len(keys) == 601
    assert max(map(len, keys)) <= LONGEST
    assert sum("…" in key for key in keys) > 400


def test_the_key_of_a_deep_call_is_found_without_recursion() -> None:
    """The first key that is asked for may be three thousand expansions deep."""
    graph = Graph()
    list(graph.build([lazy := deep(0)]))
    node = graph.node(lazy)
    for _ in range(3000):
        graph = Graph(graph, target=node, turn=1)
        list(graph.build([lazy := deep(0)]))
        node = graph.node(lazy)
    assert len(node.key) <= LONGEST
    assert node.key.startswith("deep:0~1/deep:0~1/")


async def test_a_long_name_is_shortened() -> None:
    """A name of more than 200 characters still makes different keys for different calls."""
    engine = Engine()
    events = watch_tasks(engine)
    await engine.run([add(1).named("x" * 300), add(2).named("x" * 300)])
    keys = {event.task_id for event in events}
    assert len(keys) == 2
    assert {len(key) for key in keys} == {177}


async def test_a_map_without_items_runs_none_of_its_dependencies_and_still_numbers_them() -> None:
    """What only its items would need does not run; the keys of other calls are those of the plan."""
    engine = Engine(system_resources={"slots": 4})
    events = watch_tasks(engine)
    unneeded = add(1)
    empty = item.partial(record=unneeded).map(x=[])
    target = [empty.with_constraints(slots=add(2)), add(3)]
    assert await engine.run(target) == [[], 3]
    assert {event.task_id for event in events} == {"add:2"}
    assert [step.id for step in plan(target)] == ["add:0", "add:1", "item:0", "add:2"]
