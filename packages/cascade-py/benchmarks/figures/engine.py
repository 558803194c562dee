"""What the engine adds to a task that does nothing, beside plain asyncio; nobody listens."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from cascade.runtime import Engine
from cascade.spec import LazyResult, task
from figures.measure import Settings, alternate, busy, run
from figures.table import Row, at_most, no_more_than

TITLE = "CPU time of the loop's thread per no-op task, nobody listening"

OVERHEAD = at_most(3)
GROWTH = at_most(2)
KILOBYTES = no_more_than(2)


@dataclass(frozen=True, slots=True)
class Shape:
    """A graph of ``n`` tasks: how it is declared, and what does the same in plain asyncio."""

    name: str
    against: str
    declare: Callable[[int], list[LazyResult[Any]]]
    plain: Callable[[int], Awaitable[object]]


@task
async def noop(x: object = None) -> object:
    """Do nothing."""
    return x


async def _noop(x: object = None) -> object:
    return x


def declare_fan(n: int) -> list[LazyResult[Any]]:
    """Declare tasks that wait for nothing."""
    return [noop(i) for i in range(n)]


def declare_chain(n: int) -> list[LazyResult[Any]]:
    """Declare tasks that each wait for the one before."""
    last = noop(0)
    for _ in range(n - 1):
        last = noop(last)
    return [last]


async def gather(n: int) -> None:
    """Do what a fan-out does."""
    await asyncio.gather(*[_noop(i) for i in range(n)])


async def one_after_another(n: int) -> None:
    """Do what a chain does."""
    value: object = 0
    for _ in range(n):
        value = await asyncio.create_task(_noop(value))


FAN = Shape("fan-out", "asyncio.gather", declare_fan, gather)
CHAIN = Shape("chain", "create_task, await", declare_chain, one_after_another)


def rows(settings: Settings) -> Iterator[Row]:
    """Measure fan-outs and chains, their growth, and the memory of a declaration."""
    small, large, huge = settings.size(1_000), settings.size(10_000), settings.size(100_000)
    for shape, n, rounds in ((FAN, small, 25), (FAN, large, 9), (CHAIN, small, 25)):
        yield from run(_overhead(shape, n, settings.rounds_or(rounds)))
    for shape in (FAN, CHAIN):
        yield from run(_growth(shape, large, huge, settings.rounds_or(3)))
    yield from run(_memory(large))


async def _overhead(shape: Shape, n: int, rounds: int) -> list[Row]:
    theirs, executed, both = await alternate(
        rounds, lambda: _plain(shape, n), lambda: _execute(shape, n), lambda: _declare_and_run(shape, n)
    )
    return [
        Row(f"{shape.name} {n:,}, run only", "us", executed, shape.against, theirs, OVERHEAD),
        Row(f"{shape.name} {n:,}, declare and run", "us", both, shape.against, theirs, OVERHEAD),
    ]


async def _growth(shape: Shape, n: int, more: int, rounds: int) -> list[Row]:
    theirs, few, many = await alternate(
        rounds,
        lambda: _plain(shape, more),
        lambda: _declare_and_run(shape, n),
        lambda: _declare_and_run(shape, more),
    )
    return [
        Row(f"{shape.name} {more:,}, declare and run", "us", many, shape.against, theirs),
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
    """Weigh a chain: each task has an argument that is a lazy result, and all are held to the end."""
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
