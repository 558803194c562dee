"""The way figures are taken: sides alternate within a round, and garbage is collected before each."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

_FEWER = 3  # a brief run has a third of the usual rounds
_MODERATE = 5_000  # and no more tasks or messages than this

T = TypeVar("T")
Side = Callable[[], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command was asked for."""

    rounds: int | None = None
    """Rounds of every row; None: as many as each row needs."""
    quick: bool = False
    """One round of tiny sizes: it shows that everything runs, not how fast."""
    brief: bool = False
    """One of many runs in a comparison of two versions: few rounds of moderate sizes."""
    peers: bool = False
    """Whether other libraries take part."""

    def rounds_or(self, usual: int) -> int:
        """Return how many rounds to measure."""
        if self.rounds:
            return self.rounds
        if self.quick:
            return 1
        return max(1, usual // _FEWER) if self.brief else usual

    def size(self, usual: int) -> int:
        """Return how many tasks, messages or bytes to measure with."""
        if self.quick:
            return max(10, usual // 100)
        return min(usual, _MODERATE) if self.brief else usual


async def alternate(rounds: int, *sides: Side[T]) -> list[tuple[T, ...]]:
    """Call every side once a round and return, for each side, what its calls returned.

    Odd rounds go backwards: what slows down during a round then harms both ends alike.
    """
    results: list[list[T]] = [[] for _ in sides]
    for number in range(rounds):
        order = range(len(sides)) if number % 2 == 0 else reversed(range(len(sides)))
        for index in order:
            gc.collect()
            results[index].append(await sides[index]())
    return [tuple(result) for result in results]


async def busy(work: Awaitable[object]) -> float:
    """Return the seconds of CPU time that this thread needs; other programs do not disturb them."""
    began = time.thread_time()
    await work
    return time.thread_time() - began


def run(measurement: Awaitable[T], new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None) -> T:
    """Run a measurement on a new event loop: asyncio's own, or what ``new_loop`` makes."""

    async def main() -> T:
        return await measurement

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(main())
