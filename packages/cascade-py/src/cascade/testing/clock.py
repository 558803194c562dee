"""A clock that stands still until it is moved."""

from __future__ import annotations


class ManualClock:
    """A :class:`cascade.interfaces.Clock` set by hand: ``Engine(clock=ManualClock())``."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._epoch = now
        self._elapsed = 1.0

    def now(self) -> float:
        """Return the wall-clock time in seconds since the epoch."""
        return self._epoch

    def monotonic(self) -> float:
        """Return the seconds by which the clock has been moved, plus one."""
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Move both readings forward.

        :raises ValueError: if ``seconds`` is negative.
        """
        if seconds < 0:
            raise ValueError("a clock goes forward; jump() moves the wall clock alone")
        self._epoch += seconds
        self._elapsed += seconds

    def jump(self, seconds: float) -> None:
        """Move the wall clock alone, as an operator or a time server does."""
        self._epoch += seconds
