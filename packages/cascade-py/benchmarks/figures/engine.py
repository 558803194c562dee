"""The engine's cost for a task that does nothing, beside plain asyncio, without subscribers."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from cascade.runtime import Engine
from cascade.spec import LazyResult, Task, task
from figures.measure import Settings, alternate, busy, run
from figures.table import Row, Target, at_most, no_more_than

TITLE = "CPU time of the loop's thread per no-op task, without subscribers"

FAN_TARGET, CHAIN_TARGET, LONG_CHAIN_TARGET = at_most(2), at_most(2.6), at_most(2.6)
INLINE_TARGET = at_most(1.6)
GROWTH = at_most(2)
KILOBYTES = no_more_than(2)


@dataclass(frozen=True, slots=True)
class Shape:
    """A graph of ``n`` tasks: how it is declared, and what does the same in plain asyncio."""

    name: str
    against: str
    declare: Callable[[int], list[LazyResult[Any]]]
    plain: Callable[[int], Awaitable[object]]
    target: Target


@task
async def noop(x: object = None) -> object:
    """Do nothing."""
    return x


@task(mode="inline")
def inline(x: object = None) -> object:
    """Do nothing, without an asyncio task."""
    return x


async def _noop(x: object = None) -> object:
    return x


def declare_fan(n: int, function: Task[..., Any] = noop) -> list[LazyResult[Any]]:
    """Declare tasks that wait for nothing."""
    return [function(i) for i in range(n)]


def declare_chain(n: int, function: Task[..., Any] = noop) -> list[LazyResult[Any]]:
    """Declare tasks that each wait for the one before."""
    last = function(0)
    for _ in range(n - 1):
        last = function(last)
    return [last]


async def gather(n: int) -> None:
    """Do what a fan-out does."""
    await asyncio.gather(*[_noop(i) for i in range(n)])


async def one_after_another(n: int) -> None:
    """Do what a chain does."""
    value: object = 0
    for _ in range(n):
        value = await asyncio.create_task(_noop(value))


FAN = Shape("fan-out", "asyncio.gather", declare_fan, gather, FAN_TARGET)
CHAIN = Shape("chain", "create_task, await", declare_chain, one_after_another, CHAIN_TARGET)
FAN_INLINE = Shape(
    "fan-out inline", "asyncio.gather", partial(declare_fan, function=inline), gather, INLINE_TARGET
)
CHAIN_INLINE = Shape(
    "chain inline",
    "create_task, await",
    partial(declare_chain, function=inline),
    one_after_another,
    CHAIN_TARGET,
)


def rows(settings: Settings) -> Iterator[Row]:
    """Measure fan-outs and chains, how cost rises with size, and the memory of a declaration."""
    small, large, huge = settings.size(1_000), settings.size(10_000), settings.size(100_000)
    sizes = ((FAN, small, 25), (FAN, large, 9), (CHAIN, small, 25))
    inline_sizes = ((FAN_INLINE, small, 25), (FAN_INLINE, large, 9), (CHAIN_INLINE, small, 25))
    for shape, n, rounds in sizes + inline_sizes:
        yield from run(_overhead(shape, n, settings.rounds_or(rounds)))
    for shape in () if settings.brief else (FAN, FAN_INLINE, CHAIN):
        yield from run(_growth(shape, large, huge, settings.rounds_or(3)))
    yield from run(_memory(large))


async def _overhead(shape: Shape, n: int, rounds: int) -> list[Row]:
    theirs, executed, both = await alternate(
        rounds, lambda: _plain(shape, n), lambda: _execute(shape, n), lambda: _declare_and_run(shape, n)
    )
    return [
        Row(f"{shape.name} {n:,}, run only", "us", executed, shape.against, theirs, shape.target),
        Row(f"{shape.name} {n:,}, declare and run", "us", both, shape.against, theirs, shape.target),
    ]


async def _growth(shape: Shape, n: int, more: int, rounds: int) -> list[Row]:
    theirs, few, many = await alternate(
        rounds,
        lambda: _plain(shape, more),
        lambda: _declare_and_run(shape, n),
        lambda: _declare_and_run(shape, more),
    )
    long_target = LONG_CHAIN_TARGET if shape is CHAIN else shape.target
    return [
        Row(f"{shape.name} {more:,}, declare and run", "us", many, shape.against, theirs, long_target),
        Row(f"{shape.name} {more:,}, is it linear?", "us", many, f"a task of {n:,}", few, GROWTH),
    ]


async def _plain(shape: Shape, n: int) -> float:
    return await busy(shape.plain(n)) / n * 1e6


async def _execute(shape: Shape, n: int) -> float:
    targets = shape.declare(n)
    gc.collect()
    return await busy(Engine().run(targets)) / n * 1e6


async def _declare_and_run(shape: Shape, n: int) -> float:
    began = time.thread_time()
    await Engine().run(shape.declare(n))
    return (time.thread_time() - began) / n * 1e6


async def _memory(n: int) -> list[Row]:
    """Weigh a chain: each task has an argument that is a lazy result, and all are kept to the end."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        targets = declare_chain(n)
        declared, _ = tracemalloc.get_traced_memory()
        await Engine().run(targets)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return [
        Row("memory of a declared task", "KB", ((declared - before) / n / 1024,), target=KILOBYTES),
        Row("memory of a task, at a run's peak", "KB", ((peak - before) / n / 1024,), target=KILOBYTES),
    ]
