"""The worker's side of a call that runs: it reports to the engine, and obeys at its checkpoints."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any, Protocol

from cascade.interfaces.call_context import Directive

PROGRESS_INTERVAL = 0.5
"""Seconds between two reports of progress of one call, at the least."""

_CHECK_INTERVAL = 1.0  # seconds after which a paused call checks again whether an engine awaits it


class ReportChannel(Protocol):
    """How one call reaches its engine; called in any thread of the task."""

    def progress(self, done: float, total: float | None, message: str, unit: str) -> None:
        """Send progress; drop it rather than wait."""
        ...

    def publish(self, name: str, data: Any) -> None:
        """Send a value."""
        ...

    def arrived(self, *, paused: bool) -> None:
        """Send that the call waits at a checkpoint, or that it goes on."""
        ...

    def is_awaited(self) -> bool:
        """Return whether an engine still awaits the call, as far as the worker knows."""
        ...


class RunningCall:
    """One call that runs or is about to: the :class:`cascade.interfaces.InCall` of its task."""

    def __init__(self, channel: ReportChannel, directive: Directive = Directive.RUN) -> None:
        self._channel = channel
        self._directive = directive
        self._changed = threading.Condition()
        self._reported = -PROGRESS_INTERVAL
        self.visited = False
        """Whether it has reached a checkpoint."""

    def direct(self, directive: Directive) -> None:
        """Change what the call is to do at its checkpoints; from any thread."""
        with self._changed:
            self._directive = directive
            self._changed.notify_all()

    def checkpoint(self, progress: tuple[float, float | None, str, str] | None) -> None:
        """Report progress, at most every half second; wait while the call is paused.

        :raises asyncio.CancelledError: if the call is to stop.
        """
        self.visited = True
        if progress is not None:
            now = time.monotonic()
            if now - self._reported >= PROGRESS_INTERVAL:
                self._reported = now
                self._channel.progress(*progress)
        if self._directive is not Directive.RUN:
            self._wait()

    def publish(self, name: str, data: Any) -> None:
        """Send a value to the engine."""
        self._channel.publish(name, data)

    def _wait(self) -> None:
        with self._changed:
            if self._is(Directive.PAUSE):
                self._channel.arrived(paused=True)
                while self._is(Directive.PAUSE):
                    if not self._changed.wait(_CHECK_INTERVAL) and not self._channel.is_awaited():
                        raise asyncio.CancelledError
                self._channel.arrived(paused=False)
            if self._is(Directive.CANCEL):
                raise asyncio.CancelledError

    def _is(self, directive: Directive) -> bool:
        return self._directive is directive
