"""Long work on the event loop in steps, so that it runs other callbacks every few milliseconds."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from cascade.interfaces import Clock
from cascade.spec import Walk, collected, may_hold_lazies
from cascade.transport.event_loop import LOOP_BUDGET

T = TypeVar("T")

_LEAST, _MOST = 16, 2048
_SLICE = LOOP_BUDGET / 2
"""Of work that goes on in each iteration: a task that sleeps goes on in the second iteration after its time is over,
so it waits for up to three slices."""


class BatchSize:
    """How many tasks to start in one loop iteration, adjusted to how long such iterations take."""

    def __init__(self, most: int = _MOST) -> None:
        self.batch = 64
        self._most = most

    def learn(self, seconds: float) -> None:
        """Adjust to the duration of an iteration in which a full batch was started."""
        if seconds > LOOP_BUDGET:
            self.batch = max(_LEAST, self.batch // 2)
        elif seconds < LOOP_BUDGET / 2:
            self.batch = min(self._most, self.batch * 2)


class LoopShare:
    """For how long each of several pieces of work on one event loop may keep it.

    Five runs that take 5 ms each would keep the loop for 25 ms before anything else has its turn.
    """

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces = 0

    @property
    def seconds(self) -> float:
        """For how long one piece of work may keep the loop now."""
        return _SLICE / max(1, self._pieces)

    @classmethod
    @contextmanager
    def taken(cls) -> Iterator[LoopShare]:
        """Count one more piece of work on the running loop, and give its share, which changes with the others."""
        share = _SHARES.setdefault(asyncio.get_running_loop(), cls())
        share._pieces += 1
        try:
            yield share
        finally:
            share._pieces -= 1


async def turn(began: float, share: LoopShare, clock: Clock) -> float:
    """Yield to the loop if work has lasted long enough since ``began``; return when it continued."""
    now = clock.monotonic()
    if now - began <= share.seconds:
        return began
    await asyncio.sleep(0)
    return clock.monotonic()


async def finished(steps: Generator[None, None, T], clock: Clock) -> T:
    """Return the result of work in steps; the loop runs other callbacks every few milliseconds."""
    began = clock.monotonic()
    try:
        next(steps)
    except StopIteration as end:  # small work has one step, and needs no share
        small: T = end.value
        return small
    with LoopShare.taken() as share:
        while True:
            began = await turn(began, share, clock)
            try:
                next(steps)
            except StopIteration as end:
                value: T = end.value
                return value


async def with_calls(value: Any) -> Any:
    """Return ``value``, or a lazy result for it if it is a container that holds lazy results.

    Looks into large values in steps, so that the loop runs other callbacks in between.

    :raises UsageError: if a lazy result stands where no value can take its place.
    """
    if not may_hold_lazies(value):
        return value
    walk = Walk([value])
    for _ in walk.steps():
        await asyncio.sleep(0)
    return collected(value) if walk.found else value


def emptied(items: list[Any]) -> Generator[None, None, None]:
    """Remove the items of a list in steps, the last ones first: to free very many objects at once takes long."""
    while items:
        del items[-FREED_PER_STEP:]
        if items:
            yield


FREED_PER_STEP = 2048
"""How many objects are freed before the loop may run other callbacks."""

_SHARES: WeakKeyDictionary[asyncio.AbstractEventLoop, LoopShare] = WeakKeyDictionary()
