"""Wait with a deadline, which is later on a slow machine: what a test does instead of sleeping."""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar, overload

T = TypeVar("T")

_SHORTEST, _LONGEST = 0.001, 0.01
"""Seconds between two looks at a condition: a tenth of the time that it has been waited for, within these bounds."""
_TICK = 0.1
"""Seconds between two looks at the clock of :func:`time_limit`."""
_STALL = 1.0
"""Most seconds between two looks that count: in a longer pause nothing could run, so nothing was late."""


@overload
async def eventually(
    condition: Callable[[], Awaitable[T]], timeout: float = 30.0, *, what: str = ""
) -> T: ...
@overload
async def eventually(condition: Callable[[], T], timeout: float = 30.0, *, what: str = "") -> T: ...
async def eventually(condition: Callable[[], Any], timeout: float = 30.0, *, what: str = "") -> Any:
    """Call ``condition`` again and again until it is true; return what it then returned.

    :param timeout: seconds of the loop's clock; generous, because it costs nothing while all is well. On a
        machine with more running processes than cores it lasts longer by that factor, and of a pause in which
        the whole program stood still only a second counts.
    :param what: what is waited for, for the error's text.
    :raises AssertionError: if it is still false after the timeout; its text contains the last value.
    """
    deadline = Deadline(timeout, asyncio.get_running_loop().time)
    while True:
        made = condition()
        value = await made if inspect.isawaitable(made) else made
        if value:
            return value
        if deadline.passed():
            raise AssertionError(
                f"not within {timeout:g} s: {what or _text_of(condition)}; last value: {value!r}"
            )
        await asyncio.sleep(min(max(deadline.waited / 10, _SHORTEST), _LONGEST))


@asynccontextmanager
async def time_limit(seconds: float = 30.0) -> AsyncIterator[None]:
    """Do what ``asyncio.timeout`` does, with a limit that is later on a slow machine, as that of ``eventually`` is.

    :raises TimeoutError: if the body takes longer.
    """
    loop = asyncio.get_running_loop()
    deadline = Deadline(seconds, loop.time)
    timer: asyncio.TimerHandle | None = None

    def look() -> None:
        nonlocal timer
        if deadline.passed():
            limit.reschedule(loop.time())
        else:
            timer = loop.call_later(_TICK, look)

    async with asyncio.timeout(None) as limit:
        timer = loop.call_later(min(_TICK, seconds), look)
        try:
            yield
        finally:
            timer.cancel()


class Deadline:
    """The end of a wait; ask :meth:`passed` again and again.

    :param timeout: seconds, longer on a busy machine.
    :param clock: returns seconds; the default is the system's monotonic clock.
    """

    def __init__(self, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.waited = 0.0
        """Seconds, without pauses of the whole program."""
        self._timeout = timeout
        self._clock = clock
        self._checked = clock()

    def passed(self) -> bool:
        """Return whether the time is over."""
        now = self._clock()
        self.waited += min(now - self._checked, _STALL)
        self._checked = now
        return self.waited > self._timeout and self.waited > self._timeout * busyness()


def busyness() -> float:
    """Return how many processes want to run for each core, at least 1 and at most 20; 1 where that is unknown."""
    try:
        load = os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows, and some containers
        return 1.0
    return min(max(load / (os.cpu_count() or 1), 1.0), 20.0)


def _text_of(condition: Callable[[], object]) -> str:
    try:
        return " ".join(inspect.getsource(condition).split())
    except (OSError, TypeError):
        return repr(condition)
