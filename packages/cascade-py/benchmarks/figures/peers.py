"""Other libraries with tasks that do nothing, in the same run."""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from cascade.runtime import Engine
from figures.engine import CHAIN_INLINE, FAN_INLINE, Shape
from figures.measure import Settings, alternate, run
from figures.table import Row, at_most

TITLE = "other libraries' time per no-op task, declare and run; ratio: Cascade's time as a part of theirs"

AHEAD = at_most(0.9)

dask: Any = importlib.import_module("dask")
pipefunc: Any = importlib.import_module("pipefunc")


@dataclass(frozen=True, slots=True)
class Peer:
    """How another library declares and runs the same graph; it blocks, so it is given a thread."""

    name: str
    shape: Shape
    execute: Callable[[int], object]
    sizes: tuple[int, ...]


def rows(settings: Settings) -> Iterator[Row]:
    """Measure every peer at the sizes that it can do within seconds."""
    for peer in PEERS:
        for n in peer.sizes:
            yield run(_compare(peer, settings.size(n), settings.rounds_or(5)))


async def _compare(peer: Peer, n: int, rounds: int) -> Row:
    theirs, ours = await alternate(rounds, partial(_theirs, peer, n), partial(_ours, peer.shape, n))
    return Row(f"{peer.shape.name} {n:,}", "us", ours, peer.name, theirs, AHEAD)


async def _ours(shape: Shape, n: int) -> float:
    began = time.perf_counter()
    await Engine().run(shape.declare(n))
    return (time.perf_counter() - began) / n * 1e6


async def _theirs(peer: Peer, n: int) -> float:
    began = time.perf_counter()
    await asyncio.to_thread(peer.execute, n)
    return (time.perf_counter() - began) / n * 1e6


def _noop(x: int) -> int:
    return x


def _dask_fan(n: int) -> None:
    noop = dask.delayed(_noop)
    dask.compute(*[noop(number) for number in range(n)], scheduler="threads")


def _dask_chain(n: int) -> None:
    noop = dask.delayed(_noop)
    last = noop(0)
    for _ in range(n - 1):
        last = noop(last)
    last.compute(scheduler="threads")


def _pipefunc_fan(n: int) -> None:
    noop = pipefunc.pipefunc("y", mapspec="x[i] -> y[i]")(_noop)
    pipefunc.Pipeline([noop]).map({"x": range(n)}, parallel=False, storage="dict")


def _pipefunc_chain(n: int) -> None:
    functions = [
        pipefunc.PipeFunc(_noop, f"y{number + 1}", renames={"x": f"y{number}"}) for number in range(n)
    ]
    pipefunc.Pipeline(functions)(f"y{n}", y0=0)


PEERS = (
    Peer("dask.delayed, threads", FAN_INLINE, _dask_fan, (1_000, 10_000)),
    Peer("pipefunc, sequential", FAN_INLINE, _pipefunc_fan, (1_000, 10_000)),
    Peer("dask.delayed, threads", CHAIN_INLINE, _dask_chain, (1_000,)),
    Peer("pipefunc, sequential", CHAIN_INLINE, _pipefunc_chain, (100, 200)),
)
