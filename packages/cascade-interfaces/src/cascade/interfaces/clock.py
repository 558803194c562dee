"""Time, injected, so that what depends on it can be driven by a test."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Two readings of time. Calls are cheap, never block and never raise."""

    def now(self) -> float:
        """Return the wall-clock time in seconds since the epoch; it may jump."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back; only differences mean anything."""
        ...
