"""Steps whose asyncio task other code cancelled before it first ran: it could not record its own end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from itertools import islice

from cascade.runtime._graph.node import Node


class LostTasks:
    """Checks the running steps once a second: a callback on each task would cost every task a tenth of its time.

    It checks those that were started first: a lost task stays recorded, so it becomes one of them.
    """

    def __init__(
        self, running: Mapping[Node, asyncio.Task[None] | None], *, record: Callable[[Node], None]
    ) -> None:
        self._running = running
        self._record = record
        self._timer: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        """Check in a second, and again each second until :meth:`stop`."""
        self._timer = asyncio.get_running_loop().call_later(_INTERVAL, self._check)

    def stop(self) -> None:
        """Check no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def take(self) -> list[Node]:
        """Return all steps that are lost now."""
        return _lost(self._running, len(self._running))

    def _check(self) -> None:
        self.watch()
        for node in _lost(self._running, _CHECKED_AT_ONCE):
            self._record(node)


def _lost(running: Mapping[Node, asyncio.Task[None] | None], count: int) -> list[Node]:
    return [node for node, task in islice(running.items(), count) if task is not None and task.done()]


_INTERVAL = 1.0
"""Seconds between two checks; a run has one timer, whatever its size."""

_CHECKED_AT_ONCE = 1000
"""Running steps that one check covers, in about 50 microseconds."""
