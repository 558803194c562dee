"""A clock that stands still until it is moved."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable


class ManualClock:
    """A :class:`cascade.interfaces.Clock` set by hand: ``Engine(clock=ManualClock())``.

    What waits on it goes on when it has been moved so far, whichever thread moves it.
    """

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._epoch = now
        self._elapsed = 1.0
        self._lock = threading.Lock()
        self._timers: set[_Timer] = set()

    def now(self) -> float:
        """Return the wall-clock time in seconds since the epoch."""
        return self._epoch

    def monotonic(self) -> float:
        """Return the seconds by which the clock has been moved, plus one."""
        return self._elapsed

    def call_later(self, seconds: float, callback: Callable[[], object]) -> _Timer:
        """Call back on the running event loop when the clock has been moved by so many seconds."""
        timer = _Timer(self, self._elapsed + seconds, callback)
        if seconds <= 0:
            timer.ring()
            return timer
        with self._lock:
            self._timers.add(timer)
        return timer

    def advance(self, seconds: float) -> None:
        """Move both readings forward.

        :raises ValueError: if ``seconds`` is negative.
        """
        if seconds < 0:
            raise ValueError("a clock goes forward; jump() moves the wall clock alone")
        self._epoch += seconds
        self._elapsed += seconds
        with self._lock:
            due = {timer for timer in self._timers if timer.due <= self._elapsed}
            self._timers -= due
        for timer in sorted(due, key=lambda timer: timer.due):
            timer.ring()

    def jump(self, seconds: float) -> None:
        """Move the wall clock alone, as an operator or a time server does."""
        self._epoch += seconds

    def _forget(self, timer: _Timer) -> None:
        with self._lock:
            self._timers.discard(timer)


class _Timer:
    """A callback that waits for its time."""

    def __init__(self, clock: ManualClock, due: float, callback: Callable[[], object]) -> None:
        self.due = due
        self._clock = clock
        self._callback: Callable[[], object] | None = callback
        self._loop = asyncio.get_running_loop()

    def ring(self) -> None:
        """Call the callback in a later iteration of its loop."""
        # the loop is closed, so no task waits
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._call)

    def cancel(self) -> None:
        """Cancel the call. Idempotent."""
        self._callback = None
        self._clock._forget(self)

    def _call(self) -> None:
        if self._callback is not None:
            self._callback()
