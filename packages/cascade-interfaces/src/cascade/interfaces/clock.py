"""Time, injected, so that what depends on it can be driven by a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable


class Clock(Protocol):
    """Two readings of time. Calls are cheap, never block and never raise."""

    def now(self) -> float:
        """Return the wall-clock time in seconds since the epoch; it may jump."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back; only differences mean anything."""
        ...


class Timer(Protocol):
    """A call that comes later."""

    def cancel(self) -> None:
        """Let it not come. Twice is harmless, and so is once it has come."""
        ...


@runtime_checkable
class SupportsTimers(Protocol):
    """Ability of a clock: ring when it shows a time; otherwise the event loop's own timers ring in its place."""

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call back once on the running event loop, when so many seconds have passed on the clock.

        Never from inside this call. The loop may be closed before.
        """
        ...
