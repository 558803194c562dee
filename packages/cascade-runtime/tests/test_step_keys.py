"""Step keys: each call has the same key in every run, whatever its timing, and no two calls share one."""

from typing import Any

import pytest
from fakes import Racing
from observers import watch_tasks
from random_graphs import Hidden, Maker, Plan, Record, call

from cascade.runtime import Engine, plan
from cascade.spec import task


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


@task(mode="inline")
def add(*values: int) -> int:
    return sum(values)


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
    assert max(map(len, keys)) <= 200
    assert sum("…" in key for key in keys) > 400
