"""The machine's clock, and timers on any clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import Context
from functools import partial

from cascade.interfaces import Clock, SupportsTimers, Timer, supports

CallLater = Callable[[float, Callable[[], object]], Timer]
EARLIEST = 1_767_225_600.0
"""2026-01-01 in seconds since the epoch: a clock that shows an earlier time is not set. Raised with each release."""
_LONGEST = 86_400.0  # event loops refuse timers that are many years away


class SystemClock:
    """A :class:`cascade.interfaces.Clock` that reads the operating system's clocks."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)

    @staticmethod
    def boottime() -> float:
        """Return seconds on a clock that never goes back, and counts sleep where the system can."""
        clock = getattr(time, "CLOCK_BOOTTIME", None)
        return time.monotonic() if clock is None else time.clock_gettime(clock)


def elapsed_of(clock: Clock) -> Callable[[], float]:
    """Return the clock's ``boottime``, or its monotonic time if it has none."""
    found: Callable[[], float] = getattr(clock, "boottime", clock.monotonic)
    return found


def call_later_on(clock: Clock) -> CallLater:
    """Return the ``call_later`` of a clock, or of the running event loop if the clock has no timers."""
    return clock.call_later if supports(clock, SupportsTimers) else _on_loop


def _on_loop(seconds: float, callback: Callable[[], object]) -> Timer:
    return asyncio.get_running_loop().call_later(seconds, callback)


def earliest(*times: float | None) -> float | None:
    """Return the earliest of the times that are not None, or None."""
    found = None
    for at in times:
        if at is not None and (found is None or at < found):
            found = at
    return found


def after(call_later: CallLater, seconds: float) -> asyncio.Future[None]:
    """Return a future that completes after so many seconds; cancel it to stop the timer."""
    elapsed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def complete() -> None:
        if not elapsed.done():
            elapsed.set_result(None)

    timer = call_later(seconds, complete)
    elapsed.add_done_callback(lambda _: timer.cancel())
    return elapsed


class EarliestTimer:
    """Calls ``fire`` once, at the earliest moment for which it was set since it last fired, or before that moment.

    A timer that fires too early does no harm: its owner sets it again.

    :param fire: called with the seconds by which the event loop was late.
    :param context: ``fire`` is called in it.
    """

    def __init__(self, clock: Clock, fire: Callable[[float], None], *, context: Context) -> None:
        self._clock = clock
        self._call_later = call_later_on(clock)
        self._fire = fire
        self._context = context
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: Timer | None = None
        self._at = 0.0

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Fire on this event loop from now on."""
        self._loop = loop

    def stop(self) -> None:
        """Fire no more. Idempotent."""
        self._loop = None
        self._cancel()

    def set(self, at: float) -> None:
        """Fire at ``at`` by the clock's monotonic time, unless it is set to an earlier moment, or stopped."""
        if self._loop is None or (self._timer is not None and self._at <= at):
            return
        self._cancel()
        delay = min(max(0.0, at - self._clock.monotonic()), _LONGEST)
        fired = partial(self._fired, self._loop, self._loop.time() + delay)
        self._timer = self._context.run(self._call_later, delay, fired)
        self._at = at

    def fire(self) -> None:
        """Fire now instead of later."""
        self._cancel()
        self._fire(0.0)

    def _fired(self, loop: asyncio.AbstractEventLoop, planned: float) -> None:
        self._timer = None
        self._fire(loop.time() - planned)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
