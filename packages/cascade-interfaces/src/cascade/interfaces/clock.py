"""Time, injected, so that a test can control it."""

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
    """A call at a later time."""

    def cancel(self) -> None:
        """Cancel the call. Idempotent; does nothing once the call has come."""
        ...


@runtime_checkable
class SupportsTimers(Protocol):
    """Ability of a clock: call back at a time of its own; without it the event loop's timers are used."""

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call ``callback`` once on the running event loop, when ``seconds`` have passed on the clock.

        Never from inside this call. The loop may be closed before.
        """
        ...
