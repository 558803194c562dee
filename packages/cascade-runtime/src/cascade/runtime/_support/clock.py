"""The machine's clock, and timers on any clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from cascade.interfaces import Clock, SupportsTimers, Timer, supports

CallLater = Callable[[float, Callable[[], object]], Timer]


class SystemClock:
    """A :class:`cascade.interfaces.Clock` that reads the operating system's clocks."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


def call_later_on(clock: Clock) -> CallLater:
    """Return the ``call_later`` of a clock, or of the running event loop if the clock has no timers."""
    return clock.call_later if supports(clock, SupportsTimers) else _on_loop


def _on_loop(seconds: float, callback: Callable[[], object]) -> Timer:
    return asyncio.get_running_loop().call_later(seconds, callback)


def pause(call_later: CallLater, seconds: float) -> asyncio.Future[None]:
    """Return a future that completes after so many seconds; cancel it to stop the timer."""
    elapsed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def complete() -> None:
        if not elapsed.done():
            elapsed.set_result(None)

    timer = call_later(seconds, complete)
    elapsed.add_done_callback(lambda _: timer.cancel())
    return elapsed
