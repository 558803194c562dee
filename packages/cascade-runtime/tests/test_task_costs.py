"""What a task costs, counted in function calls and in objects: measures that no clock and no other program disturb."""

import asyncio
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from cascade.runtime import Engine
from cascade.spec import LazyResult, Task, task

FEW, MORE = 100, 600


@task
async def later(x: int) -> int:
    return x


@task(mode="inline")
def at_once(x: int) -> int:
    return x


def fan(function: Task[[int], int], n: int) -> list[LazyResult[int]]:
    return [function(x) for x in range(n)]


def chain(function: Task[[int], int], n: int) -> list[LazyResult[int]]:
    last = function(0)
    for _ in range(n - 1):
        last = function(last)
    return [last]


def mapped(function: Task[[int], int], n: int) -> list[LazyResult[list[int]]]:
    return [function.map(x=range(n))]


Shape = Callable[[Task[[int], int], int], list[LazyResult[Any]]]


def calls(targets: list[LazyResult[Any]]) -> int:
    """Count the calls of Cascade's own functions in one run."""
    found = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal found
        if event == "call" and frame.f_globals.get("__name__", "").startswith("cascade."):
            found += 1

    with asyncio.Runner() as runner:
        runner.get_loop()
        sys.setprofile(count)
        try:
            runner.run(Engine().run(targets))
        finally:
            sys.setprofile(None)
    return found


@pytest.mark.parametrize(
    ("shape", "function", "most"),
    [
        pytest.param(fan, later, 27, id="fan-out"),
        pytest.param(fan, at_once, 25, id="fan-out inline"),
        pytest.param(chain, later, 35, id="chain"),
        pytest.param(chain, at_once, 31, id="chain inline"),
        pytest.param(mapped, later, 28, id="map"),
    ],
)
def test_a_task_that_asks_for_nothing_takes_few_calls(
    shape: Shape, function: Task[[int], int], most: int, unhurried: None
) -> None:
    """Each call of a function is about a hundredth of what a task costs."""
    each = (calls(shape(function, MORE)) - calls(shape(function, FEW))) / (MORE - FEW)
    assert each <= most
