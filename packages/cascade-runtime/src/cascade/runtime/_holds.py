"""The tasks of one run that are held at a checkpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cascade.interfaces import TaskState
from cascade.runtime._telling import Teller
from cascade.runtime.constraints import Turnstile
from cascade.runtime.graph import Node


class Holds:
    """A run as its tasks' checkpoints see it; see :class:`cascade.runtime.checkpoint.Station`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        turnstile: Turnstile,
        teller: Teller,
        run_id: str,
        *,
        stopped: Callable[[Node], bool],
    ) -> None:
        self.loop = loop
        self._turnstile = turnstile
        self._teller = teller
        self._run_id = run_id
        self._stopped = stopped
        self._waiting: set[asyncio.Future[None]] = set()

    def progress(self, node: Node, done: float, total: float | None) -> None:
        """Tell how far a task is, unless its run is over; from any thread."""
        if self._stopped(node):
            return
        self._teller.progress(node, done, total)

    def passes(self, node: Node) -> bool:
        """Return whether the task may go on without asking the loop; from any thread.

        :raises asyncio.CancelledError: if it is to stop.
        """
        if self._stopped(node):
            raise asyncio.CancelledError
        return not self._turnstile.admission.constrained

    async def hold(self, node: Node) -> None:
        """Wait until nothing pauses the task.

        :raises asyncio.CancelledError: if it is to stop.
        """
        told = False
        while (obstacle := self._turnstile.admission.paused(self._run_id, node.name)) is not None:
            if self._stopped(node):
                raise asyncio.CancelledError
            if not told:
                told = True
                self._teller.task(node, TaskState.BLOCKED, reason=str(obstacle))
            await self._change()
        if self._stopped(node):
            raise asyncio.CancelledError
        if told:
            self._teller.task(node, TaskState.RUNNING)

    def reconsider(self) -> None:
        """Let everybody who waits look again."""
        for change in self._waiting:
            if not change.done():
                change.set_result(None)

    async def _change(self) -> None:
        change = self.loop.create_future()
        self._waiting.add(change)
        try:
            await change
        finally:
            self._waiting.discard(change)
