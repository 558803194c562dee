"""The time limits of running attempts: they count the time that an attempt is allowed to work."""

from __future__ import annotations

import asyncio

from cascade.runtime._graph.node import Node

_Attempt = tuple[Node, int]


class TimeLimits:
    """The limits of the attempts that run on one event loop; a limit stands still while its attempt is paused."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._running: dict[_Attempt, asyncio.Timeout] = {}
        self._left: dict[_Attempt, float] = {}  # seconds, of those that stand still

    def begin(self, node: Node, limit: asyncio.Timeout) -> None:
        """Begin to count the time of a task's current attempt."""
        self._running[node, node.attempt] = limit

    def end(self, node: Node, attempt: int) -> None:
        """Forget an attempt."""
        self._running.pop((node, attempt), None)
        self._left.pop((node, attempt), None)

    def stop(self, node: Node, attempt: int) -> None:
        """Stop the time of an attempt that is paused."""
        limit = self._running.get((node, attempt))
        until = limit.when() if limit is not None else None
        if limit is not None and until is not None and not limit.expired():
            self._left[node, attempt] = max(0.0, until - self._loop.time())
            limit.reschedule(None)

    def go_on(self, node: Node, attempt: int) -> None:
        """Count the time of an attempt again."""
        left = self._left.pop((node, attempt), None)
        limit = self._running.get((node, attempt))
        if left is not None and limit is not None and not limit.expired():
            limit.reschedule(self._loop.time() + left)
