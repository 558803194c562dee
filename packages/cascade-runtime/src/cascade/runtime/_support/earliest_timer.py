"""One timer for everything that has its time: it is set to the earliest moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from functools import partial

from cascade.interfaces import Clock, Timer
from cascade.runtime._support.clock import call_later_on

_LONGEST = 86_400.0  # event loops refuse timers that are many years away


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
