"""Wherever a lazy result may be given as a value, it is run: what tasks return, and what takes a skipped call's place."""

import asyncio
import collections
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from observers import watch_tasks
from simple_tasks import collect, double, give, step

from cascade.interfaces import MissingItemError, TaskState, UsageError
from cascade.runtime import Engine, MemoryCache, SqliteState
from cascade.spec import Param, Router, find_lazies, task


async def test_every_kind_of_call_may_have_a_lazy_otherwise() -> None:
    """Maps, routes, inputs and items as well as tasks."""
    false, other = give(False), double(5)
    for call in (
        step.map(x=[1, 2]),
        step.map(x=give([1, 2])),
        Router(give("a"), {"a": step(1)}),
        give([1])[0],
        Param("n", default="1"),
        double(1).with_cache(),
        double(1).with_constraints(gpu=1),
    ):
        engine = Engine(system_resources={"gpu": 1})
        assert await engine.run(call.run_if(false, otherwise=other)) == 10
        assert await engine.run(collect(call.run_if(false, otherwise=other), other)) == [10, 10]


RETURNED: list[Callable[[], Any]] = [
    lambda: [double(1), 5, double(2)],
    lambda: (double(1), 5),
    lambda: {"a": double(1), "b": [double(2), {"c": double(3)}]},
    lambda: {double(1): "k"},
    lambda: {double(1), double(2)},
    lambda: collections.deque([double(1)], maxlen=2),
    lambda: [
        step.map(x=[1, 2]),
        Router(give("a"), {"a": double(4)}),
        double(1).run_if(give(False), otherwise=0),
    ],
]


def plainly(value: Any) -> Any:
    """Return what the calls in a container give, by running each alone."""
    if isinstance(value, dict):
        return {plainly(k): plainly(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | collections.deque):
        return type(value)([plainly(v) for v in value])
    return asyncio.run(Engine().run(value)) if find_lazies(value) else value


@pytest.mark.parametrize("make", RETURNED)
def test_calls_in_a_returned_container_are_run(make: Callable[[], Any]) -> None:
    """A task that returns a container of calls gives the container of their values, to the run and to other tasks."""

    @task(mode="inline")
    def several() -> Any:
        return make()

    @task(mode="inline")
    def look(value: Any) -> tuple[Any, int]:
        return value, len(find_lazies(value))

    assert asyncio.run(Engine().run(several())) == plainly(make())
    assert asyncio.run(Engine().run(look(several()))) == (plainly(make()), 0)


async def test_a_cache_keeps_values_only() -> None:
    """A cached task that returns calls is not stored; the calls that it returns are, if they are cached."""
    backend, made = MemoryCache(), 0

    @task
    async def fan_out() -> Any:
        nonlocal made
        made += 1
        return [double.with_cache()(1), {"k": double.with_cache()(2)}]

    for _ in range(2):
        assert await Engine(cache_backend=backend).run(fan_out.with_cache()()) == [2, {"k": 4}]
    assert made == 2
    engine = Engine(cache_backend=backend)
    events = watch_tasks(engine)
    both = [fan_out.with_cache()(), fan_out.with_cache()()]
    assert await engine.run(both) == [[2, {"k": 4}], [2, {"k": 4}]]
    assert {e.task_name for e in events if e.state is TaskState.SKIPPED} >= {"double"}


class Holder:
    def __init__(self, x: Any) -> None:
        self.x = x


async def test_a_returned_call_that_cannot_be_replaced_is_refused() -> None:
    """The error says what to return instead, and names the task."""

    @task(mode="inline")
    def hidden() -> Any:
        return [Holder(double(1))]

    with pytest.raises(UsageError, match="a lazy result stands in a Holder") as raised:
        await Engine().run(hidden())
    assert "hidden:0" in raised.value.__notes__[0]


async def test_a_large_returned_list_is_passed_on_itself() -> None:
    """It is looked through in steps; calls at its end are found."""
    numbers = list(range(100_000))
    assert await Engine().run(give(numbers)) is numbers

    @task(mode="inline")
    def several() -> Any:
        return [*numbers, double(1)]

    assert (await Engine().run(several()))[-1] == 2


async def test_parameters_may_have_any_name() -> None:
    """Also ``self`` and ``cls``, given by keyword, fixed or mapped."""

    @task(mode="inline")
    def method(self: int, cls: int = 0) -> int:
        return self + cls

    assert await Engine().run(method(self=1, cls=double(1))) == 3
    assert await Engine().run(method.partial(self=1)()) == 1
    assert await Engine().run(method.map(self=[1, 2])) == [1, 2]
    constrained = method.with_constraints(self=1)
    assert await Engine(system_resources={"self": 1}).run(constrained(2)) == 2


@pytest.mark.parametrize(
    ("mode", "recorded"), [("thread", False), ("inline", False), ("thread", True), ("inline", True)]
)
async def test_sys_exit_is_a_failure_of_the_task_that_calls_it(
    mode: str, recorded: bool, tmp_path: Path
) -> None:
    """Named like any other, and kept like any other: a task cannot end the program without a word."""
    leave: Any = task(name="leave", mode=mode)(lambda: sys.exit(3))
    engine = Engine(state_backend=SqliteState(tmp_path) if recorded else None)
    with pytest.raises(RuntimeError, match=r"the task called sys.exit\(3\); raise an exception") as caught:
        await engine.run(leave())
    assert "'leave' (leave:0)" in caught.value.__notes__[0]
    assert await engine.run(leave().or_else("left")) == "left"


MISSING: list[tuple[Any, Any, str]] = [
    (
        {"a": 1, 2: "x"},
        lambda lazy: lazy["b"],
        "KeyError: 'b': not in the value of give (give:0); it has 'a', 2",
    ),
    (
        [1, 2],
        lambda lazy: lazy[7],
        "IndexError: list index out of range: not in the value of give (give:0); it has 2 items",
    ),
    ({}, lambda lazy: lazy["b"], "KeyError: 'b': not in the value of give (give:0); it has nothing"),
    (
        {"a": 1},
        lambda lazy: lazy.colour,
        "has no attribute 'colour': not in the value of give (give:0); it has 'a'",
    ),
    (1 + 2j, lambda lazy: lazy.colour, "not in the value of give (give:0); it has conjugate, imag, real"),
]


@pytest.mark.parametrize(("value", "use", "message"), MISSING)
async def test_an_item_that_is_not_there_names_the_value_and_what_it_has(
    value: Any, use: Any, message: str
) -> None:
    """The call that gave the value and the names in it, never their values, and for watchers not the names; no frame of Cascade."""
    with pytest.raises(MissingItemError) as caught:
        await Engine().run(use(give(value)))
    assert message in str(caught.value)
    assert caught.value.public.endswith("Error: the item or attribute is not in the value of give (give:0)")
    frames = [frame.filename for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert not any("_scheduler" in name for name in frames)
